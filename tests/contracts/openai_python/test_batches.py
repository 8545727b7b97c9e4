"""``client.batches``, before they are executed: created, listed, cancelled, refused."""

import re
from datetime import UTC, datetime

import openai
import pytest
from fixtures.metadata import assembled
from openai import AsyncOpenAI

from batch_gateway.core.model import BatchStatus
from batch_gateway.core.validation import ENDPOINTS

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
TERMS = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


def create(client, **changes):
    return client.batches.create(**TERMS | changes)


async def end(server, batch, status):
    """Let a batch end as the functions that work on it would."""
    now = datetime.now(UTC)
    async with server.metadata() as store:
        if status is BatchStatus.FAILED:
            await store.batches.fail(batch.id, [], now=now, events=[])
            return
        await store.batches.plan(batch.id, [], total=0, model="m", now=now, events=[])
        await assembled(store, batch.id, status, now=now)


# -- creating -------------------------------------------------------------------------------------


def test_check_31_a_new_batch_is_validating(client):
    batch = create(client)

    assert re.fullmatch(r"batch_[0-9a-f]{32}", batch.id)
    assert (batch.object, batch.status) == ("batch", "validating")
    assert batch.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert (batch.errors, batch.usage, batch.model) == (None, None, None)
    assert {name: getattr(batch, name) for name in TERMS} == TERMS


def test_check_53_a_batch_expires_24_hours_after_its_creation(client):
    batch = create(client)

    assert batch.expires_at == batch.created_at + 86400


def test_check_36_an_input_file_that_is_not_there_is_found_out_later(client):
    assert create(client, input_file_id="file-unknown").status == "validating"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_batch_may_go_to_each_of_openais_endpoints(client, endpoint):
    assert create(client, endpoint=endpoint).endpoint == endpoint


@pytest.mark.parametrize("endpoint", ["/v1/invalid/endpoint", "", "chat/completions"])
def test_check_32_an_unknown_endpoint_is_refused(client, endpoint):
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, endpoint=endpoint)

    error = refused.value
    assert (error.param, error.code, error.type) == (
        "endpoint",
        "invalid_value",
        "invalid_request_error",
    )
    assert error.body["message"].startswith(f"Invalid value: '{endpoint}'. Supported values are: '")


@pytest.mark.parametrize("window", ["48h", "1h", "7d", "15m"])
def test_check_33_only_the_strict_mode_insists_on_24_hours(client, mode, window):
    if mode == "strict":
        with pytest.raises(openai.BadRequestError) as refused:
            create(client, completion_window=window)
        assert (refused.value.param, refused.value.code) == ("completion_window", "invalid_value")
    else:
        assert create(client, completion_window=window).completion_window == window


@pytest.mark.parametrize("window", ["", "invalid", "24", "0h", "31d", "-1h", "1.5h", "24H"])
def test_check_33_a_window_of_nonsense_is_refused(client, window):
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, completion_window=window)

    assert (refused.value.param, refused.value.code) == ("completion_window", "invalid_value")


@pytest.mark.parametrize(
    ("value", "got"),
    [(["a"], "an array"), (1, "an integer"), ({"a": "b"}, "an object"), (True, "a boolean")],
)
def test_check_34_metadata_are_strings(client, value, got):
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, metadata={"tags": value})

    assert refused.value.body == {
        "message": f"Invalid type for 'metadata.tags': expected a string, but got {got} instead.",
        "type": "invalid_request_error",
        "param": "metadata.tags",
        "code": "invalid_type",
    }


@pytest.mark.parametrize(
    "metadata",
    [{str(n): "x" for n in range(17)}, {"k" * 65: "x"}, {"k": "v" * 513}],
    ids=["17-pairs", "key-of-65", "value-of-513"],
)
def test_check_35_metadata_have_bounds(client, metadata):
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, metadata=metadata)

    assert refused.value.param.startswith("metadata")


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"k" * 64: "v" * 512}, {str(n): "x" for n in range(16)}, {"größe": "日本"}],
    ids=["null", "empty", "longest", "most", "unicode"],
)
def test_check_35_metadata_come_back_as_they_were(client, metadata):
    batch = create(client, metadata=metadata)

    assert client.batches.retrieve(batch.id).metadata == metadata


@pytest.mark.parametrize("purpose", ["user_data", "vision"])
def test_check_37_an_input_file_of_another_purpose_is_refused(client, purpose):
    file = client.files.create(file=("a.jsonl", LINE), purpose=purpose)

    with pytest.raises(openai.BadRequestError) as refused:
        create(client, input_file_id=file.id)

    assert refused.value.param == "input_file_id"


def test_check_69_an_unknown_field_is_refused(client):
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, extra_body={"completion_windw": "1h"})

    assert refused.value.body["message"] == (
        "Unrecognized request argument supplied: completion_windw"
    )


@pytest.mark.parametrize("missing", TERMS)
def test_a_required_field_that_is_missing_is_named(client, missing):
    terms = {name: value for name, value in TERMS.items() if name != missing}

    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/batches", cast_to=object, body=terms)

    assert (refused.value.param, refused.value.code) == (missing, "missing_required_parameter")
    assert refused.value.body["message"] == f"Missing required parameter: '{missing}'."


@pytest.mark.parametrize("seconds", [3600, 2592000])
def test_result_files_may_have_a_lifetime(client, seconds):
    expiry = {"anchor": "created_at", "seconds": seconds}

    assert create(client, output_expires_after=expiry).status == "validating"


@pytest.mark.parametrize("seconds", [3599, 2592001])
def test_result_files_may_not_have_any_lifetime(client, seconds):
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, output_expires_after={"anchor": "created_at", "seconds": seconds})

    assert refused.value.param == "output_expires_after.seconds"


def test_extensions_do_not_exist_in_strict_mode(client, mode):
    if mode == "strict":
        with pytest.raises(openai.BadRequestError, match="Unrecognized request argument"):
            create(client, extra_body={"priority": 1})
        with pytest.raises(openai.NotFoundError):
            client.post("/batches/batch_none/pause", cast_to=object)
    else:
        assert create(client, extra_body={"priority": 1}).priority == 1


# -- reading --------------------------------------------------------------------------------------


def test_a_batch_is_read_as_it_was_created(client):
    batch = create(client, metadata={"a": "b"})

    assert client.batches.retrieve(batch.id) == batch


@pytest.mark.parametrize("verb", ["retrieve", "cancel"])
def test_check_59_an_unknown_batch_is_404(client, verb):
    with pytest.raises(openai.NotFoundError) as missing:
        getattr(client.batches, verb)("batch_none")

    assert missing.value.body["message"] == "No batch found with id 'batch_none'."


@pytest.mark.parametrize("verb", ["retrieve", "cancel"])
def test_somebody_elses_batch_does_not_exist(client, stranger, verb):
    batch = create(client)

    with pytest.raises(openai.NotFoundError):
        getattr(stranger.batches, verb)(batch.id)
    assert client.batches.retrieve(batch.id).status == "validating"


# -- listing --------------------------------------------------------------------------------------


def test_check_26_a_page_of_none_is_empty_and_says_whether_there_is_more(client):
    assert client.batches.list(limit=0).has_more is False
    create(client)

    page = client.batches.list(limit=0)

    assert (page.data, page.has_more) == ([], True)
    assert list(page) == []


@pytest.mark.parametrize(
    ("limit", "code", "message"),
    [
        (
            -1,
            "integer_below_min_value",
            "Invalid 'limit': integer below minimum value. Expected a value >= 0, but got -1 "
            "instead.",
        ),
        (
            101,
            "integer_above_max_value",
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 "
            "instead.",
        ),
    ],
    ids=["check-27", "check-28"],
)
def test_checks_27_28_a_page_has_up_to_100_batches(client, limit, code, message):
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.list(limit=limit)

    assert refused.value.body == {
        "message": message,
        "type": "invalid_request_error",
        "param": "limit",
        "code": code,
    }


def test_check_29_a_page_has_the_20_newest(client):
    names = [create(client).id for _ in range(22)]

    page = client.batches.list()

    assert [batch.id for batch in page.data] == names[:1:-1]
    assert page.has_more is True


def test_check_30_paging_after_an_unknown_batch_is_refused(client, stranger):
    others = create(stranger)

    for after in ("batch_none", others.id, "no id at all"):
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.list(after=after)
        assert refused.value.param == "after"


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_paging_visits_each_batch_once(client, limit):
    names = [create(client).id for _ in range(5)]

    assert [batch.id for batch in client.batches.list(limit=limit)] == names[::-1]


def test_a_batch_that_is_created_meanwhile_does_not_disturb_paging(client):
    names = [create(client).id for _ in range(4)]

    visited = []
    for batch in client.batches.list(limit=2):
        visited.append(batch.id)
        create(client)

    assert visited == names[::-1]


async def test_the_asynchronous_client_pages_too(client, server):
    names = [create(client).id for _ in range(5)]

    async with AsyncOpenAI(
        base_url=client.base_url, api_key="any", default_headers=client._custom_headers
    ) as other:
        visited = [batch.id async for batch in other.batches.list(limit=2)]

    assert visited == names[::-1]


# -- cancelling -----------------------------------------------------------------------------------


def test_check_57_a_batch_may_be_cancelled_again(client):
    batch = create(client)

    first = client.batches.cancel(batch.id)
    second = client.batches.cancel(batch.id)

    assert (first.status, second.status) == ("cancelling", "cancelling")
    assert first.cancelling_at == second.cancelling_at >= batch.created_at


@pytest.mark.parametrize("status", [BatchStatus.COMPLETED, BatchStatus.FAILED])
async def test_check_58_a_batch_that_has_ended_cannot_be_cancelled(client, server, status):
    batch = create(client)
    await end(server, batch, status)
    before = len(client.sent)

    with pytest.raises(openai.ConflictError) as refused:
        client.batches.cancel(batch.id)

    assert refused.value.body == {
        "message": f"Cannot cancel a batch with status '{status.value}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(client.sent) == before + 1, "the client does not ask again"


def test_check_60_cancelling_needs_no_body(client):
    client.batches.cancel(create(client).id)

    cancel = client.sent[-1]
    assert cancel.headers["content-type"] == "application/json"
    assert cancel.headers["content-length"] == "0"
