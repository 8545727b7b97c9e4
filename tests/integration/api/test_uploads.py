"""Uploads in parts through OpenAI's client, and what is refused."""

import asyncio
import hashlib
import random
from datetime import timedelta

import pytest
from fixtures.api import http_client
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types import Upload

from batch_gateway.settings import ApiSettings

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
MIB = 1024 * 1024
HOUR = 3600
MISSING = "missing_required_parameter"


async def create(client: AsyncOpenAI, size: int, **changes: object) -> Upload:
    asked = {
        "bytes": size,
        "filename": "in.bin",
        "mime_type": "application/octet-stream",
        "purpose": "evals",
    }
    return await client.uploads.create(**(asked | changes))


async def add(client: AsyncOpenAI, upload: Upload, content: bytes) -> str:
    return (await client.uploads.parts.create(upload.id, data=content)).id


async def content_of(client: AsyncOpenAI, upload: Upload) -> bytes:
    assert upload.file is not None
    return (await client.files.content(upload.file.id)).content


@pytest.fixture
def blobs(server):
    """Keys that this test has added to the file store."""
    before = set(server.blobs())
    return lambda: sorted(set(server.blobs()) - before)


async def test_a_new_upload_is_pending_for_an_hour(openai):
    upload = await create(openai, 5, filename="a b.bin")

    assert upload.id.startswith("upload_")
    assert (upload.object, upload.status, upload.bytes) == ("upload", "pending", 5)
    assert (upload.filename, upload.purpose, upload.file) == ("a b.bin", "evals", None)
    assert upload.expires_at == upload.created_at + HOUR


async def test_parts_that_come_at_once_become_a_file_in_the_order_of_their_ids(openai, blobs):
    contents = [random.Random(n).randbytes(300_000 + n) for n in range(5)]
    upload = await create(openai, sum(map(len, contents)))

    names = await asyncio.gather(*(add(openai, upload, content) for content in contents))
    order = [3, 0, 4, 2, 1]
    completed = await openai.uploads.complete(upload.id, part_ids=[names[n] for n in order])

    assert completed.status == "completed"
    assert completed.file.bytes == upload.bytes
    assert (completed.file.filename, completed.file.purpose) == ("in.bin", "evals")
    assert completed.file.status == "processed"
    assert await content_of(openai, completed) == b"".join(contents[n] for n in order)
    assert len(blobs()) == 1, "its parts are gone"


async def test_a_part_is_what_openai_makes_of_it(openai):
    upload = await create(openai, 1)

    part = await openai.uploads.parts.create(upload.id, data=b"x")

    assert part.id.startswith("part_")
    assert (part.object, part.upload_id) == ("upload.part", upload.id)
    assert abs(part.created_at - upload.created_at) < 60


async def test_a_file_uploaded_in_chunks_feeds_a_batch(openai, metadata, tenant, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(LINE * 1000)

    upload = await openai.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=10_007
    )
    batch = await openai.batches.create(
        input_file_id=upload.file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )

    assert batch.status == "validating"
    assert upload.file.expires_at == upload.file.created_at + 30 * 86400
    assert await content_of(openai, upload) == LINE * 1000
    row = await metadata.files.get(tenant, upload.file.id)
    assert (row.lines, row.sha256) == (1000, hashlib.sha256(LINE * 1000).hexdigest())


async def test_a_file_lives_as_long_as_its_upload_said(openai):
    upload = await create(openai, 1, expires_after={"anchor": "created_at", "seconds": 7200})
    part = await add(openai, upload, b"x")

    completed = await openai.uploads.complete(upload.id, part_ids=[part])

    assert completed.file.expires_at == completed.file.created_at + 7200


async def test_a_part_has_at_most_64_mebibytes(openai, blobs):
    upload = await create(openai, 64 * MIB)
    content = bytes(64 * MIB)
    part = await add(openai, upload, content)

    with pytest.raises(BadRequestError) as refused:
        await add(openai, upload, content + b"x")

    assert refused.value.param == "data"
    assert len(blobs()) == 1
    assert (await openai.uploads.complete(upload.id, part_ids=[part])).file.bytes == 64 * MIB


async def test_the_md5_of_the_whole_is_checked(openai, blobs):
    upload = await create(openai, 6)
    parts = [await add(openai, upload, b"abc"), await add(openai, upload, b"def")]
    right = hashlib.md5(b"abcdef").hexdigest()

    for wrong in (hashlib.md5(b"defabc").hexdigest(), "x" * 32, "abc", ""):
        with pytest.raises(BadRequestError) as refused:
            await openai.uploads.complete(upload.id, part_ids=parts, md5=wrong)
        assert refused.value.param == "md5"
    assert len(blobs()) == 2, "both parts, and no file"

    completed = await openai.uploads.complete(upload.id, part_ids=parts, md5=right.upper())
    assert await content_of(openai, completed) == b"abcdef"


async def test_parts_that_cannot_be_the_announced_file_are_refused(openai, stranger, blobs):
    upload, other = await create(openai, 4), await create(openai, 2)
    foreign = await create(stranger, 2)
    one, two = await add(openai, upload, b"ab"), await add(openai, upload, b"cd")
    long = await add(openai, upload, b"cde")
    elsewhere = await add(openai, other, b"cd")
    theirs = await add(stranger, foreign, b"cd")
    bad = [[], [one], [one, long], [one, one], [one, two, two], [one, elsewhere], [one, theirs]]
    bad += [[one, "part_x"], [one, two, ""], [one, "é"]]
    stored = blobs()

    for part_ids in bad:
        with pytest.raises(BadRequestError) as refused:
            await openai.uploads.complete(upload.id, part_ids=part_ids)
        assert refused.value.param == "part_ids", part_ids

    assert blobs() == stored
    completed = await openai.uploads.complete(upload.id, part_ids=[two, one])
    assert await content_of(openai, completed) == b"cdab"


async def test_completing_again_in_the_same_words_gives_the_same_file(openai, blobs):
    upload = await create(openai, 2)
    one, two = await add(openai, upload, b"a"), await add(openai, upload, b"b")

    at_once = await asyncio.gather(
        *(openai.uploads.complete(upload.id, part_ids=[one, two]) for _ in range(4))
    )
    again = await openai.uploads.complete(upload.id, part_ids=[one, two])

    assert all(completed == again for completed in at_once)
    assert len(blobs()) == 1
    with pytest.raises(BadRequestError, match="it is completed"):
        await openai.uploads.complete(upload.id, part_ids=[two, one])


async def test_a_completed_upload_takes_no_more(openai):
    upload = await create(openai, 1)
    part = await add(openai, upload, b"x")
    completed = await openai.uploads.complete(upload.id, part_ids=[part])

    with pytest.raises(BadRequestError, match="it is completed"):
        await add(openai, upload, b"y")
    with pytest.raises(BadRequestError, match="it is completed"):
        await openai.uploads.cancel(upload.id)

    assert await content_of(openai, completed) == b"x"


async def test_a_cancelled_upload_takes_no_more_and_leaves_nothing(openai, blobs):
    upload = await create(openai, 1)
    part = await add(openai, upload, b"x")

    cancelled = await openai.uploads.cancel(upload.id)

    assert (cancelled.status, cancelled.file) == ("cancelled", None)
    assert await openai.uploads.cancel(upload.id) == cancelled
    with pytest.raises(BadRequestError, match="it is cancelled"):
        await add(openai, upload, b"x")
    with pytest.raises(BadRequestError, match="it is cancelled"):
        await openai.uploads.complete(upload.id, part_ids=[part])
    assert blobs() == []


async def test_an_upload_expires_after_an_hour(openai, server, blobs):
    upload = await create(openai, 1)
    part = await add(openai, upload, b"x")
    stored = blobs()

    server.clock.ahead = timedelta(seconds=HOUR)

    with pytest.raises(BadRequestError, match="it is expired"):
        await add(openai, upload, b"x")
    with pytest.raises(BadRequestError, match="it is expired"):
        await openai.uploads.complete(upload.id, part_ids=[part])
    with pytest.raises(BadRequestError, match="it is expired"):
        await openai.uploads.cancel(upload.id)
    assert blobs() == stored


async def test_another_tenants_upload_is_not_there(openai, stranger):
    upload = await create(openai, 1)
    part = await add(openai, upload, b"x")

    for attempt in (
        stranger.uploads.parts.create(upload.id, data=b"x"),
        stranger.uploads.complete(upload.id, part_ids=[part]),
        stranger.uploads.cancel(upload.id),
    ):
        with pytest.raises(NotFoundError, match=f"No such Upload object: {upload.id}") as refused:
            await attempt
        assert refused.value.param == "id"

    completed = await openai.uploads.complete(upload.id, part_ids=[part])
    with pytest.raises(NotFoundError):
        await stranger.files.retrieve(completed.file.id)


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"purpose": "fun"}, "purpose", "invalid_value"),
        ({"purpose": "batch_output"}, "purpose", "invalid_value"),
        ({"purpose": "batch", "filename": "in.txt"}, None, None),
        ({"purpose": "batch", "filename": "in.jsonl", "bytes": 200 * MIB + 1}, None, None),
        ({"bytes": 8 * 1024 * MIB + 1}, None, None),
        ({"bytes": 0}, "bytes", "integer_below_min_value"),
        ({"bytes": "12"}, "bytes", "invalid_type"),
        ({"bytes": 1e300}, "bytes", None),
        ({"bytes": 10**40}, None, None),
        ({"filename": "x" * 513}, "filename", "string_above_max_length"),
        ({"filename": ""}, "filename", "empty_string"),
        ({"filename": "a\0b"}, "filename", "invalid_value"),
        ({"filename": None}, "filename", "invalid_type"),
        ({"mime_type": 7}, "mime_type", "invalid_type"),
        ({"colour": "red"}, None, None),
        ({"expires_after": {"anchor": "created_at"}}, "expires_after.seconds", MISSING),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 3599}},
            "expires_after.seconds",
            "integer_below_min_value",
        ),
    ],
    ids=range(17),
)
async def test_an_upload_that_could_not_become_a_file_is_refused(http, changes, param, code):
    asked = {"bytes": 1, "filename": "in.bin", "mime_type": "text/plain", "purpose": "evals"}

    answer = await http.post("/v1/uploads", json=asked | changes)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param
    assert code is None or error["code"] == code


async def test_a_list_of_parts_that_is_too_long_is_called_one(http):
    answer = await http.post("/v1/uploads/upload_x/complete", json={"part_ids": ["a"] * 10_001})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "array_above_max_length")
    assert error["message"].endswith("but got an array with length 10001 instead.")


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data"])
async def test_all_purposes_of_files_are_taken(openai, purpose):
    upload = await create(openai, 8 * MIB, purpose=purpose, filename="x.jsonl")

    assert upload.purpose == purpose


async def test_the_largest_upload_has_8_gibibytes(openai):
    assert (await create(openai, 8 * 1024 * MIB)).bytes == 8 * 1024 * MIB


@pytest.mark.parametrize("missing", ["bytes", "filename", "mime_type", "purpose"])
async def test_what_is_missing_is_named(http, missing):
    asked = {"bytes": 1, "filename": "in.bin", "mime_type": "text/plain", "purpose": "evals"}
    del asked[missing]

    answer = await http.post("/v1/uploads", json=asked)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, missing, MISSING)


@pytest.mark.parametrize("content", [b"no json\n" + LINE, b"[1]\n", b"\n \n"])
async def test_lines_of_a_batch_file_are_not_judged_when_it_is_completed(openai, content):
    upload = await create(openai, len(content), purpose="batch", filename="in.jsonl")
    part = await add(openai, upload, content)

    completed = await openai.uploads.complete(upload.id, part_ids=[part])

    assert completed.file.bytes == len(content)


async def test_a_batch_file_must_be_text_when_it_is_completed(openai, blobs):
    upload = await create(openai, 4, purpose="batch", filename="in.jsonl")
    part = await add(openai, upload, b"\xff\xfe{}")

    with pytest.raises(BadRequestError, match="Must be utf-8 encoded"):
        await openai.uploads.complete(upload.id, part_ids=[part])

    assert len(blobs()) == 1, "the part, and no file"


async def test_parts_are_not_stored_without_end(openai, blobs):
    upload = await create(openai, 1)
    content = bytes(60 * MIB)
    await add(openai, upload, content)

    with pytest.raises(BadRequestError, match="more parts, or larger ones"):
        await add(openai, upload, content)

    assert len(blobs()) == 1


FORM = {"content-type": "multipart/form-data; boundary=frontier"}
DATA = b'--frontier\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\nx\r\n'
OTHER = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n'
END = b"--frontier--\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b""),
        (FORM, END),
        (FORM, b"junk"),
        (FORM, DATA),
        (FORM, DATA[:-10]),
        (FORM, OTHER + END),
        (FORM, DATA + OTHER + END),
        (FORM, DATA + DATA + END),
        ({"content-type": "application/json"}, b'{"data":"x"}'),
        ({"content-type": "multipart/form-data"}, DATA + END),
        ({}, DATA + END),
    ],
    ids=range(11),
)
async def test_a_part_whose_form_makes_no_sense_is_refused_and_leaves_nothing(
    openai, http, blobs, headers, body
):
    upload = await create(openai, 1)

    answer = await http.post(f"/v1/uploads/{upload.id}/parts", headers=headers, content=body)

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert blobs() == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", "body"),
        (b"{}", "part_ids"),
        (b'{"part_ids":"part_x"}', "part_ids"),
        (b'{"part_ids":[7]}', "part_ids.0"),
        (b'{"part_ids":null}', "part_ids"),
        (b'{"part_ids":["\\u0000"]}', "part_ids.0"),
        (b'{"part_ids":[],"md5":7}', "md5"),
        (b'{"part_ids":[],"md6":"x"}', None),
    ],
    ids=range(10),
)
async def test_a_completion_that_makes_no_sense_is_refused(openai, http, body, param):
    upload = await create(openai, 1)

    answer = await http.post(f"/v1/uploads/{upload.id}/complete", content=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert (await openai.uploads.cancel(upload.id)).status == "cancelled"


@pytest.mark.parametrize("given", ["upload_unknown", "%00", "%C3%A9", "x" * 500])
async def test_an_unknown_upload_is_not_there(http, given):
    for action, body in (("parts", DATA + END), ("complete", b'{"part_ids":[]}'), ("cancel", b"")):
        answer = await http.post(f"/v1/uploads/{given}/{action}", headers=FORM, content=body)

        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "id")


async def test_cancelling_needs_no_body_though_json_is_announced(openai, http):
    upload = await create(openai, 1)

    answer = await http.post(
        f"/v1/uploads/{upload.id}/cancel", headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


async def test_the_largest_upload_is_a_setting(serve_api, tenant):
    with serve_api(ApiSettings(max_upload_bytes=10)) as server:
        async with http_client(server, tenant) as http:
            asked = {"filename": "x", "mime_type": "", "purpose": "vision"}
            taken = await http.post("/v1/uploads", json={**asked, "bytes": 10})
            refused = await http.post("/v1/uploads", json={**asked, "bytes": 11})

    assert taken.status_code == 200
    assert refused.json()["error"]["message"] == "File is too large."
