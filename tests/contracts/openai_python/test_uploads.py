"""``client.uploads``: files that come in parts."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import openai
import pytest

MIB = 1024 * 1024
LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'


def begin(client, size, **changes):
    asked = {"bytes": size, "filename": "in.jsonl", "mime_type": "application/jsonl"}
    return client.uploads.create(**{"purpose": "batch", **asked, **changes})


def add(client, upload, content):
    return client.uploads.parts.create(upload.id, data=content).id


def test_a_new_upload_is_pending_for_an_hour(client):
    upload = begin(client, 10)

    assert (upload.object, upload.status, upload.bytes) == ("upload", "pending", 10)
    assert (upload.filename, upload.purpose, upload.file) == ("in.jsonl", "batch", None)
    assert upload.expires_at == upload.created_at + 3600


@pytest.mark.parametrize(
    "purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
)
def test_an_upload_may_have_any_purpose_of_a_file(client, purpose):
    assert begin(client, 1, purpose=purpose).purpose == purpose


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"purpose": "foo"}, "purpose"),
        ({"size": 0}, "bytes"),
        ({"size": -1}, "bytes"),
        ({"filename": ""}, "filename"),
        ({"filename": "a.txt"}, None),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
    ],
    ids=["purpose", "no-bytes", "less-than-none", "no-name", "no-jsonl", "lifetime"],
)
def test_an_upload_of_nonsense_is_refused(client, changes, param):
    with pytest.raises(openai.BadRequestError) as refused:
        begin(client, **{"size": 10, **changes})

    assert refused.value.param == param


def test_check_63_a_part_may_have_64_mib(client):
    content = LINE + b" " * (64 * MIB - len(LINE))
    upload = begin(client, 64 * MIB)

    part = client.uploads.parts.create(upload.id, data=content)
    done = client.uploads.complete(upload.id, part_ids=[part.id])

    assert (part.object, part.upload_id) == ("upload.part", upload.id)
    assert (done.status, done.file.bytes) == ("completed", 64 * MIB)


def test_a_part_may_not_have_more(client):
    upload = begin(client, 65 * MIB)

    with pytest.raises(openai.BadRequestError) as refused:
        add(client, upload, bytes(64 * MIB + 1))

    assert refused.value.param == "data"


@pytest.mark.parametrize("size", [len(LINE) - 1, len(LINE) + 1], ids=["less", "more"])
def test_check_63_parts_must_have_the_announced_bytes(client, size):
    upload = begin(client, size)
    part = add(client, upload, LINE)

    with pytest.raises(openai.BadRequestError) as refused:
        client.uploads.complete(upload.id, part_ids=[part])

    assert refused.value.param == "part_ids"


def test_check_63_parts_are_joined_in_the_order_of_their_ids(client):
    pieces = [LINE[:20], LINE[20:40], LINE[40:]]
    upload = begin(client, len(LINE))
    with ThreadPoolExecutor(3) as threads:
        parts = list(threads.map(lambda piece: add(client, upload, piece), pieces[::-1]))

    done = client.uploads.complete(upload.id, part_ids=parts[::-1])

    assert client.files.content(done.file.id).content == LINE


def test_a_part_that_is_not_named_is_left_out(client):
    upload = begin(client, len(LINE))
    add(client, upload, b"sent in vain")
    part = add(client, upload, LINE)

    done = client.uploads.complete(upload.id, part_ids=[part])

    assert done.file.bytes == len(LINE)


@pytest.mark.parametrize("how", ["complete", "cancel"])
def test_check_64_nothing_is_added_to_an_upload_that_has_ended(client, how):
    upload = begin(client, len(LINE))
    part = add(client, upload, LINE)
    if how == "complete":
        client.uploads.complete(upload.id, part_ids=[part])
    else:
        assert client.uploads.cancel(upload.id).status == "cancelled"

    with pytest.raises(openai.BadRequestError):
        add(client, upload, b"x")


def test_check_64_an_upload_ends_after_an_hour(client, server):
    upload = begin(client, len(LINE))
    part = add(client, upload, LINE)

    server.clock.ahead = timedelta(minutes=61)
    try:
        for late in (
            lambda: add(client, upload, b"x"),
            lambda: client.uploads.complete(upload.id, part_ids=[part]),
            lambda: client.uploads.cancel(upload.id),
        ):
            with pytest.raises(openai.BadRequestError, match="it is expired"):
                late()
    finally:
        server.clock.ahead = timedelta()


def test_check_65_the_right_md5_is_taken(client):
    upload = begin(client, len(LINE))
    part = add(client, upload, LINE)
    digest = hashlib.md5(LINE).hexdigest()

    done = client.uploads.complete(upload.id, part_ids=[part], md5=digest)
    batch = client.batches.create(
        input_file_id=done.file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )

    assert batch.input_file_id == done.file.id


@pytest.mark.parametrize("md5", ["0" * 32, "no digest"])
def test_check_65_a_wrong_md5_is_refused_and_the_upload_goes_on(client, md5):
    upload = begin(client, len(LINE))
    part = add(client, upload, LINE)

    with pytest.raises(openai.BadRequestError) as refused:
        client.uploads.complete(upload.id, part_ids=[part], md5=md5)
    done = client.uploads.complete(upload.id, part_ids=[part])

    assert refused.value.param == "md5"
    assert done.status == "completed"


def test_what_is_no_text_becomes_no_batch_file(client):
    content = b"\xff\xfe{}\n"
    upload = begin(client, len(content))
    part = add(client, upload, content)

    with pytest.raises(openai.BadRequestError, match="Must be utf-8 encoded"):
        client.uploads.complete(upload.id, part_ids=[part])


@pytest.mark.parametrize("content", [b"{oops\n", b"[]\n"])
def test_lines_of_an_upload_are_judged_when_its_batch_is_planned(client, content):
    upload = begin(client, len(content))
    part = add(client, upload, content)

    assert client.uploads.complete(upload.id, part_ids=[part]).status == "completed"


@pytest.mark.parametrize(
    "verb", [("complete", {"part_ids": []}), ("cancel", {})], ids=["complete", "cancel"]
)
def test_an_unknown_upload_is_404(client, verb):
    name, arguments = verb

    with pytest.raises(openai.NotFoundError):
        getattr(client.uploads, name)("upload_none", **arguments)
    with pytest.raises(openai.NotFoundError):
        client.uploads.parts.create("upload_none", data=b"x")


def test_somebody_elses_upload_and_parts_do_not_exist(client, stranger):
    upload = begin(client, len(LINE))
    part = add(client, upload, LINE)
    own = begin(stranger, len(LINE))

    for attempt in (
        lambda: stranger.uploads.complete(upload.id, part_ids=[part]),
        lambda: stranger.uploads.cancel(upload.id),
        lambda: add(stranger, upload, b"x"),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()
    with pytest.raises(openai.BadRequestError) as refused:
        stranger.uploads.complete(own.id, part_ids=[part])
    assert refused.value.param == "part_ids"


def test_a_cancelled_upload_may_be_cancelled_again(client):
    upload = begin(client, 10)

    assert [client.uploads.cancel(upload.id).status for _ in range(2)] == ["cancelled"] * 2
    assert client.sent[-1].headers["content-type"] == "application/json"
    assert client.sent[-1].headers["content-length"] == "0"


def test_completing_again_in_the_same_words_gives_the_same_file(client):
    upload = begin(client, len(LINE))
    part = add(client, upload, LINE)

    first, second = (client.uploads.complete(upload.id, part_ids=[part]) for _ in range(2))

    assert first.file == second.file


def test_a_file_keeps_the_lifetime_that_its_upload_named(client):
    upload = begin(client, len(LINE), expires_after={"anchor": "created_at", "seconds": 7200})
    part = add(client, upload, LINE)

    done = client.uploads.complete(upload.id, part_ids=[part])

    assert done.file.expires_at == done.file.created_at + 7200


def test_the_client_cuts_a_file_from_disk(client, tmp_path):
    path = tmp_path / "large.jsonl"
    path.write_bytes(LINE * 1000)

    done = client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=20_000
    )

    assert (done.status, done.file.filename) == ("completed", "large.jsonl")
    assert client.files.content(done.file.id).content == LINE * 1000


def test_the_client_cuts_a_file_in_memory(client):
    done = client.uploads.upload_file_chunked(
        file=io.BytesIO(LINE * 10).getvalue(),
        filename="memory.jsonl",
        bytes=len(LINE) * 10,
        mime_type="application/jsonl",
        purpose="batch",
        part_size=100,
    )

    assert client.files.content(done.file.id).content == LINE * 10
