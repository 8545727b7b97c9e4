"""The model client against the simulator, and against servers that break on purpose."""

import asyncio
import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from time import process_time

import pytest
from fixtures.simulator import until

from batch_gateway.adapters import answer_budget, http_connections, model_http
from batch_gateway.adapters.answer_budget import AnswerBudget
from batch_gateway.adapters.model_http import HttpModelClient
from batch_gateway.ports.model_client import CallFailed, CallRefused, CallTimeout, ModelClient

PATH = "/v1/chat/completions"
BODY = b'{"model": "sim-large", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}'
LONG = timedelta(seconds=30)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def client() -> AsyncIterator[ModelClient]:
    client = HttpModelClient()
    yield client
    await client.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One whole request with a content-length."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return head + await reader.readexactly(size)


def answer(body: bytes = b"{}", head: bytes = b"", *, size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (length, head, body)


@pytest.fixture
async def listen() -> AsyncIterator[Callable[[Serve], Awaitable[str]]]:
    """Start servers that treat each connection as told; gives the URL of the endpoint."""
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def listening(serve: Serve) -> AsyncIterator[str]:
            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await serve(reader, writer)
                except (asyncio.IncompleteReadError, ConnectionError):
                    pass  # the client has gone: these servers do not mind
                finally:
                    writer.close()

            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            try:
                yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
            finally:
                server.close()
                await server.wait_closed()

        yield lambda serve: stack.enter_async_context(listening(serve))


async def test_an_answer_has_status_body_and_request_id(client, start_simulator):
    here = await start_simulator()

    answer = await client.call(here.url + PATH, BODY, {"x-request-id": "mine"}, LONG)

    assert answer.status == 200
    assert json.loads(answer.body)["usage"]["completion_tokens"] == 4
    assert answer.request_id == f"req_{here.simulator.journal.since(0)[0].digest[:24]}"
    assert answer.retry_after is None


async def test_the_body_and_the_headers_arrive_as_given_and_no_cookie_goes_back(client, listen):
    seen: list[bytes] = []

    async def serve(reader, writer):
        seen.append(await read_request(reader))
        writer.write(answer(head=b"set-cookie: a=b\r\n"))
        seen.append(await read_request(reader))
        writer.write(answer())

    url = await listen(serve)
    body = b'{"big": 12345678901234567890, "model":"m"}'
    for _ in range(2):
        await client.call(url, body, {"authorization": "Bearer x", "x-a": "1"}, LONG)

    head, _, sent = seen[0].partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert sent == body
    assert (headers[b"authorization"], headers[b"x-a"]) == (b"bearer x", b"1")
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"user-agent"] == b"batch-gateway"
    assert b"cookie" not in seen[1].lower()


@pytest.mark.parametrize("kind", ["429", "503"])
async def test_a_refusal_is_an_answer_with_its_pause(client, start_simulator, kind):
    here = await start_simulator(fault_rate=1, fault_kinds=[kind], retry_after_s=7)

    refused = await client.call(here.url + PATH, BODY, {}, LONG)

    assert refused.status == int(kind)
    assert refused.retry_after == timedelta(seconds=7)


async def test_a_malformed_answer_is_handed_on_as_it_is(client, start_simulator):
    here = await start_simulator(fault_rate=1, fault_kinds=["malformed"])

    broken = await client.call(here.url + PATH, BODY, {}, LONG)

    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.body)


@pytest.mark.parametrize("kind", ["disconnect", "cut"])
async def test_a_broken_connection_is_a_failed_call(client, start_simulator, kind):
    here = await start_simulator(fault_rate=1, fault_kinds=[kind])

    with pytest.raises(CallFailed) as failure:
        await client.call(here.url + PATH, BODY, {}, LONG)

    assert not isinstance(failure.value, CallTimeout | CallRefused)
    assert here.simulator.stats()["requests"] == 1  # a fresh connection: not sent again


async def test_no_listener_is_a_refused_call(client, unused_port):
    with pytest.raises(CallRefused):
        await client.call(f"http://127.0.0.1:{unused_port}{PATH}", BODY, {}, LONG)


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_what_is_not_http_is_a_failed_call(client, listen):
    async def serve(reader, writer):
        await read_request(reader)
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    url = await listen(serve)

    with pytest.raises(CallFailed):
        await client.call(url, BODY, {}, LONG)


async def test_a_silent_endpoint_is_a_time_out_that_frees_the_engine(client, start_simulator):
    here = await start_simulator(ttft_ms=60_000, slots=1)

    with pytest.raises(CallTimeout):
        await client.call(here.url + PATH, BODY, {}, timedelta(milliseconds=100))

    await until(lambda: here.simulator.stats()["aborted"] == 1)
    assert here.simulator.stats()["running"] == 0


async def test_an_answer_that_stalls_in_its_body_is_a_time_out(client, listen):
    stalled = asyncio.Event()

    async def serve(reader, writer):
        await read_request(reader)
        writer.write(answer(b"{", size=10))
        await stalled.wait()

    url = await listen(serve)

    with pytest.raises(CallTimeout):
        await client.call(url, BODY, {}, timedelta(milliseconds=100))
    stalled.set()


@pytest.mark.parametrize("timeout", [timedelta(), timedelta(seconds=-1)])
async def test_without_time_no_call_is_made(client, start_simulator, timeout):
    here = await start_simulator()

    with pytest.raises(CallTimeout):
        await client.call(here.url + PATH, BODY, {}, timeout)

    assert here.simulator.stats()["requests"] == 0


async def test_cancelling_closes_the_connection_so_that_the_engine_stops(client, start_simulator):
    here = await start_simulator(ttft_ms=60_000, slots=1)
    call = asyncio.create_task(client.call(here.url + PATH, BODY, {}, LONG))
    await until(lambda: here.simulator.stats()["running"] == 1)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    await until(lambda: here.simulator.stats()["running"] == 0)
    assert here.simulator.journal.since(0)[0].aborted


async def test_closing_the_client_stops_running_calls(start_simulator):
    here = await start_simulator(ttft_ms=60_000)
    client = HttpModelClient()
    call = asyncio.create_task(client.call(here.url + PATH, BODY, {}, LONG))
    await until(lambda: here.simulator.stats()["running"] == 1)

    await client.close()

    with pytest.raises(CallFailed):
        await call


async def test_calls_share_kept_alive_connections(client, listen):
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(answer())

    url = await listen(serve)
    for _ in range(20):
        await client.call(url, BODY, {}, LONG)

    assert connections == 1


async def test_a_thousand_calls_run_at_once(client, start_simulator):
    here = await start_simulator(ttft_ms=60_000, slots=1000)

    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(client.call(here.url + PATH, BODY, {}, LONG)) for _ in range(1000)
        ]
        await until(lambda: here.simulator.stats()["running"] == 1000)
        here.simulator.configure(ttft_ms=0)
        for call in calls:
            call.cancel()

    assert here.simulator.stats()["max_in_flight"] == 1000


def leaves_after_one(seen: list[bytes]) -> Serve:
    """A server that answers one request per connection and closes when the next one comes."""

    async def serve(reader, writer):
        seen.append(await read_request(reader))
        writer.write(answer(b'{"n": %d}' % len(seen)))
        await read_request(reader)  # the close meets a request on its way

    return serve


async def test_a_stale_connection_costs_one_more_attempt_and_nobody_sees_it(client, listen):
    seen: list[bytes] = []
    url = await listen(leaves_after_one(seen))

    bodies = [(await client.call(url, BODY, {}, LONG)).body for _ in range(4)]

    assert bodies == [b'{"n": 1}', b'{"n": 2}', b'{"n": 3}', b'{"n": 4}']


async def test_a_connection_that_breaks_late_is_not_stale(client, listen, monkeypatch):
    monkeypatch.setattr(model_http, "STALE_WITHIN_S", -1.0)
    url = await listen(leaves_after_one([]))
    await client.call(url, BODY, {}, LONG)

    with pytest.raises(CallFailed):
        await client.call(url, BODY, {}, LONG)


@pytest.mark.parametrize("declared", [True, False], ids=["with length", "chunked"])
async def test_a_too_long_answer_fails_the_call_and_closes_the_connection(listen, declared):
    closed = asyncio.Event()

    async def serve(reader, writer):
        await read_request(reader)
        if declared:
            writer.write(answer(b"x" * 5000, size=10**9))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"1388\r\n%b\r\n" % (b"x" * 5000))
        await writer.drain()
        await reader.read()
        closed.set()

    url = await listen(serve)
    client = HttpModelClient(max_answer_bytes=1000)

    with pytest.raises(CallFailed, match="longer than 1000 bytes"):
        await client.call(url, BODY, {}, LONG)

    await asyncio.wait_for(closed.wait(), 10)
    await client.close()


async def test_a_compressed_answer_is_unpacked_and_bounded_unpacked(client, listen):
    packed = gzip.compress(b"x" * 1_000_000, mtime=0)

    async def serve(reader, writer):
        while True:
            await read_request(reader)
            writer.write(answer(packed, b"content-encoding: gzip\r\n"))

    url = await listen(serve)
    small = HttpModelClient(max_answer_bytes=500_000)

    whole = await client.call(url, BODY, {}, LONG)
    with pytest.raises(CallFailed, match="longer"):
        await small.call(url, BODY, {}, LONG)

    assert whole.body == b"x" * 1_000_000
    await small.close()


async def test_many_compressed_parts_take_time_in_proportion(client, listen):
    """Each is small, and what follows it is long."""
    packed = gzip.compress(b"x", mtime=0) * 4000 + gzip.compress(bytes(30_000_000), 0, mtime=0)

    async def serve(reader, writer):
        await read_request(reader)
        writer.write(answer(packed, b"content-encoding: gzip\r\n"))

    began = process_time()
    found = await client.call(await listen(serve), BODY, {}, LONG)

    assert len(found.body) == 30_004_000
    assert process_time() - began < 10  # copying the rest for each part takes many times that


async def test_a_redirect_is_an_answer_and_is_not_followed(client, listen):
    async def serve(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")

    url = await listen(serve)

    assert (await client.call(url, BODY, {}, LONG)).status == 307


async def test_an_answer_to_no_request_never_answers_the_next_one(listen, client):
    put_away = asyncio.Event()
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        while True:
            body = (await read_request(reader)).partition(b"\r\n\r\n")[2]
            writer.write(answer(body))
            if not put_away.is_set():
                await put_away.wait()
                writer.write(answer(b'{"of": "no request"}'))

    url = await listen(serve)
    first = await client.call(url + PATH, b'{"n": 1}', {}, LONG)
    await until(lambda: client.idle_connections == 1)
    put_away.set()
    await until(lambda: client.idle_connections == 0)  # what came unasked has arrived
    second = await client.call(url + PATH, b'{"n": 2}', {}, LONG)

    assert (first.body, second.body, connections) == (b'{"n": 1}', b'{"n": 2}', 2)


def sends(wire: bytes, *, close: bool = False) -> Serve:
    """A server that answers every request with ``wire``."""

    async def serve(reader, writer):
        while True:
            await read_request(reader)
            writer.write(wire)
            if close:
                return

    return serve


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "close"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", False),
        (CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", False),
        (CHUNKED + b"2\r\n{}\r\n0\r\nx-after: 1\r\nx-request-id: no\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nx: y\r\n\r\n" + answer(), False),
        (answer(zlib.compress(b"{}"), b"content-encoding: deflate\r\n"), False),
        (answer(zlib.compress(b"{}")[2:-4], b"content-encoding: deflate\r\n"), False),
        (
            answer(
                gzip.compress(b"{", mtime=0) + gzip.compress(b"}", mtime=0),
                b"content-encoding: GZip\r\n",
            ),
            False,
        ),
        (answer(b"{}", b"content-encoding: identity\r\n"), False),
    ],
    ids=[
        *("until closed", "1.0", "bare line ends", "chunks", "trailer", "interim"),
        *("deflate", "bare deflate", "gzip members", "identity"),
    ],
)
async def test_answers_are_read_however_they_are_framed(client, listen, wire, close):
    url = await listen(sends(wire, close=close))

    for _ in range(3):
        found = await client.call(url, BODY, {}, LONG)
        assert (found.status, found.body, found.request_id) == (200, b"{}", None)


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{",
        CHUNKED + b"2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        answer(b"{}", b"content-encoding: br\r\n"),
        answer(gzip.compress(b"{}", mtime=0)[:-6], b"content-encoding: gzip\r\n"),
        answer(b"no gzip", b"content-encoding: gzip\r\n"),
    ],
)
async def test_an_answer_that_breaks_is_a_failed_call_and_not_made_again(client, listen, wire):
    arrived = 0

    async def serve(reader, writer):
        nonlocal arrived
        await read_request(reader)
        arrived += 1
        writer.write(wire)

    url = await listen(serve)

    with pytest.raises(CallFailed) as failure:
        await client.call(url, BODY, {}, LONG)

    assert not isinstance(failure.value, CallTimeout | CallRefused)
    assert arrived == 1


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 1000),
        (b"", b"HTTP/1.1 100 Wait\r\n\r\n" * 100),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x-more: 1\r\n" * 100),
        (CHUNKED + b"2;", b"x" * 1000),
        (CHUNKED, b"1;%b\r\n \r\n" % (b"x" * 400)),
    ],
    ids=["headers", "a header", "interim", "trailer", "chunk extension", "extensions"],
)
async def test_an_answer_without_end_fails_before_it_fills_the_memory(listen, head, endless):
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(endless)
            await writer.drain()
            sent += len(endless)

    url = await listen(serve)
    client = HttpModelClient(max_answer_bytes=10_000)

    with pytest.raises(CallFailed, match="bytes around its body"):
        await client.call(url, BODY, {}, LONG)

    assert sent < 20_000_000  # what the kernel's buffers take
    await client.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "b\r\nx-b: c"},
        {"x-a": "b\nx-b: c"},
        {"x-a": "b\0"},
        {"x-a": "\ud800"},
        {"x a": "b"},
        {"x-a\r\nx-b": "c"},
        {"Content-Length": "0"},
        {"transfer-encoding": "chunked"},
    ],
)
async def test_a_header_is_never_more_than_a_header(client, start_simulator, headers):
    here = await start_simulator()

    with pytest.raises(CallFailed):
        await client.call(here.url + PATH, BODY, headers, LONG)

    assert here.simulator.stats()["requests"] == 0


async def test_a_url_is_sent_as_browsers_send_it(client, listen):
    seen: list[bytes] = []

    async def serve(reader, writer):
        while True:
            seen.append(await read_request(reader))
            writer.write(answer())

    port = (await listen(serve)).rpartition(":")[2].partition("/")[0]
    await client.call(
        f"http://us%40er:p%3Aw@localhost:{port}/a b/\xfc?q=\xe4%20&x#f", BODY, {}, LONG
    )
    await client.call(f"http://localhost:{port}", BODY, {"Accept": "a/b", "X-N": "\xe4"}, LONG)

    first, second = (request.partition(b"\r\n\r\n")[0].split(b"\r\n") for request in seen)
    assert first[0] == b"POST /a%20b/%C3%BC?q=%C3%A4%20&x HTTP/1.1"
    assert f"host: localhost:{port}".encode() in first
    assert b"authorization: Basic dXNAZXI6cDp3" in first
    assert second[0] == b"POST / HTTP/1.1"
    assert b"accept: a/b" in second
    assert b"x-n: \xc3\xa4" in second


async def test_of_several_stale_connections_none_costs_a_call(client, listen):
    """The call is made once more on a fresh connection, not on the next stale one."""
    together = asyncio.Barrier(3)
    seen = 0

    async def serve(reader, writer):
        nonlocal seen
        await read_request(reader)
        seen += 1
        if seen <= 3:
            await together.wait()
        writer.write(answer())
        await read_request(reader)  # the close meets a request on its way

    url = await listen(serve)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(client.call(url, BODY, {}, LONG))
    assert client.idle_connections == 3

    assert (await client.call(url, BODY, {}, LONG)).status == 200
    assert seen == 4


async def test_an_idle_connection_is_closed_after_a_while(client, listen, monkeypatch):
    monkeypatch.setattr(http_connections, "IDLE_S", 0.05)
    closed = asyncio.Event()

    async def serve(reader, writer):
        await read_request(reader)
        writer.write(answer())
        await reader.read()
        closed.set()

    await client.call(await listen(serve), BODY, {}, LONG)

    await asyncio.wait_for(closed.wait(), 10)
    await until(lambda: client.idle_connections == 0)


async def test_an_answer_that_comes_before_the_request_is_out_ends_its_connection(client, listen):
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        await reader.read()

    url = await listen(serve)
    for _ in range(2):
        assert (await client.call(url, b"x" * 50_000_000, {}, LONG)).status == 413

    assert connections == 2
    assert client.idle_connections == 0


LARGE = 8 * 1024 * 1024
READS_MANY = """
import asyncio, resource, sys
from datetime import timedelta
from batch_gateway.adapters.answer_budget import AnswerBudget
from batch_gateway.adapters.model_http import HttpModelClient

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main(url, calls, most):
    client, before = HttpModelClient(budget=AnswerBudget(most)), peak()

    async def call():
        return len((await client.call(url, b"{}", {}, timedelta(minutes=5))).body)

    print(sum(await asyncio.gather(*[call() for _ in range(calls)])), peak() - before)
    await client.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_memory_is_bounded_while_many_large_answers_come_at_once(listen):
    """Sixty of 8 MiB, which all are on their way before the first may be read to its end."""
    calls, budget = 60, 32 * 1024 * 1024
    whole, arrived, all_asked = answer(bytes(LARGE)), 0, asyncio.Event()

    async def serve(reader, writer):
        nonlocal arrived
        await read_request(reader)
        arrived += 1
        if arrived == calls:
            all_asked.set()
        await all_asked.wait()
        writer.write(whole)
        await writer.drain()

    url = await listen(serve)
    words = [sys.executable, "-c", READS_MANY, url, str(calls), str(budget)]
    child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()

    read, grown = map(int, said.split())
    assert read == calls * LARGE
    assert grown < budget + 4 * LARGE + calls * 256 * 1024  # a buffer of the socket for each


async def test_compressed_answers_wait_before_they_are_unpacked(listen, monkeypatch):
    """For as long as the results of others wait to be stored; here no time passes."""
    monkeypatch.setattr(answer_budget, "_now", lambda: 0.0)
    kept: list[bytes] = []
    client = HttpModelClient(budget=AnswerBudget(20_000_000, results=lambda: sum(map(len, kept))))
    packed = gzip.compress(bytes(LARGE), mtime=0)

    async def serve(reader, writer):
        await read_request(reader)
        writer.write(answer(packed, b"content-encoding: gzip\r\n"))
        await writer.drain()

    async def call():
        kept.append((await client.call(url, BODY, {}, LONG)).body)

    url = await listen(serve)
    calls = [asyncio.ensure_future(call()) for _ in range(10)]
    await until(lambda: client.budget.waiting == 7)
    assert len(kept) == 3
    kept.clear()
    await until(lambda: client.budget.waiting == 4)
    assert len(kept) == 3
    kept.clear()
    await until(lambda: client.budget.waiting == 1)
    kept.clear()
    await asyncio.gather(*calls)

    await client.close()


async def test_a_call_whose_answer_waits_for_others_does_not_run_into_its_time_out(listen):
    """The other one stops in the middle until this one has its answer."""
    client = HttpModelClient(budget=AnswerBudget(1_000_000))
    done = asyncio.Event()

    async def serve(reader, writer):
        request = await read_request(reader)
        if b"stalls" in request:
            writer.write(answer(bytes(4_000_000))[:2_000_000])
            stalled.set()
            await done.wait()
            writer.write(bytes(4_000_000)[: len(answer(bytes(4_000_000))) - 2_000_000])
        else:
            writer.write(answer(bytes(4_000_000)))
        await writer.drain()

    url, stalled = await listen(serve), asyncio.Event()
    first = asyncio.ensure_future(client.call(url, b'"stalls"', {}, LONG))
    await until(lambda: client.budget.held >= 1_500_000)
    began = asyncio.get_running_loop().time()
    second = await client.call(url, BODY, {}, timedelta(seconds=0.7))
    waited = asyncio.get_running_loop().time() - began
    done.set()

    assert len(second.body) == len((await first).body) == 4_000_000
    assert waited > 0.7  # so it would have run into it
    assert client.budget.held == 0
    await client.close()


async def test_a_call_that_is_cancelled_while_its_answer_waits_leaves_the_budget(listen):
    client = HttpModelClient(budget=AnswerBudget(100_000))

    async def serve(reader, writer):
        await read_request(reader)
        writer.write(answer(bytes(4_000_000))[:2_000_000])
        await writer.drain()
        await reader.read()

    url = await listen(serve)
    calls = [asyncio.ensure_future(client.call(url, BODY, {}, LONG)) for _ in range(4)]
    await until(lambda: client.budget.waiting == 3)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)

    assert (client.budget.held, client.budget.waiting) == (0, 0)
    await client.close()
