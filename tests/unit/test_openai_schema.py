"""That the description of OpenAI's answers notices what is not so."""

import httpx
import pytest
from fixtures.openai_schema import violations

FILE = {
    "id": "file-2qvouj6sKUCGTbu3odouhk",
    "object": "file",
    "bytes": 1,
    "created_at": 1_700_000_000,
    "expires_at": None,
    "filename": "a",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}
BATCH = {
    "id": "batch_69c3c347282c81908ede48ecc95bf201",
    "object": "batch",
    "endpoint": "/v1/embeddings",
    "input_file_id": "file-a",
    "completion_window": "24h",
    "status": "validating",
    "created_at": 1_700_000_000,
    "expires_at": 1_700_086_400,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
    **dict.fromkeys(
        ["model", "errors", "output_file_id", "error_file_id", "usage", "metadata"]
        + [f"{state}_at" for state in ("in_progress", "finalizing", "completed", "failed")]
        + [f"{state}_at" for state in ("expired", "cancelling", "cancelled")]
    ),
}
ERROR = {"message": "no", "type": "invalid_request_error", "param": None, "code": None}


def found(method, path, content, *, status=200, extended=False, **headers):
    request = httpx.Request(method, f"http://gateway/v1{path}")
    headers = {"x-request-id": "req_1", **headers}
    answer = httpx.Response(status, json=content, headers=headers, request=request)
    return list(violations(answer, extended=extended))


def test_answers_as_openai_describes_them_are_right():
    assert found("GET", "/files/file-a", FILE) == []
    assert found("GET", "/batches/batch_a", BATCH) == []
    assert found("POST", "/files", {"error": ERROR}, status=400) == []


@pytest.mark.parametrize("key", FILE)
def test_a_missing_key_is_noticed(key):
    short = {name: value for name, value in FILE.items() if name != key}

    assert len(found("GET", "/files/file-a", short)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "completed"},
        {"status": "failed"},
        {"status": "in_progress"},
        {"status": "cancelling"},
        {"status": "done"},
        {"in_progress_at": 1_700_000_001},
        {"created_at": 1_700_000_000.5},
        {"metadata": {"a": 1}},
        {"errors": {"object": "list", "data": []}},
        {"request_counts": {"total": 0, "completed": 0}},
        {"id": "batch_1"},
    ],
    ids=repr,
)
def test_a_batch_whose_parts_contradict_its_status_is_noticed(changes):
    assert found("GET", "/batches/batch_a", BATCH | changes) != []


def test_extensions_are_allowed_in_a_batch_of_the_extended_mode_only():
    more = BATCH | {"priority": 1}

    assert found("GET", "/batches/batch_a", more, extended=True) == []
    assert found("GET", "/batches/batch_a", more) != []
    assert found("GET", "/files/file-a", FILE | {"priority": 1}, extended=True) != []
    assert found("POST", "/batches/batch_a/pause", BATCH) != []


def test_an_error_in_another_form_and_a_missing_id_are_noticed():
    assert found("GET", "/files", {"detail": "no"}, status=404) != []
    assert found("GET", "/files/file-a", FILE, **{"x-request-id": ""}) != []
