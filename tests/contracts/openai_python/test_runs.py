"""``client.batches`` to their end: through all functions, in both modes.

One platform and one model simulator serve all tests of a mode. Whatever a test asks the simulator
to do is undone by ``model``.
"""

import json
import sqlite3
from collections import Counter

import httpx
import openai
import pytest
from contracts.openai_python.conftest import watched
from fixtures.command import up
from fixtures.counts import TERMINAL, followed_by_thread
from fixtures.openai_schema import ERROR_LINE, OUTPUT_LINE
from fixtures.simulator import simulator_process
from jsonschema_rs import validator_for

pytestmark = pytest.mark.e2e

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
BRISK = {
    "INFERENCE__MODELS": '["sim-large", "sim-small"]',
    "EXECUTION__HEARTBEAT_S": "0.5",
    "EXECUTION__FENCE_S": "3",
    "EXECUTION__FLUSH_INTERVAL_S": "0.1",
    "RETRY__BACKOFF_S": "0.05",
    "SWEEP__INTERVAL_S": "0.1",
    "SWEEP__STUCK_S": "2",
}


@pytest.fixture(scope="module")
def simulator():
    with simulator_process(output_tokens=4) as url:
        yield url


@pytest.fixture(scope="module")
def platform(mode, simulator, tmp_path_factory):
    """Its base URL and the folder of its data."""
    data = tmp_path_factory.mktemp(mode)
    options = ("--inference-url", simulator, "--speed-up", "10")
    with up(data, *options, **BRISK, API__MODE=mode) as (_, base_url):
        yield base_url, data


@pytest.fixture
def client(platform, mode):
    with watched(platform[0], extended=mode == "extended") as client:
        yield client


@pytest.fixture
def model(simulator):
    """Changes how the model behaves, until the end of the test."""
    with httpx.Client(base_url=simulator) as http:
        before = http.post("/_sim/config", json={}).json()
        del before["models"]
        yield lambda **changes: http.post("/_sim/config", json=changes).raise_for_status()
        http.post("/_sim/config", json=before).raise_for_status()


def line(number, url=CHAT, **changes):
    body = {"model": "sim-large", "messages": [{"role": "user", "content": f"Question {number}?"}]}
    request = {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body}
    return {**request, **changes}


def without(request, name):
    return {key: value for key, value in request.items() if key != name}


def body_of(request, **changes):
    body = {key: value for key, value in (request["body"] | changes).items() if value is not None}
    return {**request, "body": body}


def submit(client, lines, *, endpoint=CHAT, **terms):
    content = "".join(x if isinstance(x, str) else json.dumps(x) + "\n" for x in lines).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **terms
    )


def until(client, batch, condition, *, seconds=60):
    return followed_by_thread(
        lambda: client.batches.retrieve(batch.id), batch, condition, seconds=seconds
    )


def ended(client, batch):
    return until(client, batch, lambda b: b.status in TERMINAL)


def run(client, lines, **terms):
    return ended(client, submit(client, lines, **terms))


def lines_of(client, file_id, schema):
    """The lines of a result file, each of which has the right form."""
    if file_id is None:
        return []
    content = client.files.content(file_id).content
    lines = [json.loads(raw) for raw in content.splitlines()]  # of bytes: only at line ends
    form = validator_for(schema)
    assert [error.message for line in lines for error in form.iter_errors(line)] == []
    return lines


def results(client, batch):
    return (
        lines_of(client, batch.output_file_id, OUTPUT_LINE),
        lines_of(client, batch.error_file_id, ERROR_LINE),
    )


def errors(batch):
    """What failed a batch: code, param and line of each error."""
    assert (batch.status, batch.errors.object) == ("failed", "list")
    return [(error.code, error.param, error.line) for error in batch.errors.data]


# -- to the end -----------------------------------------------------------------------------------


def test_checks_51_52_every_line_has_its_result_in_input_order(client):
    batch = run(client, [line(n) for n in range(1, 31)])

    output, failed = results(client, batch)
    assert (batch.status, failed) == ("completed", [])
    assert [each["custom_id"] for each in output] == [f"line-{n}" for n in range(1, 31)]
    assert {each["response"]["status_code"] for each in output} == {200}
    assert len({each["id"] for each in output}) == 30
    assert batch.request_counts.to_dict() == {"total": 30, "completed": 30, "failed": 0}
    assert batch.model == "sim-large"


def test_a_completed_batch_tells_when_it_did_what(client):
    batch = run(client, [line(1)])

    times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert times == sorted(times)
    assert (batch.failed_at, batch.expired_at, batch.cancelled_at) == (None, None, None)


def test_check_62_a_completed_batch_tells_its_usage(client):
    batch = run(client, [line(n) for n in range(5)])

    output, _ = results(client, batch)
    used = [each["response"]["body"]["usage"] for each in output]
    assert batch.usage.input_tokens == sum(usage["prompt_tokens"] for usage in used) > 0
    assert batch.usage.output_tokens == sum(usage["completion_tokens"] for usage in used) > 0
    assert batch.usage.total_tokens == sum(usage["total_tokens"] for usage in used)


def test_check_61_result_files_are_batch_output_with_a_lifetime(client):
    expiry = {"anchor": "created_at", "seconds": 7200}
    batch = run(client, [line(1)], output_expires_after=expiry)

    file = client.files.retrieve(batch.output_file_id)

    assert (file.purpose, file.status) == ("batch_output", "processed")
    assert file.expires_at == file.created_at + 7200
    assert file.created_at >= batch.created_at
    assert file.id in [each.id for each in client.files.list(purpose="batch_output")]


def test_result_files_are_kept_for_30_days_unless_told_otherwise(client):
    batch = run(client, [line(1)])

    file = client.files.retrieve(batch.output_file_id)

    assert file.expires_at == file.created_at + 30 * 86400


def test_check_49_good_and_bad_requests_are_parted(client, model):
    model(fault_rate=1.0, fault_kinds=["500"], fault_match="Question 2?")

    batch = run(client, [line(n) for n in range(1, 4)])

    output, failed = results(client, batch)
    assert batch.status == "completed"
    assert [each["custom_id"] for each in output] == ["line-1", "line-3"]
    assert [each["custom_id"] for each in failed] == ["line-2"]
    assert failed[0]["error"] is None
    assert failed[0]["response"]["status_code"] == 500
    assert failed[0]["response"]["body"]["error"]["code"] == "internal_error"
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}


def test_check_50_a_batch_of_failures_only_is_completed(client, model):
    model(fault_rate=1.0, fault_kinds=["500"])

    batch = run(client, [line(1), line(2)])

    output, failed = results(client, batch)
    assert (batch.status, batch.output_file_id, output) == ("completed", None, [])
    assert len(failed) == 2
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 0, "failed": 2}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (EMBEDDINGS, {"input": ["one", "two"]}),
        ("/v1/completions", {"prompt": "Once upon a time"}),
        ("/v1/responses", {"input": "Hello", "instructions": "Be brief"}),
        ("/v1/moderations", {"input": "Hello"}),
    ],
)
def test_requests_go_to_their_endpoint(client, endpoint, body):
    request = {**line(1, endpoint), "body": {"model": "sim-small", **body}}

    batch = run(client, [request], endpoint=endpoint)

    output, failed = results(client, batch)
    assert (batch.status, batch.model, failed) == ("completed", "sim-small", [])
    assert output[0]["response"]["body"]["model"] == "sim-small"


@pytest.mark.parametrize(
    "text", ["\u2028 größe \U0001f600", '"\\/\b', "x" * 70_000], ids=["unicode", "escapes", "long"]
)
def test_what_a_user_writes_comes_back_under_its_name(client, text):
    batch = run(client, [line(1, custom_id=text)])

    output, _ = results(client, batch)
    assert output[0]["custom_id"] == text


def test_blank_lines_line_ends_of_windows_and_a_byte_order_mark_are_no_requests(client):
    lines = ["\ufeff" + json.dumps(line(1)) + "\r\n", "\r\n", "  \n", json.dumps(line(2))]

    batch = run(client, lines)

    assert batch.status == "completed"
    assert batch.request_counts.total == 2


# -- refused in validation ------------------------------------------------------------------------


def test_check_36_an_input_file_that_is_not_there_fails_the_batch(client):
    batch = client.batches.create(
        input_file_id="file-unknown", endpoint=CHAT, completion_window="24h"
    )

    batch = ended(client, batch)

    assert errors(batch) == [("invalid_request", "file_id", None)]
    assert batch.errors.data[0].message.startswith("Cannot find file file-unknown")


def test_check_9_an_empty_input_file_fails_its_batch(client):
    batch = run(client, [])

    assert batch.status == "failed"
    assert [error.code for error in batch.errors.data] == ["empty_file"]


@pytest.mark.parametrize("content", ["{oops\n", "[]\n"])
def test_check_10_a_malformed_first_line_fails_the_batch_with_its_number(client, content):
    batch = run(client, [content])

    assert batch.status == "failed"
    assert [(error.code, error.line) for error in batch.errors.data] == [("invalid_json_line", 1)]


def test_check_38_what_a_line_lacks_is_told_line_by_line(client):
    names = ["custom_id", "method", "url", "body"]

    batch = run(client, [without(line(n), name) for n, name in enumerate(names)])

    code = "missing_required_parameter"
    assert errors(batch) == [(code, name, n) for n, name in enumerate(names, 1)]
    assert [error.message for error in batch.errors.data] == [
        f"Missing required parameter: '{name}'." for name in names
    ]


@pytest.mark.parametrize(
    ("bad", "code", "param", "message"),
    [
        ("{oops\n", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (
            line(2, EMBEDDINGS),
            "invalid_url",
            "url",
            "The URL provided for this request does not match the batch endpoint.",
        ),
        (
            body_of(line(2), model=None),
            "invalid_request",
            "body.model",
            "Model parameter is required.",
        ),
        (
            body_of(line(2), messages=None),
            "invalid_request",
            "body.messages",
            "Messages parameter is required.",
        ),
        (
            body_of(line(2), stream=True),
            "streaming_unsupported",
            "body.stream",
            "Chat Completions: Streaming is not supported in the Batch API.",
        ),
        (line(1), "duplicate_custom_id", "custom_id", "The custom ID for this request is a dupl"),
        (line(2, method="GET"), "invalid_method", "method", "The method of a batch request must"),
    ],
    ids=["check-39", "check-40", "check-42-model", "check-42", "check-43", "check-45", "method"],
)
def test_one_bad_line_fails_the_batch(client, bad, code, param, message):
    batch = run(client, [line(1), bad])

    assert errors(batch) == [(code, param, 2)]
    assert batch.errors.data[0].message.startswith(message)


def test_not_streaming_is_no_fault(client):
    assert run(client, [body_of(line(1), stream=False)]).status == "completed"


def test_check_41_an_unknown_model_fails_the_batch_in_strict_mode_only(client, mode):
    batch = run(client, [line(1), body_of(line(2), model="nobody")])

    if mode == "strict":
        assert errors(batch) == [("model_not_found", "body.model", 2)]
        assert batch.errors.data[0].message == (
            "The provided model 'nobody' is not supported by the Batch API."
        )
    else:
        _, failed = results(client, batch)
        assert batch.status == "completed"
        assert [(each["custom_id"], each["error"]["code"]) for each in failed] == [
            ("line-2", "model_not_found")
        ]


def test_check_44_a_second_model_fails_the_batch_in_strict_mode_only(client, mode):
    batch = run(client, [line(1), body_of(line(2), model="sim-small")])

    if mode == "strict":
        assert errors(batch) == [("mismatched_model", "body.model", 2)]
    else:
        output, _ = results(client, batch)
        models = [each["response"]["body"]["model"] for each in output]
        assert models == ["sim-large", "sim-small"]


def test_check_46_more_than_50000_lines_fail_the_batch(client, mode):
    text = json.dumps(line(0))
    lines = (text.replace("line-0", f"line-{n}") + "\n" for n in range(50_001))

    batch = run(client, lines)

    assert errors(batch) == [("too_many_requests", None, None)]


def test_check_47_more_than_50000_embedding_inputs_fail_the_batch_in_strict_mode_only(client, mode):
    many = {"model": "sim-small", "input": ["a"] * 25_000}
    lines = [{**line(n, EMBEDDINGS), "body": many} for n in range(2)]
    lines.append({**line(2, EMBEDDINGS), "body": {"model": "sim-small", "input": [1, 2, 3]}})

    batch = run(client, lines, endpoint=EMBEDDINGS)

    if mode == "strict":
        assert errors(batch) == [("too_many_inputs", None, None)]
    else:
        assert batch.status == "completed"


def test_check_48_a_failed_batch_has_nothing_but_its_errors(client):
    batch = run(client, ["{}\n"])

    assert batch.status == "failed"
    assert batch.failed_at >= batch.created_at
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert batch.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}


def test_check_58_a_failed_batch_cannot_be_cancelled(client):
    batch = run(client, ["{}\n"])

    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'failed'"):
        client.batches.cancel(batch.id)


# -- ended before its time ------------------------------------------------------------------------


def test_checks_56_57_cancelling_keeps_what_is_done(client, model):
    model(ttft_ms=60, slots=4)
    batch = submit(client, [line(n) for n in range(1000)])  # runs for 15 s
    batch = until(client, batch, lambda b: b.request_counts.completed >= 8)

    cancelling = client.batches.cancel(batch.id)
    batch = ended(client, cancelling)
    again = client.batches.cancel(batch.id)

    output, failed = results(client, batch)
    assert cancelling.status == "cancelling"
    assert batch.status == again.status == "cancelled"
    assert len(output) == batch.request_counts.completed >= 8
    assert Counter(each["error"]["code"] for each in failed) == {
        "batch_cancelled": 1000 - len(output)
    }
    assert batch.request_counts.failed == 0


def test_checks_54_55_at_its_deadline_a_batch_ends_with_what_is_done(client, model, platform):
    model(fault_rate=1.0, fault_kinds=["timeout"], fault_match="Question 3?")
    batch = submit(client, [line(n) for n in range(1, 5)])
    batch = until(client, batch, lambda b: b.request_counts.completed == 3)

    # A test cannot wait for 24 hours: move the deadline to now.
    with sqlite3.connect(platform[1] / "metadata.db") as database:
        database.execute("UPDATE batches SET deadline = created_at WHERE id = ?", [batch.id])
    batch = ended(client, batch)

    output, failed = results(client, batch)
    assert batch.status == "expired"
    assert [each["custom_id"] for each in output] == ["line-1", "line-2", "line-4"]
    assert [(each["custom_id"], each["response"]) for each in failed] == [("line-3", None)]
    assert failed[0]["error"] == {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }
    assert batch.request_counts.to_dict() == {"total": 4, "completed": 3, "failed": 0}


def test_check_16_an_input_that_is_deleted_before_its_batch_is_planned_fails_it(client):
    content = (json.dumps(line(1)) + "\n").encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    client.files.delete(file.id)

    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")

    assert errors(ended(client, batch)) == [("invalid_request", "file_id", None)]


def test_check_17_an_input_that_is_deleted_later_is_not_missed(client, model):
    model(ttft_ms=60, slots=4)
    batch = submit(client, [line(n) for n in range(20)])
    batch = until(client, batch, lambda b: b.request_counts.completed >= 2)

    assert client.files.delete(batch.input_file_id).deleted
    model(ttft_ms=0)
    batch = ended(client, batch)

    assert (batch.status, batch.request_counts.completed) == ("completed", 20)


def test_the_models_of_the_engine_are_listed(client):
    assert [model.id for model in client.models.list()] == ["sim-large", "sim-small"]
