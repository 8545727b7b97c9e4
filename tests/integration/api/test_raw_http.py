"""Bytes that no HTTP client would send: answered with less than 500, or cut off; never a hang.

Hypothesis bends requests that were right: their heads, their lengths, their bodies. Each goes to
the real server over a socket of its own, and whatever comes back must be HTTP. A client that leaves
sees no answer, so what the server counts is looked at too.
"""

import json
import re
import socket
from contextlib import suppress

import httpx
import pytest
from fixtures.api import headers_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

#: How long the server may think about bytes that are complete, or that the client has ended.
PATIENCE_S = 45.0

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
CREATE = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + LINE + b"\r\n--b--\r\n"
)
JSON = b"application/json"
MULTIPART = b"multipart/form-data; boundary=b"

bounded = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def speak(server, tenant):
    """Sends bytes and gives all that is answered until the server closes the connection.

    ``leave``: says that no more will come, since the server may have to wait for more.
    """
    host, port = server.url.removeprefix("http://").split(":")
    who = b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in headers_of(tenant).items())

    def speak(head: bytes, body: bytes = b"", *, leave: bool = False) -> bytes:
        received = b""
        with (
            socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection,
            suppress(ConnectionResetError, BrokenPipeError),  # cut off in the midst of it
        ):
            connection.sendall(head.replace(b"WHO\r\n", who) + b"\r\n" + body)
            if leave:
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        return received

    return speak


@pytest.fixture(autouse=True)
async def _no_faults_are_counted(server):
    async def faults():
        async with httpx.AsyncClient(base_url=server.url) as http:
            counted = (await http.get("/metrics")).text
        name = "batch_gateway_http_requests_total"
        return re.findall(rf'^{name}{{.*status="5\d\d"}} .*$', counted, re.MULTILINE)

    before = await faults()
    yield
    assert await faults() == before


def head(method: bytes, target: bytes, *headers: bytes) -> bytes:
    first = method + b" " + target + b" HTTP/1.1"
    lines = [first, b"Host: gateway", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\nWHO\r\n"


def post(target: bytes, kind: bytes, body: bytes, *headers: bytes) -> tuple[bytes, bytes]:
    length = b"Content-Length: %d" % len(body)
    return head(b"POST", target, b"Content-Type: " + kind, length, *headers), body


def assert_sane(received: bytes) -> list[int]:
    """The statuses of the answers, none of which is a fault of the server."""
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]
    assert received == b"" or statuses, received[:200]
    assert [status for status in statuses if status >= 500] == [], received[:500]
    return statuses


@st.composite
def bent(draw, whole: bytes) -> bytes:
    """``whole`` with a piece cut out, put in, or put in place of another."""
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + 40)))
    return whole[:start] + draw(st.binary(max_size=40)) + whole[end:]


def test_any_bytes_are_no_reason_to_fall(speak):
    @given(st.binary(max_size=300))
    @bounded
    def fuzz(garbage):
        assert_sane(speak(garbage, leave=True))

    fuzz()


@pytest.mark.parametrize(
    ("target", "kind", "whole"),
    [
        (b"/v1/batches", JSON, json.dumps(CREATE).encode()),
        (b"/v1/files", MULTIPART, FORM),
        (b"/v1/uploads", JSON, b'{"bytes":1,"filename":"a","mime_type":"","purpose":"evals"}'),
        (b"/v1/uploads/upload_1/complete", JSON, b'{"part_ids":["part_1"],"md5":null}'),
        (b"/v1/uploads/upload_1/parts", MULTIPART, FORM.replace(b"file", b"data")),
        (b"/v1/batches/batch_1/update", JSON, b'{"priority":1,"completion_window":"1h"}'),
    ],
    ids=["batches", "files", "uploads", "complete", "parts", "update"],
)
def test_a_bent_body_is_the_clients_fault(speak, target, kind, whole):
    @given(bent(whole))
    @bounded
    def fuzz(body):
        statuses = assert_sane(speak(*post(target, kind, body)))
        assert len(statuses) == 1

    fuzz()


def test_a_bent_head_is_the_clients_fault(speak):
    whole = head(b"GET", b"/v1/batches?limit=2&after=x", b"Range: bytes=0-1", b"If-Range: x")

    @given(bent(whole))
    @bounded
    def fuzz(bytes_):
        assert_sane(speak(bytes_, leave=True))

    fuzz()


def test_a_target_of_any_bytes_is_the_clients_fault(speak):
    odd = st.binary(max_size=60).map(lambda raw: re.sub(rb"[\x00-\x20\x7f]", b"%", raw))

    @given(odd, st.sampled_from([b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"BREW"]))
    @bounded
    def fuzz(rest, method):
        for target in (b"/v1/batches/", b"/v1/files?", b"/v1/models/"):
            assert_sane(speak(head(method, target + rest, b"Content-Length: 0")))

    fuzz()


@pytest.mark.parametrize(
    "range_",
    [
        b"bytes=0-99999999999999999999999999",
        b"bytes=-99999999999999999999999999",
        b"bytes=99999999999999999-",
        b"bytes=5-1",
        b"bytes=--1",
        b"bytes=0-0,1-1,2-2",
        b"bytes=" + b"0-0," * 2000,
        b"lines=1-2",
        b"bytes=\xff-\xfe",
        b"\x00",
    ],
    ids=range(10),
)
async def test_an_absurd_range_is_no_fault_of_the_server(speak, http, range_):
    file = (
        await http.post("/v1/files", files={"file": ("a.jsonl", LINE)}, data={"purpose": "batch"})
    ).json()["id"]

    target = f"/v1/files/{file}/content".encode()
    statuses = assert_sane(speak(head(b"GET", target, b"Range: " + range_)))

    assert set(statuses) <= {200, 206, 400, 416}


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ([b"Content-Length: 10"], b'{"a":1}'),
        ([b"Content-Length: 3"], b'{"a":1}'),
        ([b"Content-Length: -1"], b"{}"),
        ([b"Content-Length: x"], b"{}"),
        ([b"Content-Length: 99999999999999999999999999"], b"{}"),
        ([b"Content-Length: 2", b"Content-Length: 3"], b"{} "),
        ([b"Content-Length: 2", b"Transfer-Encoding: chunked"], b"2\r\n{}\r\n0\r\n\r\n"),
        ([b"Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"),
        ([b"Transfer-Encoding: chunked"], b"2\r\n{}\r\n"),
        ([b"Transfer-Encoding: gzip"], b"{}"),
        ([], b"{}"),
    ],
    ids=range(11),
)
def test_a_wrong_length_is_no_fault_of_the_server(speak, framing, body):
    right = head(b"POST", b"/v1/batches", b"Content-Type: " + JSON, *framing)

    assert_sane(speak(right, body, leave=True))


@pytest.mark.parametrize("length", [0, 1, 40, len(FORM) - 10, len(FORM) - 3])
def test_a_form_that_is_cut_short_is_refused(speak, length):
    assert assert_sane(speak(*post(b"/v1/files", MULTIPART, FORM[:length]))) == [400]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"metadata":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"requests":[' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"]}",
        b'{"metadata":{"a":"\xff\xfe"}}',
        b'{"metadata":{"a":"\\ud800"}}',
        b'{"priority":' + b"9" * 5000 + b"}",
        b'{"max_error_rate":1e999999}',
        b'{"metadata":null,"metadata":{}}',
        b"\xef\xbb\xbf{}",
        b'"' + b"x" * 1_000_000 + b'"',
    ],
    ids=range(11),
)
def test_json_that_is_deep_long_or_no_unicode_is_refused(speak, body):
    assert assert_sane(speak(*post(b"/v1/batches", JSON, body))) == [400]


@pytest.mark.parametrize(
    "header",
    [
        b"X-Long: " + b"x" * 70_000,
        b"X-Long: " + b"x" * 1_000_000,
        b"\r\n".join(b"X-%d: y" % n for n in range(5000)),
        b"Authorization: Bearer " + b"x" * 60_000,
        b"Idempotency-Key: " + b"x" * 10_000,
        b"traceparent: " + b"0" * 10_000,
        b"X-Request-Id: \x00\x01",
        b"Expect: 200-maybe",
        b"Content-Type: multipart/form-data; boundary=" + b"-" * 60_000,
        b"Connection: upgrade\r\nUpgrade: websocket",
    ],
    ids=range(10),
)
def test_a_huge_or_odd_header_is_no_fault_of_the_server(speak, header):
    assert_sane(speak(head(b"POST", b"/v1/files", header, b"Content-Length: 0"), leave=True))
