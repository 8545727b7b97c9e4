from datetime import UTC, datetime, timedelta

import openai as sdk
import pytest
from fixtures.api import openai_client
from fixtures.metadata import a_shard

from batch_gateway.core.events import EventType
from batch_gateway.core.ids import ActivationId, ShardId
from batch_gateway.core.model import BatchError, ResultTally, TokenUsage
from batch_gateway.settings import ApiSettings

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
ENDPOINTS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
    "/v1/score",
    "/v1/rerank",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def input_file(openai) -> str:
    return (await openai.files.create(file=("in.jsonl", LINE), purpose="batch")).id


async def create(openai, input_file="file-none", **options):
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"} | options
    return await openai.batches.create(input_file_id=input_file, **asked)


async def planned(metadata, batch_id, *, shards=2):
    """The batch in progress, with shards of ten lines each."""
    batch = await metadata.batches.load(batch_id)
    return await metadata.batches.plan(
        batch.id,
        [a_shard(batch, index) for index in range(shards)],
        total=10 * shards,
        model="m",
        now=datetime.now(UTC),
        events=[],
    )


async def test_a_new_batch_answers_the_whole_object(openai, input_file):
    batch = await create(openai, input_file, metadata={"customer": "7"})

    assert batch.id.startswith("batch_")
    assert batch.to_dict() == {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": None,
        "errors": None,
        "input_file_id": input_file,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": batch.created_at,
        "in_progress_at": None,
        "expires_at": batch.created_at + 86_400,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": None,
        "metadata": {"customer": "7"},
        "priority": 5,
        "paused": False,
        "on_invalid_line": "fail",
        "dry_run": False,
        "estimated_tokens": None,
        "estimated_cost": None,
        "max_errors": None,
        "max_error_rate": None,
        "max_total_tokens": None,
        "max_cost": None,
        "after": None,
        "blocked_reason": None,
        "carried_over": None,
        "deduplicate": False,
        "deduplicated": None,
        "estimated_completion_at": None,
        "estimated_duration_s": None,
        "retry_of": None,
        "saved_tokens": None,
    }


async def test_a_batch_is_found_again_as_it_was_created(openai, input_file):
    batch = await create(openai, input_file)

    assert await openai.batches.retrieve(batch.id) == batch


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_every_endpoint_of_openai_and_of_engines_is_taken(openai, endpoint):
    assert (await create(openai, endpoint=endpoint)).endpoint == endpoint


async def test_creating_a_batch_announces_it_and_forgets_the_outbox_row(openai, server, metadata):
    batch = await create(openai)

    [event] = server.broker.events
    assert (event.type, event.subject) == (EventType.BATCH_CREATED, batch.id)
    later = datetime.now(UTC) + timedelta(hours=1)
    unsent = await metadata.outbox.unsent(before=later, limit=1000)
    assert batch.id not in [each.event.subject for each in unsent]


async def test_a_batch_is_accepted_while_the_broker_is_away(openai, server, metadata):
    server.broker.away = True

    batch = await create(openai)

    later = datetime.now(UTC) + timedelta(hours=1)
    unsent = await metadata.outbox.unsent(before=later, limit=1000)
    assert batch.id in [each.event.subject for each in unsent]


async def test_a_batch_and_its_event_carry_the_trace_of_the_request(openai, server, metadata):
    trace = {"traceparent": TRACE, "tracestate": "vendor=1"}
    batch = await create(openai, extra_headers=trace)

    row = await metadata.batches.load(batch.id)
    kept = f"{TRACE} vendor=1"
    assert (row.traceparent, server.broker.events[0].traceparent) == (kept, kept)


async def test_the_news_that_a_batch_is_cancelled_carries_its_trace(openai, server, metadata):
    batch = await create(openai, extra_headers={"traceparent": TRACE})
    server.broker.away = True
    await openai.batches.cancel(batch.id)

    later = datetime.now(UTC) + timedelta(hours=1)
    unsent = await metadata.outbox.unsent(before=later, limit=1000)
    traces = {each.event.type: each.event.traceparent for each in unsent}
    assert traces[EventType.BATCH_CANCELLING] == TRACE


async def test_a_batch_without_a_trace_begins_one(openai, metadata):
    batch = await create(openai)

    row = await metadata.batches.load(batch.id)
    assert len(row.traceparent) == len(TRACE)


@pytest.mark.parametrize("file", ["file-none", "no id at all", "x" * 256])
async def test_an_unknown_input_file_is_left_to_planning(openai, file):
    batch = await create(openai, file)

    assert batch.status == "validating"


async def test_another_tenants_input_file_is_treated_like_an_unknown_one(stranger, input_file):
    batch = await create(stranger, input_file)

    assert batch.status == "validating"


async def test_an_input_file_of_another_purpose_is_refused(openai):
    file = await openai.files.create(file=("in.jsonl", LINE), purpose="user_data")

    with pytest.raises(sdk.BadRequestError) as refused:
        await create(openai, file.id)

    assert (refused.value.param, refused.value.code) == ("input_file_id", "invalid_value")


async def test_output_files_may_get_a_lifetime(openai, metadata):
    batch = await create(openai, output_expires_after={"anchor": "created_at", "seconds": 3600})

    row = await metadata.batches.load(batch.id)
    assert row.output_expires_after_s == 3600


@pytest.mark.parametrize(("window", "seconds"), [("15m", 900), ("24h", 86_400), ("7d", 604_800)])
async def test_any_window_is_taken(openai, window, seconds):
    batch = await create(openai, completion_window=window)

    assert batch.completion_window == window
    assert batch.expires_at == batch.created_at + seconds


@pytest.mark.parametrize("window", ["", "invalid", "31d", "0h", "24H", "-1h", "1e3h", "٣h"])
async def test_a_window_that_makes_no_sense_is_refused(openai, window):
    with pytest.raises(sdk.BadRequestError) as refused:
        await create(openai, completion_window=window)

    assert (refused.value.param, refused.value.code) == ("completion_window", "invalid_value")


@pytest.mark.parametrize("window", ["1h", "48h", "1d", "invalid", ""])
async def test_strict_mode_takes_only_openais_window(serve_api, tenant, window):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            with pytest.raises(sdk.BadRequestError) as refused:
                await create(openai, completion_window=window)
            batch = await create(openai)

    assert refused.value.body["message"] == (
        f"Invalid value: '{window}'. Supported values are: '24h'."
    )
    assert batch.status == "validating"


VALID = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
LIFETIME = {"anchor": "created_at", "seconds": 3600}


@pytest.mark.parametrize(
    ("changes", "message", "param", "code"),
    [
        (
            {"endpoint": "/v1/invalid/endpoint"},
            "Invalid value: '/v1/invalid/endpoint'. Supported values are: "
            "'/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses', "
            "'/v1/moderations', '/v1/images/generations', '/v1/images/edits', '/v1/videos', "
            "'/v1/score', and '/v1/rerank'.",
            "endpoint",
            "invalid_value",
        ),
        (
            {"metadata": {"tags": ["a"]}},
            "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
            "metadata.tags",
            "invalid_type",
        ),
        (
            {"metadata": {"n": 5}},
            "Invalid type for 'metadata.n': expected a string, but got an integer instead.",
            "metadata.n",
            "invalid_type",
        ),
        (
            {"metadata": {"n": None}},
            "Invalid type for 'metadata.n': expected a string, but got null instead.",
            "metadata.n",
            "invalid_type",
        ),
        (
            {"metadata": "text"},
            "Invalid type for 'metadata': expected an object, but got a string instead.",
            "metadata",
            "invalid_type",
        ),
        (
            {"metadata": {str(n): "" for n in range(17)}},
            "Invalid 'metadata': too many properties. Expected an object with at most 16 "
            "properties, but got an object with 17 properties instead.",
            "metadata",
            "object_above_max_properties",
        ),
        (
            {"metadata": {"k" * 65: ""}},
            f"Invalid 'metadata.{'k' * 65}': string too long. Expected a string with maximum "
            "length 64, but got a string with length 65 instead.",
            f"metadata.{'k' * 65}",
            "string_above_max_length",
        ),
        (
            {"metadata": {"k": "v" * 513}},
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 513 instead.",
            "metadata.k",
            "string_above_max_length",
        ),
        (
            {"output_expires_after": LIFETIME | {"seconds": 3599}},
            "Invalid 'output_expires_after.seconds': integer below minimum value. Expected a "
            "value >= 3600, but got 3599 instead.",
            "output_expires_after.seconds",
            "integer_below_min_value",
        ),
        (
            {"output_expires_after": LIFETIME | {"seconds": 2_592_001}},
            "Invalid 'output_expires_after.seconds': integer above maximum value. Expected a "
            "value <= 2592000, but got 2592001 instead.",
            "output_expires_after.seconds",
            "integer_above_max_value",
        ),
        (
            {"output_expires_after": {"seconds": 3600}},
            "Missing required parameter: 'output_expires_after.anchor'.",
            "output_expires_after.anchor",
            "missing_required_parameter",
        ),
        (
            {"output_expires_after": LIFETIME | {"anchor": "now"}},
            "Invalid value: 'now'. Supported values are: 'created_at'.",
            "output_expires_after.anchor",
            "invalid_value",
        ),
        (
            {"output_expires_after": LIFETIME | {"seconds": "3600"}},
            "Invalid type for 'output_expires_after.seconds': expected an integer, but got a "
            "string instead.",
            "output_expires_after.seconds",
            "invalid_type",
        ),
        (
            {"input_file_id": 5},
            "Invalid type for 'input_file_id': expected a string, but got an integer instead.",
            "input_file_id",
            "invalid_type",
        ),
        (
            {"completion_windw": "24h"},
            "Unrecognized request argument supplied: completion_windw",
            None,
            None,
        ),
        (
            {"output_expires_after": LIFETIME | {"minutes": 1}},
            "Unrecognized request argument supplied: output_expires_after.minutes",
            None,
            None,
        ),
    ],
    ids=range(16),
)
async def test_a_request_that_makes_no_sense_is_refused(http, changes, message, param, code):
    answer = await http.post("/v1/batches", json=VALID | changes)

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


@pytest.mark.parametrize("name", sorted(VALID))
async def test_a_missing_parameter_is_named(http, name):
    answer = await http.post("/v1/batches", json={key: VALID[key] for key in VALID if key != name})

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": f"Missing required parameter: '{name}'.",
        "type": "invalid_request_error",
        "param": name,
        "code": "missing_required_parameter",
    }


async def test_a_misspelt_parameter_is_named_rather_than_the_missing_one(http):
    asked = {**VALID, "completion_windw": "24h"}
    del asked["completion_window"]

    answer = await http.post("/v1/batches", json=asked)

    assert answer.json()["error"]["message"] == (
        "Unrecognized request argument supplied: completion_windw"
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"\xff",
        b"[" * 100_000,
        b'{"metadata":{"a":"\\ud800"},"input_file_id":"f","endpoint":"/v1/embeddings",'
        b'"completion_window":"24h"}',
        b'{"metadata":{"a":"\\u0000"},"input_file_id":"f","endpoint":"/v1/embeddings",'
        b'"completion_window":"24h"}',
        b'{"input_file_id":"\\u0000","endpoint":"/v1/embeddings","completion_window":"24h"}',
        b'{"input_file_id":"","endpoint":"/v1/embeddings","completion_window":"24h"}',
    ],
    ids=range(12),
)
async def test_a_body_that_cannot_be_used_is_refused(http, raw):
    answer = await http.post("/v1/batches", content=raw)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_explicit_nulls_are_as_good_as_nothing(http):
    answer = await http.post(
        "/v1/batches", json=VALID | {"metadata": None, "output_expires_after": None}
    )

    assert (answer.status_code, answer.json()["metadata"]) == (200, None)


async def test_metadata_at_its_limits_comes_back_whole(openai):
    metadata = {f"{n:064}": "ü" * 512 for n in range(16)}

    batch = await create(openai, metadata=metadata)

    assert (await openai.batches.retrieve(batch.id)).metadata == metadata


async def test_a_body_beyond_the_limit_is_413(serve_api, tenant):
    with serve_api(ApiSettings(max_json_bytes=1000)) as server:
        async with openai_client(server, tenant) as openai:
            with pytest.raises(sdk.APIStatusError) as refused:
                await create(openai, metadata={"k": "v" * 2000})

    assert refused.value.status_code == 413


@pytest.mark.parametrize("unknown", ["batch_none", "file-1", "%00", "ä", "x" * 300])
@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("POST", "/cancel")], ids=str)
async def test_an_unknown_batch_is_404(http, unknown, method, suffix):
    answer = await http.request(method, f"/v1/batches/{unknown}{suffix}")

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["message"].startswith("No batch found with id '")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


# -- what a running or ended batch shows ----------------------------------------------------------


async def begun(metadata, batch, index):
    """A lease of one of the batch's shards."""
    return await metadata.shards.claim(
        ShardId(f"{batch.id}.{index}"), holder=ActivationId("a"), token="t", now=datetime.now(UTC)
    )


async def test_a_running_batch_shows_what_executors_record(openai, metadata):
    batch = await planned(metadata, (await create(openai)).id)
    usage = TokenUsage(input_tokens=100, cached_tokens=40, output_tokens=20, reasoning_tokens=5)
    lease = await begun(metadata, batch, 0)
    await metadata.shards.checkpoint({lease.ref: ResultTally(completed=4, failed=1, usage=usage)})

    seen = await openai.batches.retrieve(batch.id)

    assert seen.status == "in_progress"
    assert seen.model == "m"
    assert seen.request_counts.to_dict() == {"total": 20, "completed": 4, "failed": 1}
    assert seen.usage.to_dict() == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120,
    }


async def test_a_closed_shard_is_counted_once(openai, metadata):
    batch = await planned(metadata, (await create(openai)).id)
    first, second = [await begun(metadata, batch, index) for index in (0, 1)]
    await metadata.shards.checkpoint(
        dict.fromkeys([first.ref, second.ref], ResultTally(completed=3))
    )
    await metadata.shards.finish(
        first.ref, [], ResultTally(completed=10), now=datetime.now(UTC), events=[]
    )

    seen = await openai.batches.retrieve(batch.id)
    [listed] = (await openai.batches.list()).data

    assert seen.request_counts.completed == listed.request_counts.completed == 13


async def test_a_failed_batch_lists_its_errors(openai, metadata):
    batch = await create(openai)
    errors = [
        BatchError(code="invalid_json_line", message="Not JSON.", line=2),
        BatchError(code="invalid_request", message="Cannot find file.", param="file_id"),
    ]
    await metadata.batches.fail(batch.id, errors, now=datetime.now(UTC), events=[])

    seen = (await openai.batches.retrieve(batch.id)).to_dict()

    assert seen["status"] == "failed"
    assert seen["failed_at"] >= seen["created_at"]
    assert seen["errors"] == {
        "object": "list",
        "data": [
            {"code": "invalid_json_line", "message": "Not JSON.", "param": None, "line": 2},
            {
                "code": "invalid_request",
                "message": "Cannot find file.",
                "param": "file_id",
                "line": None,
            },
        ],
    }


# -- lists ----------------------------------------------------------------------------------------


async def test_batches_are_listed_newest_first(openai):
    batches = [(await create(openai)).id for _ in range(3)]

    page = await openai.batches.list()

    assert [batch.id for batch in page.data] == batches[::-1]
    assert page.has_more is False


async def test_paging_visits_every_batch_once(openai):
    batches = [(await create(openai)).id for _ in range(7)]

    visited = [batch.id async for batch in openai.batches.list(limit=3)]

    assert visited == batches[::-1]


async def test_a_page_has_twenty_batches_unless_asked_otherwise(openai):
    for _ in range(21):
        await create(openai)

    page = await openai.batches.list()

    assert (len(page.data), page.has_more) == (20, True)


@pytest.mark.parametrize("made", [0, 1])
async def test_a_limit_of_none_is_an_empty_page(openai, http, made):
    for _ in range(made):
        await create(openai)

    answer = await http.get("/v1/batches?limit=0")
    visited = [batch async for batch in openai.batches.list(limit=0)]

    assert answer.json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": bool(made),
    }
    assert visited == []


@pytest.mark.parametrize(
    ("query", "message", "param", "code"),
    [
        (
            "limit=-1",
            "Invalid 'limit': integer below minimum value. Expected a value >= 0, but got -1 "
            "instead.",
            "limit",
            "integer_below_min_value",
        ),
        (
            "limit=101",
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 "
            "instead.",
            "limit",
            "integer_above_max_value",
        ),
        (
            "limit=1.5",
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            "limit",
            "invalid_type",
        ),
        (
            "after=batch_none",
            "Invalid 'after': no batch found with id 'batch_none'.",
            "after",
            "invalid_value",
        ),
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(http, query, message, param, code):
    answer = await http.get(f"/v1/batches?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


async def test_a_record_that_is_damaged_is_told_as_such_and_hidden_from_lists(
    openai, input_file, metadata
):
    whole, broken = await create(openai, input_file), await create(openai, input_file)
    async with metadata._database.writing() as connection:
        await connection.exec_driver_sql(
            f"UPDATE batches SET options = '[]' WHERE id = '{broken.id}'"
        )

    with pytest.raises(sdk.InternalServerError) as caught:
        await openai.batches.retrieve(broken.id)

    assert caught.value.status_code == 500
    assert (caught.value.type, caught.value.code) == ("server_error", "record_damaged")
    assert broken.id in caught.value.message
    assert [batch.id async for batch in openai.batches.list()] == [whole.id]
