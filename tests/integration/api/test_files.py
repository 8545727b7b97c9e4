import hashlib
from datetime import timedelta

import openai as sdk
import pytest
from fixtures.api import openai_client

from batch_gateway.settings import ApiSettings

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
DAY = 86_400


async def upload(openai, content=LINE, name="in.jsonl", purpose="batch", **options):
    return await openai.files.create(file=(name, content), purpose=purpose, **options)


async def test_an_upload_answers_the_whole_file_object(openai):
    file = await upload(openai, LINE * 3)

    assert file.id.startswith("file-")
    assert file.to_dict() == {
        "id": file.id,
        "object": "file",
        "bytes": 3 * len(LINE),
        "created_at": file.created_at,
        "expires_at": file.created_at + 30 * DAY,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }


async def test_a_file_is_found_again_as_it_was_uploaded(openai):
    file = await upload(openai)

    assert await openai.files.retrieve(file.id) == file


async def test_size_lines_and_hash_are_taken_on_the_way(openai, metadata, tenant):
    content = LINE * 40_000 + LINE.rstrip()

    file = await upload(openai, content)

    row = await metadata.files.get(tenant, file.id)
    assert (row.size, row.lines) == (len(content), 40_001)
    assert row.sha256 == hashlib.sha256(content).hexdigest()


async def test_lines_are_counted_for_batch_files_only(openai, metadata, tenant):
    file = await upload(openai, b"a\nb\n", "notes.txt", "user_data")

    row = await metadata.files.get(tenant, file.id)
    assert row.lines is None
    assert file.expires_at is None


@pytest.mark.parametrize("seconds", [3600, 2_592_000])
async def test_a_file_may_expire_when_its_owner_says(openai, seconds):
    file = await upload(openai, expires_after={"anchor": "created_at", "seconds": seconds})

    assert file.expires_at == file.created_at + seconds


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(3599, "integer_below_min_value"), (2_592_001, "integer_above_max_value")],
)
async def test_a_lifetime_has_bounds(openai, server, seconds, code):
    before = server.blobs()

    with pytest.raises(sdk.BadRequestError) as refused:
        await upload(openai, expires_after={"anchor": "created_at", "seconds": seconds})

    assert (refused.value.param, refused.value.code) == ("expires_after.seconds", code)
    assert server.blobs() == before


@pytest.mark.parametrize("purpose", ["assistants", "fine-tune", "vision", "user_data", "evals"])
async def test_other_purposes_take_any_content(openai, purpose):
    file = await upload(openai, b"\x00\xff", "image.png", purpose)

    assert (file.purpose, file.bytes) == (purpose, 2)


async def test_an_unknown_purpose_is_refused(openai):
    with pytest.raises(sdk.BadRequestError) as refused:
        await upload(openai, purpose="foo")

    assert refused.value.body == {
        "message": "Invalid value: 'foo'. Supported values are: 'assistants', 'batch', "
        "'fine-tune', 'vision', 'user_data', and 'evals'.",
        "type": "invalid_request_error",
        "param": "purpose",
        "code": "invalid_value",
    }


@pytest.mark.parametrize("name", ["in.txt", "in", "in.json"])
async def test_a_batch_file_must_be_jsonl_by_name(openai, server, name):
    before = server.blobs()

    with pytest.raises(sdk.BadRequestError) as refused:
        await upload(openai, LINE, name)

    assert refused.value.body == {
        "message": "Invalid file format for Batch API. Must be .jsonl",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert server.blobs() == before


@pytest.mark.parametrize(
    "content",
    [
        LINE.decode().encode("utf-16"),
        '{"custom_id":"données"}'.encode("latin-1"),
        b'\r\n{"a":"\xff"}\n' + LINE,
        b'{"a":"' + b"x" * 10_000 + b"\xff" * 100_000,
    ],
    ids=["utf-16", "latin-1", "second line", "cut"],
)
async def test_a_batch_file_must_begin_in_utf_8(openai, server, content):
    before = server.blobs()

    with pytest.raises(sdk.BadRequestError) as refused:
        await upload(openai, content)

    assert refused.value.body == {
        "message": "Invalid file for Batch API. Must be utf-8 encoded",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert server.blobs() == before


@pytest.mark.parametrize("odd", range(5))
async def test_a_character_across_the_end_of_what_is_judged_is_no_fault(openai, odd):
    content = b'{"a":"' + b"x" * odd + "€".encode() * 100_000 + b'"}\n'

    file = await upload(openai, content)

    assert file.bytes == len(content)


@pytest.mark.parametrize(
    "content",
    [
        LINE + b"{not json}\n",
        b"\xef\xbb\xbf" + LINE,
        b"\r\n" + LINE,
        LINE.rstrip(),
        b'{"custom_id":"' + b"x" * 2_000_000 + b'"}\n',
        b"",
        b"\n \r\n",
        b"garbage\n" + LINE,
        b"[1]\n",
        b"{} {}\n",
        b"[" * 100_000,
        LINE + b'{"a":"\xff"}\n',
    ],
    ids=range(12),
)
async def test_lines_are_validated_by_the_batch_and_not_at_upload(openai, content):
    file = await upload(openai, content)

    assert (await openai.files.content(file.id)).content == content


async def test_a_stream_without_a_name_is_taken(openai):
    file = await openai.files.create(file=LINE, purpose="batch")

    assert file.filename == "upload"


async def test_a_stream_without_a_name_is_refused_in_strict_mode(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            with pytest.raises(sdk.BadRequestError, match="Invalid file format"):
                await openai.files.create(file=LINE, purpose="batch")


async def test_a_download_is_the_upload_byte_for_byte(openai, http):
    content = bytes(range(256)) * 20_000
    file = await upload(openai, content, "blob.bin", "vision")

    answer = await http.get(
        f"/v1/files/{file.id}/content", headers={"accept": "application/binary"}
    )

    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"blob.bin\"; filename*=UTF-8''blob.bin"
    )


async def test_an_empty_file_can_be_downloaded(openai):
    file = await upload(openai, b"", "empty.txt", "vision")

    assert (await openai.files.content(file.id)).content == b""


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("grüße 1.jsonl", "grüße 1.jsonl"),
        ("../../etc/passwd.jsonl", "passwd.jsonl"),
        ("C:\\temp\\in.jsonl", "in.jsonl"),
        ('a"; x="y.jsonl', "a%22; x=%22y.jsonl"),  # the client escapes so
    ],
)
async def test_a_file_name_is_kept_without_folders_and_comes_back_safely(openai, http, given, kept):
    file = await upload(openai, name=given)

    answer = await http.get(f"/v1/files/{file.id}/content")

    assert file.filename == kept
    disposition = answer.headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.count('"') == 2


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, 73), ("bytes=-5", 68, 73), ("bytes=70-999", 70, 73)],
)
async def test_a_range_is_answered_with_just_that(openai, http, asked, first, end):
    file = await upload(openai)

    answer = await http.get(f"/v1/files/{file.id}/content", headers={"range": asked})

    assert answer.status_code == 206
    assert answer.content == LINE[first:end]
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(LINE)}"
    assert answer.headers["content-length"] == str(end - first)


@pytest.mark.parametrize("asked", ["lines=1-2", "bytes=1-2,4-5", "bytes=-", "bytes=5-2", "bytes"])
async def test_what_is_no_single_range_gets_everything(openai, http, asked):
    file = await upload(openai)

    answer = await http.get(f"/v1/files/{file.id}/content", headers={"range": asked})

    assert (answer.status_code, answer.content) == (200, LINE)


@pytest.mark.parametrize("asked", ["bytes=73-", "bytes=999-1000", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416(openai, http, asked):
    file = await upload(openai)

    answer = await http.get(f"/v1/files/{file.id}/content", headers={"range": asked})

    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(LINE)}")


async def test_a_range_of_another_version_gets_everything(openai, http):
    file = await upload(openai)
    headers = {"range": "bytes=0-9", "if-range": '"another"'}

    answer = await http.get(f"/v1/files/{file.id}/content", headers=headers)

    assert answer.status_code == 200


async def test_the_head_of_a_download_tells_its_size(openai, http):
    file = await upload(openai)

    answer = await http.head(f"/v1/files/{file.id}/content")

    assert (answer.content, answer.headers["content-length"]) == (b"", str(len(LINE)))


@pytest.mark.parametrize("purpose", ["assistants", "user_data"])
async def test_some_purposes_cannot_be_downloaded(openai, purpose):
    file = await upload(openai, purpose=purpose)

    with pytest.raises(sdk.BadRequestError) as refused:
        await openai.files.content(file.id)

    assert refused.value.body == {
        "message": f"Not allowed to download files of purpose: {purpose}",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_a_deleted_file_is_gone_with_its_bytes(openai, server):
    before = server.blobs()
    file = await upload(openai)

    deleted = await openai.files.delete(file.id)

    assert deleted.to_dict() == {"id": file.id, "object": "file", "deleted": True}
    assert server.blobs() == before
    with pytest.raises(sdk.NotFoundError):
        await openai.files.retrieve(file.id)


@pytest.mark.parametrize("unknown", ["file-abc123", "batch_1", "%00", "a%20b", "ä", "x" * 300])
@pytest.mark.parametrize(
    ("method", "suffix"), [("GET", ""), ("DELETE", ""), ("GET", "/content")], ids=str
)
async def test_an_unknown_file_is_404(http, unknown, method, suffix):
    answer = await http.request(method, f"/v1/files/{unknown}{suffix}")

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["message"].startswith("No such File object: ")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "id", None)


async def test_an_expired_file_is_not_there_any_more(openai, server):
    file = await upload(openai)

    server.clock.ahead = timedelta(days=31)

    with pytest.raises(sdk.NotFoundError):
        await openai.files.retrieve(file.id)
    with pytest.raises(sdk.NotFoundError):
        await openai.files.content(file.id)


async def test_a_row_without_its_bytes_is_404_and_no_broken_answer(
    openai, metadata, tenant, server
):
    file = await upload(openai)
    row = await metadata.files.get(tenant, file.id)
    (server.folder / "files" / row.key).unlink()

    with pytest.raises(sdk.NotFoundError):
        await openai.files.content(file.id)


async def test_files_are_listed_newest_first(openai):
    files = [await upload(openai, name=f"{n}.jsonl") for n in range(3)]

    page = await openai.files.list()

    assert [file.id for file in page.data] == [file.id for file in reversed(files)]
    assert page.has_more is False
    assert (page.first_id, page.last_id) == (files[2].id, files[0].id)


async def test_files_are_listed_oldest_first_when_asked(openai):
    files = [await upload(openai) for _ in range(3)]

    page = await openai.files.list(order="asc", limit=2)

    assert [file.id for file in page.data] == [file.id for file in files[:2]]
    assert page.has_more is True


async def test_paging_visits_every_file_once(openai):
    files = {(await upload(openai)).id for _ in range(7)}

    visited = [file.id async for file in openai.files.list(limit=2)]

    assert len(visited) == 7
    assert set(visited) == files


async def test_files_are_listed_by_purpose(openai):
    await upload(openai)
    note = await upload(openai, name="n.txt", purpose="user_data")

    page = await openai.files.list(purpose="user_data")

    assert [file.id for file in page.data] == [note.id]


@pytest.mark.parametrize("query", ["", "?purpose=none", "?purpose=%00", "?purpose=batch"])
async def test_an_empty_list_has_all_its_keys(http, query):
    answer = await http.get(f"/v1/files{query}")

    assert answer.json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=10001", "limit", "integer_above_max_value"),
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=-1", "limit", "integer_below_min_value"),
        ("limit=many", "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("limit=" + "9" * 5000, "limit", "invalid_type"),
        ("order=sideways", "order", "invalid_value"),
        ("after=file-unknown", "after", "invalid_value"),
        ("after=%00", "after", "invalid_value"),
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(http, query, param, code):
    answer = await http.get(f"/v1/files?{query}")

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


async def test_a_number_in_place_of_the_last_file_is_an_offset(http, openai):
    made = [(await upload(openai)).id for _ in range(3)][::-1]

    async def listed(**query):
        answer = await http.get("/v1/files", params=query)
        return [file["id"] for file in answer.json()["data"]]

    assert await listed(after="0") == made
    assert await listed(after="2") == made[2:]
    assert await listed(after="3") == []
    assert await listed(after="1", order="asc", limit=1) == [made[1]]
    for after in ("-1", "1.5", "2abc", ""):
        assert (await http.get("/v1/files", params={"after": after})).status_code == 400


async def test_a_number_is_no_cursor_in_strict_mode(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            with pytest.raises(sdk.BadRequestError, match="no such File object: 2"):
                await openai.files.list(after="2")
