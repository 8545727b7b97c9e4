"""Forms as clients other than OpenAI's send them, whole and broken."""

import asyncio
import json
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.api import eventually, headers_of, http_client

from batch_gateway.settings import ApiSettings

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
FORM = {"content-type": "multipart/form-data; boundary=frontier"}


def field(name: str, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return b'--frontier\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
        name.encode(),
        value,
    )


def file(content: bytes = LINE, name: str = "in.jsonl") -> bytes:
    return (
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n" % (name.encode(), content)
    )


END = b"--frontier--\r\n"
PURPOSE = field("purpose", "batch")


async def post(http: httpx.AsyncClient, *parts: bytes, headers=FORM) -> httpx.Response:
    return await http.post("/v1/files", headers=headers, content=b"".join(parts))


def refusal(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return answer.status_code, error["param"], error["code"]


async def test_the_file_may_come_before_its_purpose(http):
    answer = await post(http, file(), PURPOSE, END)

    assert answer.status_code == 200
    content = await http.get(f"/v1/files/{answer.json()['id']}/content")
    assert content.content == LINE


async def test_a_file_that_its_later_purpose_forbids_leaves_nothing(http, server):
    before = server.blobs()

    answer = await post(http, file(name="in.txt"), PURPOSE, END)

    assert answer.json()["error"]["message"].startswith("Invalid file format")
    assert server.blobs() == before


WORD = b"=?utf-8?B?ZG9ubsOpZXMuanNvbmw=?="  # what .NET makes of such a name


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (
            b"name=file; filename=\"%s\"; filename*=utf-8''donn%%C3%%A9es.jsonl" % WORD,
            "données.jsonl",
        ),
        (b"name=\"file\"; filename*=UTF-8''donn%C3%A9es.jsonl", "données.jsonl"),
        (b"name=\"file\"; filename*=utf-8'fr'donn%C3%A9es.jsonl; filename=a.txt", "données.jsonl"),
        (b"name=\"file\"; filename*=ISO-8859-1''donn%E9es.jsonl", "données.jsonl"),
        (b"name=\"file\"; filename*=koi8-r''a.jsonl; filename=b.jsonl", "b.jsonl"),
        (b"name=\"file\"; filename*=UTF-8''%FF.jsonl; filename=b.jsonl", "b.jsonl"),
        (b'name="file"; filename="%s"' % WORD, "données.jsonl"),
        (b'name="file"; filename="=?utf-8?Q?donn=C3=A9es?= =?utf-8?Q?=2Ejsonl?="', "données.jsonl"),
        (b'NAME="file"; FileName="in.jsonl"', "in.jsonl"),
        (b"name=file;filename=in.jsonl", "in.jsonl"),
        (b' name = file ; filename = "in.jsonl" ; size=3', "in.jsonl"),
        (b'filename="a;name=purpose.jsonl"; name=file', "a;name=purpose.jsonl"),
        (b'name=file; filename="a\\"b\\\\c.jsonl"', "c.jsonl"),
        (b"name=file; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd.jsonl", "passwd.jsonl"),
        (b"name=file; filename*=UTF-8''in%0D%0AX-Evil:%201.jsonl", "inX-Evil: 1.jsonl"),
    ],
    ids=range(15),
)
async def test_a_file_name_comes_in_every_spelling_that_clients_use(http, parameters, name):
    part = b"--frontier\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (parameters, LINE)

    answer = await post(http, PURPOSE, part, END)

    assert (answer.status_code, answer.json().get("filename")) == (200, name)


@pytest.mark.parametrize(
    "fields",
    [
        [field("expires_after[seconds]", "3600"), field("expires_after[anchor]", "created_at")],
        [field("expires_after", '{"anchor":"created_at","seconds":3600}')],
    ],
    ids=["bracketed", "json"],
)
@pytest.mark.parametrize("first", [True, False], ids=["before the file", "after the file"])
async def test_a_lifetime_comes_in_two_spellings_and_anywhere(http, fields, first):
    parts = [*fields, file()] if first else [file(), *fields]

    answer = await post(http, *parts, PURPOSE, END)

    made = answer.json()
    assert made["expires_at"] == made["created_at"] + 3600


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ([PURPOSE], "file", "missing_required_parameter"),
        ([file()], "purpose", "missing_required_parameter"),
        ([], "file", "missing_required_parameter"),
        ([PURPOSE, field("file", LINE)], "file", "invalid_type"),
        ([PURPOSE, file(), file()], "file", None),
        ([PURPOSE, PURPOSE, file()], "purpose", None),
        ([PURPOSE, file(), field("colour", "red")], None, None),
        ([PURPOSE, file(), field("", "red")], None, None),
        ([field("purpose", b"\xff"), file()], "purpose", None),
        ([field("purpose", "b" * 100_000), file()], "purpose", None),
        ([PURPOSE, file(name="x" * 600 + ".jsonl")], "file", None),
        (
            [PURPOSE, file(), field("expires_after[seconds]", "3600")],
            "expires_after.anchor",
            "missing_required_parameter",
        ),
        (
            [PURPOSE, file(), field("expires_after[anchor]", "created_at")],
            "expires_after.seconds",
            "missing_required_parameter",
        ),
        (
            [
                PURPOSE,
                file(),
                field("expires_after[anchor]", "yesterday"),
                field("expires_after[seconds]", "3600"),
            ],
            "expires_after.anchor",
            "invalid_value",
        ),
        (
            [
                PURPOSE,
                file(),
                field("expires_after[anchor]", "created_at"),
                field("expires_after[seconds]", "soon"),
            ],
            "expires_after.seconds",
            "invalid_type",
        ),
        ([PURPOSE, file(), field("expires_after[minutes]", "5")], None, None),
        ([PURPOSE, file(), field("expires_after", "soon")], None, None),
        ([PURPOSE, file(), *[field(f"x{n}", "") for n in range(100)]], None, None),
    ],
    ids=range(18),
)
async def test_a_form_that_makes_no_sense_is_refused_and_leaves_nothing(
    http, server, metadata, tenant, parts, param, code
):
    before = server.blobs()

    answer = await post(http, *parts, END)

    assert refusal(answer) == (400, param, code)
    assert server.blobs() == before
    assert (await metadata.files.list(tenant, limit=1)).items == []


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"junk"],
        [b"\r\n\r\n"],
        [b"--other\r\n\r\n", END],
        [PURPOSE, file()],
        [PURPOSE, file()[:-20]],
        [PURPOSE, file(), b"--frontier"],
        [PURPOSE, b"--frontier\r\n\r\nno headers\r\n", END],
        [PURPOSE, b"--frontier\r\nContent-Disposition\r\n\r\n\r\n", END],
        [PURPOSE, b'--frontier\r\nContent-Disposition: form-data; filename="x"\r\n\r\n\r\n', END],
        [PURPOSE, b"--frontier\r\n" + b"X: y\r\n" * 1000 + b"\r\n\r\n", END],
        [PURPOSE, b"--frontier\r\nX: " + b"y" * 100_000 + b"\r\n\r\n\r\n", END],
    ],
    ids=range(12),
)
async def test_a_malformed_form_is_refused_and_leaves_nothing(http, server, parts):
    before = server.blobs()

    answer = await post(http, *parts)

    assert refusal(answer) == (400, None, None)
    assert server.blobs() == before


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=frontier",
        "multipart/form-data; boundary=" + "x" * 1000,
    ],
)
async def test_a_body_that_is_no_form_is_refused(http, content_type):
    headers = {} if content_type is None else {"content-type": content_type}

    answer = await post(http, PURPOSE, file(), END, headers=headers)

    assert refusal(answer) == (400, None, None)


async def test_bytes_after_the_form_are_ignored(http):
    answer = await post(http, PURPOSE, file(), END, b"junk" * 1000)

    assert answer.status_code == 200


async def test_a_form_in_tiny_chunks_is_the_same_form(http):
    content = b"".join([LINE, b"\r\n--frontie\r\n", b"\r", b"\n--frontier", b"x", LINE])
    whole = b"".join([PURPOSE, file(content), END])

    async def crumbs():
        for start in range(0, len(whole), 7):
            yield whole[start : start + 7]
            await asyncio.sleep(0)

    answer = await http.post("/v1/files", headers=FORM, content=crumbs())

    assert answer.status_code == 200
    stored = await http.get(f"/v1/files/{answer.json()['id']}/content")
    assert stored.content == content


@pytest.mark.parametrize("parts", [[PURPOSE], []], ids=["purpose first", "file first"])
async def test_a_file_that_is_too_large_is_refused_while_it_comes(serve_api, tenant, parts):
    large = file(LINE * 2000)
    rest = [] if parts else [PURPOSE]

    with serve_api(ApiSettings(max_file_bytes=100_000, max_other_file_bytes=100)) as server:
        async with http_client(server, tenant) as http:
            answer = await post(http, *parts, large, *rest, END)

        assert answer.status_code == 400
        assert answer.json()["error"] == {
            "message": "File is too large.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        assert server.blobs() == []


async def test_the_largest_file_of_a_purpose_is_judged_when_the_purpose_is_known(serve_api, tenant):
    with serve_api(ApiSettings(max_file_bytes=100_000, max_other_file_bytes=100)) as server:
        async with http_client(server, tenant) as http:
            refused = await post(http, file(b"x" * 101), field("purpose", "user_data"), END)
            taken = await post(http, file(LINE * 100), PURPOSE, END)

        assert refused.json()["error"]["message"] == "File is too large."
        assert taken.status_code == 200
        assert len([blob for blob in server.blobs() if "/files/files/" in blob]) == 1


async def connection(server, tenant, length: int, *parts: bytes):
    """An upload that has announced ``length`` bytes and sent ``parts``."""
    url = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    headers = {**headers_of(tenant), **FORM, "content-length": str(length), "host": "x"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST /v1/files HTTP/1.1\r\n{lines}\r\n".encode() + b"".join(parts))
    await writer.drain()
    return reader, writer


async def test_a_client_that_goes_away_leaves_nothing(server, tenant, metadata):
    before = server.blobs()
    _, writer = await connection(
        server, tenant, 10_000_000, PURPOSE, file(LINE * 50_000).removesuffix(b"\r\n")
    )
    await eventually(lambda: len(server.blobs()) > len(before))

    writer.close()

    await eventually(lambda: server.blobs() == before)
    assert (await metadata.files.list(tenant, limit=1)).items == []


async def test_a_client_that_goes_away_after_its_file_leaves_nothing(server, tenant, metadata):
    before = server.blobs()
    _, writer = await connection(server, tenant, 10_000_000, file(LINE * 50_000), b"--frontier\r\n")
    await eventually(
        lambda: any("/files/files/" in blob for blob in set(server.blobs()) - {*before})
    )

    writer.close()

    await eventually(lambda: server.blobs() == before)
    assert (await metadata.files.list(tenant, limit=1)).items == []


async def test_a_file_whose_row_cannot_be_written_leaves_no_blob(serve_api, tenant):
    with serve_api() as server:
        with closing(sqlite3.connect(server.folder / "metadata.db")) as database:
            database.execute(
                "CREATE TRIGGER full BEFORE INSERT ON files "
                "BEGIN SELECT RAISE(ABORT, 'no space left'); END"
            )
        async with http_client(server, tenant) as http:
            answer = await post(http, PURPOSE, file(), END)

        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "no space" not in answer.text
        assert server.blobs() == []


async def test_a_client_that_stops_sending_is_told_so_and_leaves_nothing(serve_api, tenant):
    with serve_api(idle_s=0.2) as server:
        reader, writer = await connection(server, tenant, 1_000_000, PURPOSE, file()[:-10])

        answer = await reader.read()

        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert server.blobs() == []
