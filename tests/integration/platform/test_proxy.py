"""What the activator does to requests and answers on their way: nothing, as far as it can."""

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from fixtures.toys import TOY, eventually

MIB = 1024 * 1024


class Raw:
    """A client connection on which a test says every byte itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, url: str) -> "Raw":
        host, _, port = url.removeprefix("http://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of an answer that tells its length."""
        head = await self.head()
        (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
        return head, await self._reader.readexactly(int(length))

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await self._reader.read()

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def running(toys):
    toys.service()
    async with toys.up() as running:
        yield running


@pytest.fixture
async def raw(running):
    connection = await Raw.to(running.platform.url)
    yield connection
    connection.close()


async def test_paths_pass_byte_by_byte(raw):
    await raw.say(b"GET /a%2Fb//c/../%7e?x=%20y+z&&= HTTP/1.0\r\n\r\n")

    told = json.loads((await raw.rest()).partition(b"\r\n\r\n")[2])

    assert told["target"] == "/a%2Fb//c/../%7e?x=%20y+z&&="


async def test_headers_pass_except_those_of_the_connection(raw):
    await raw.say(
        b"GET / HTTP/1.0\r\nHost: me.example:80\r\nX-Twice: 1\r\nX-Twice: \xe9\r\n"
        b"Connection: keep-alive, X-Private\r\nX-Private: no\r\nKeep-Alive: 5\r\nTE: gzip\r\n\r\n"
    )

    told = json.loads((await raw.rest()).partition(b"\r\n\r\n")[2])

    assert told["headers"] == [["host", "me.example:80"], ["x-twice", "1"], ["x-twice", "é"]]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_bodies_stream_both_ways_unchanged(running, chunked):
    body = os.urandom(3 * MIB + 17)

    async def pieces():
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    answer = await running.http.post("/echo", content=pieces() if chunked else body)

    assert answer.content == body
    assert answer.headers["transfer-encoding"] == "chunked"


async def test_an_echo_comes_back_before_the_body_has_ended(raw):
    await raw.say(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    await raw.say(b"3\r\nabc\r\n")

    head = await raw.head()
    await raw.say(b"0\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert await raw.rest() == b"3\r\nabc\r\n0\r\n\r\n"


async def test_a_download_keeps_its_length(running):
    answer = await running.http.get(f"/download?size={3 * MIB}&exact=1")

    assert answer.headers["content-length"] == str(3 * MIB)
    assert len(answer.content) == 3 * MIB


async def test_an_old_client_gets_a_body_without_chunks(raw):
    await raw.say(b"GET /download?size=70000 HTTP/1.0\r\n\r\n")

    head, _, body = (await raw.rest()).partition(b"\r\n\r\n")

    assert b"chunked" not in head
    assert body == b"x" * 70000


async def test_an_answer_without_length_ends_with_its_connection(toys):
    toys.service(program=TOY.with_name("blunt.py"))
    async with toys.up() as running:
        answers = [await running.http.get("/abc") for _ in range(2)]

        assert [answer.text for answer in answers] == ["/abc" * 1000] * 2
        assert answers[0].headers["transfer-encoding"] == "chunked"


async def test_head_has_no_body_and_the_connection_goes_on(raw):
    await raw.say(b"HEAD /download?size=5&exact=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await raw.head()
    await raw.say(b"GET /download?size=5&exact=1 HTTP/1.1\r\nHost: x\r\n\r\n")

    assert b"content-length: 5\r\n" in head
    assert (await raw.answer())[1] == b"xxxxx"


async def test_requests_follow_each_other_on_one_connection(raw):
    for size in (1, 20, 300):
        await raw.say(b"GET /download?exact=1&size=%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)

        assert (await raw.answer())[1] == b"x" * size


async def test_pipelined_requests_are_left_to_the_client_to_repeat(raw):
    one = b"GET /download?exact=1&size=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    await raw.say(one + one)

    answers = await raw.rest()

    assert answers.count(b"HTTP/1.1 200") == 1


async def test_a_client_that_asks_first_is_told_to_continue(raw):
    await raw.say(
        b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    go_on = await raw.head()
    await raw.say(b"abc")

    _, answer = await raw.answer()

    assert go_on.startswith(b"HTTP/1.1 100 ")
    assert json.loads(answer)["sha256"] == hashlib.sha256(b"abc").hexdigest()


async def test_a_client_that_asks_first_is_spared_a_refused_body(raw):
    await raw.say(
        b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )

    assert (await raw.rest()).startswith(b"HTTP/1.1 413 ")


async def test_a_refusal_reaches_a_client_that_is_still_sending(raw):
    size = 32 * MIB
    await raw.say(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(size // MIB):
        await raw.say(bytes(MIB))

    answer = await raw.rest()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"too large")


async def test_a_client_that_leaves_is_noticed_by_the_function(running, toys):
    raw = await Raw.to(running.platform.url)
    await raw.say(b"GET /sleep?s=20 HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: toys.slept("begin") == 1)

    raw.close()

    await eventually(lambda: toys.slept("client left") == 1)


async def test_an_answer_that_breaks_off_is_cut_not_ended(toys):
    toys.service(timeout=1)
    async with toys.up() as running:
        raw = await Raw.to(running.platform.url)
        await raw.say(b"GET /trickle HTTP/1.1\r\nHost: x\r\n\r\n")

        await raw.head()
        with suppress(ConnectionResetError):  # what has come is lost then, or it is all there is
            assert await raw.rest() == b"5\r\nbegun\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 501),
    ],
    ids=["nonsense", "two-lengths", "length-and-chunks", "large-head", "coding", "upgrade"],
)
async def test_what_cannot_be_passed_on_safely_is_refused(raw, request_, status):
    await raw.say(request_)

    assert (await raw.rest()).startswith(b"HTTP/1.1 %d " % status)


async def test_the_internal_port_knows_services_by_their_cluster_names_only(running):
    platform = running.platform
    hosts = [platform.host("toy"), f"{platform.host('toy')}:80", "toy", "localhost"]

    answers = [await running.http.get(platform.internal_url, headers={"Host": h}) for h in hosts]

    assert [answer.status_code for answer in answers] == [200, 200, 404, 404]


@asynccontextmanager
async def own_process(toys):
    """A platform whose memory is its own, and a connection to it."""
    toys.service()
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batch_gateway", "up", "--port", "0"),
        *("--manifests", str(toys.write()), "--data", str(toys.data)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        url = (await up.stdout.readline()).decode().split()[-1].removesuffix("/v1")
        raw = await Raw.to(url)
        yield up.pid, raw
        raw.close()
    finally:
        up.send_signal(signal.SIGTERM)
        assert await up.wait() == 0


async def test_a_large_upload_does_not_grow_the_platform(toys):
    size, piece, digest = 200 * MIB, os.urandom(MIB), hashlib.sha256()
    async with own_process(toys) as (pid, raw):
        before = peak_rss(pid)
        await raw.say(b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MIB):
            digest.update(piece)
            await raw.say(piece)

        _, answer = await raw.answer()

        assert json.loads(answer) == {"size": size, "sha256": digest.hexdigest()}
        assert peak_rss(pid) - before < 20 * MIB


async def test_a_client_that_reads_slowly_does_not_grow_the_platform(toys):
    size = 200 * MIB
    async with own_process(toys) as (pid, raw):
        before = peak_rss(pid)
        await raw.say(b"GET /download?exact=1&size=%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        await asyncio.sleep(1)  # not reading: whatever could pile up piles up

        _, body = await raw.answer()

        assert len(body) == size
        assert peak_rss(pid) - before < 20 * MIB


def peak_rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
