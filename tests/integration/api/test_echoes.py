"""Refused values in error messages: recognisable, and never the whole of a long one."""

import json

import pytest

LONG = "abc" * 50_000
TERMS = {
    "input_file_id": "file-1",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("/v1/batches", {"endpoint": LONG}),
        ("/v1/batches", {"completion_window": LONG}),
        ("/v1/batches", {"on_invalid_line": LONG}),
        ("/v1/batches", {LONG: 1}),
        ("/v1/batches", {"priority": int("9" * 4000)}),
        ("/v1/batches", {"metadata": {LONG: 5}}),
        ("/v1/batches", {"metadata": {LONG: "x"}}),
        ("/v1/batches", {"output_expires_after": {"anchor": LONG, "seconds": 3600}}),
        (
            "/v1/batches",
            {
                "input_file_id": None,
                "after": {"batch_id": "x", "template": {"a": "{{" + "b" * 60_000 + "}}"}},
            },
        ),
        ("/v1/uploads", {"purpose": LONG}),
        ("/v1/webhook_endpoints", {"event_types": [LONG]}),
    ],
    ids=range(11),
)
async def test_a_long_value_is_repeated_in_part_only(http, path, changes):
    terms = {
        "/v1/batches": TERMS,
        "/v1/uploads": {"bytes": 1, "filename": "a.jsonl", "mime_type": "x", "purpose": "batch"},
        "/v1/webhook_endpoints": {"name": "a", "url": "https://example.com", "event_types": []},
    }[path]

    answer = await http.post(path, content=json.dumps(terms | changes))

    assert answer.status_code == 400
    assert len(answer.content) < 1500
    if "abc" in answer.text:
        assert "abc" * 60 in answer.text
        assert "abc" * 67 not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/{}",
        "/v1/files/{}/content",
        "/v1/batches/{}",
        "/v1/models/{}",
        "/v1/{}",
        "/v1/files?after={}",
        "/v1/files?order={}",
        "/v1/files?limit={}",
        "/v1/batches?after={}",
        "/v1/batches?status={}",
        "/v1/batches?created_after={}",
        "/v1/webhook_endpoints/{}",
    ],
)
async def test_a_long_path_is_repeated_in_part_only(http, path):
    answer = await http.get(path.format("abc" * 5000))

    assert 400 <= answer.status_code < 500
    assert len(answer.content) < 1500


async def test_a_purpose_in_a_form_is_repeated_in_part_only(http):
    answer = await http.post(
        "/v1/files", files={"file": ("a.jsonl", b"{}")}, data={"purpose": "abc" * 20_000}
    )

    assert answer.status_code == 400
    assert len(answer.content) < 1500


async def test_a_field_with_a_long_name_is_repeated_in_part_only(http):
    answer = await http.post(
        "/v1/files", files={"file": ("a.jsonl", b"{}")}, data={"abc" * 1000: "x"}
    )

    assert answer.status_code == 400
    assert len(answer.content) < 1500
