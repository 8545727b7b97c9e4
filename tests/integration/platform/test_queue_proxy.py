"""A function as Knative's own data plane meets it: what queue-proxy, kubelet and brokers send, byte
by byte, to a function that runs as its pod runs it."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest
from fixtures.functions import environment, running_function
from fixtures.metadata import a_batch

from batch_gateway.adapters.sql import open_sql
from batch_gateway.web.failure_reasons import MAX_BYTES

pytestmark = pytest.mark.redis

TICK = {
    "specversion": "1.0",
    "id": "1",
    "source": "/apis/v1/namespaces/batch-gateway/pingsources/janitor",
    "type": "dev.knative.sources.ping",
}
BINARY = "".join(f"ce-{name}: {value}\r\n" for name, value in TICK.items())
STRUCTURED = json.dumps(TICK).encode()
BATCHED = json.dumps([TICK, {**TICK, "id": "2"}]).encode()
FROM_QUEUE_PROXY = (
    "x-forwarded-for: 10.0.0.1, 10.0.0.2\r\n"
    "x-forwarded-proto: http\r\n"
    "forwarded: for=10.0.0.1;proto=http\r\n"
    "k-proxy-request: activator\r\n"
    "knative-serving-revision: janitor-00001\r\n"
    "kn-namespace: batch-gateway\r\n"
    "prefer: reply\r\n"
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
)


def request(line: str, headers: str = "", body: bytes = b"") -> bytes:
    length = f"content-length: {len(body)}\r\n" if body else ""
    return f"{line}\r\nhost: janitor\r\n{headers}{length}\r\n".encode() + body


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    parts = [body[:half], body[half:], b""]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


POST = "POST / HTTP/1.1"
JSON_EVENT = "content-type: application/cloudevents+json\r\n"
UNDERSTOOD = {
    "binary": (request(POST, BINARY + "content-length: 0\r\n"), 202),
    "names in capitals": (request(POST, BINARY.upper().replace("/APIS", "/apis")), 400),
    "header names in capitals": (
        request(POST, "".join(f"CE-{n.upper()}: {v}\r\n" for n, v in TICK.items())),
        202,
    ),
    "through queue-proxy": (request(POST, BINARY + FROM_QUEUE_PROXY), 202),
    "percent-encoded": (request(POST, BINARY + "ce-subject: %E2%82%AC%20uro\r\n"), 202),
    "structured": (request(POST, JSON_EVENT, STRUCTURED), 202),
    "structured, another spelling": (
        request(POST, "Content-Type: Application/CloudEvents+JSON; charset=UTF-8\r\n", STRUCTURED),
        202,
    ),
    "batched": (
        request(POST, "content-type: application/cloudevents-batch+json\r\n", BATCHED),
        202,
    ),
    "in chunks": (
        request(POST, JSON_EVENT + "transfer-encoding: chunked\r\n") + chunked(STRUCTURED),
        202,
    ),
    "to any path, with a query": (request("POST /a/b?c=d HTTP/1.1", BINARY), 202),
    "to an absolute URL": (
        request("POST http://janitor.ns.svc.cluster.local/ HTTP/1.1", BINARY),
        202,
    ),
    "offering HTTP/2": (
        request(
            "OPTIONS / HTTP/1.1",
            "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        ),
        405,
    ),
    "an event, offering HTTP/2": (
        request(POST, BINARY + "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"),
        202,
    ),
    "over HTTP/1.0": (request("POST / HTTP/1.0", BINARY), 202),
    "kubelet's probe through queue-proxy": (
        request(
            "GET /readyz HTTP/1.1", "k-kubelet-probe: queue\r\nuser-agent: kube-probe/1.34\r\n"
        ),
        200,
    ),
    "liveness": (request("GET /healthz HTTP/1.1", "user-agent: kube-probe/1.34\r\n"), 200),
    "a probe by HEAD": (request("HEAD /readyz HTTP/1.1"), 200),
    "no event": (request(POST, "content-type: application/json\r\n", b"{}"), 400),
    "an event that is cut off": (request(POST, JSON_EVENT, STRUCTURED[:-3]), 400),
    "another version": (request(POST, BINARY.replace("1.0", "9000.1")), 400),
    "a visitor": (request("GET / HTTP/1.1"), 405),
    "a header that cannot be read": (b"POST / HTTP/1.1\r\nhost janitor\r\n\r\n", 400),
    "a length that is none": (b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n", 400),
    "an unknown method": (request("FOO / HTTP/1.1"), 400),
    "a way that does not exist": (request("DELETE /no/such/way HTTP/1.1"), 405),
    "a talk by WebSocket": (
        request("GET / HTTP/1.1", "connection: upgrade\r\nupgrade: websocket\r\n"),
        405,
    ),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
}


async def answer(port: int, sent: bytes) -> tuple[int, bytes, bytes]:
    """(status, headers, body) of what one connection answers to ``sent``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].split(b":")[1]) if lengths and not sent.startswith(b"HEAD") else 0
    body = await reader.readexactly(length)
    writer.close()
    return int(head.split()[1]), head.lower(), body


@pytest.fixture
async def janitor(tmp_path: Path, valkey_url: str):
    env = environment(tmp_path, valkey_url) | {
        "BATCH_GATEWAY_METADATA__MIGRATE": "true",
        "BATCH_GATEWAY_SWEEP__INTERVAL_S": "0.01",
    }
    async with running_function("janitor", env) as running:
        await running.until("/readyz", 200)
        yield running


def port_of(running) -> int:
    port = httpx.URL(running.http.base_url).port
    assert port is not None
    return port


async def test_whatever_the_data_plane_sends_is_understood_or_refused_for_good(janitor):
    for name, (sent, status) in UNDERSTOOD.items():
        async with asyncio.timeout(90):
            found, head, body = await answer(port_of(janitor), sent)

        assert found == status, name
        if status == 202:
            assert body == b"", name  # anything else would be taken for a reply event
            assert b"transfer-encoding" not in head, name
        if status >= 400:
            assert body.decode().isprintable(), name
            assert 0 < len(body) <= MAX_BYTES, name  # brokers keep it with the dead letter
    assert (await janitor.http.get("/healthz")).status_code == 200


async def test_who_asks_before_sending_a_body_is_told_to_go_on(janitor):
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(janitor))
    writer.write(
        request(POST, f"{JSON_EVENT}expect: 100-continue\r\ncontent-length: {len(STRUCTURED)}\r\n")
    )
    async with asyncio.timeout(45):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(STRUCTURED)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
    writer.close()


async def test_one_connection_serves_one_event_after_the_other(janitor):
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(janitor))
    async with asyncio.timeout(45):
        for _ in range(3):
            writer.write(request(POST, BINARY))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
    writer.close()


async def test_a_request_that_is_open_is_answered_when_the_pod_must_go(
    janitor, tmp_path, valkey_url
):
    store = await open_sql(
        environment(tmp_path, valkey_url)["BATCH_GATEWAY_METADATA__URL"],
        pool_size=1,
        migrate=False,
    )
    await store.batches.create(a_batch(), [])  # work to look after: the janitor stays
    await store.close()
    tick = asyncio.create_task(answer(port_of(janitor), request(POST, BINARY)))
    await asyncio.sleep(0.5)
    assert not tick.done()

    janitor.process.send_signal(signal.SIGTERM)

    async with asyncio.timeout(45):
        status, _, body = await tick
        assert (status, body) == (202, b"")
        assert await janitor.process.wait() == 0


async def test_until_it_listens_connections_are_refused_and_none_is_left_hanging(
    tmp_path, valkey_url
):
    env = environment(tmp_path, valkey_url) | {"BATCH_GATEWAY_METADATA__MIGRATE": "true"}
    seen = set()
    async with running_function("janitor", env) as running, asyncio.timeout(90):
        while 200 not in seen:
            try:
                status, _, _ = await answer(port_of(running), request("GET /readyz HTTP/1.1"))
                seen.add(status)
            except ConnectionRefusedError:
                seen.add(0)

    assert seen <= {0, 200, 503}


async def test_a_port_that_is_not_ours_ends_the_start(tmp_path, valkey_url):
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    env = environment(tmp_path, valkey_url) | {"BATCH_GATEWAY_METADATA__MIGRATE": "true"}

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batch_gateway.web.serve", "janitor"),
        env={**os.environ, **env, "PORT": str(port)},
        stderr=asyncio.subprocess.PIPE,
    )

    async with asyncio.timeout(90):
        _, said = await process.communicate()
    server.close()
    assert process.returncode != 0
    assert b"address already in use" in said
