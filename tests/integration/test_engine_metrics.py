"""Metrics of engines over HTTP and TLS."""

import asyncio
import gzip
from datetime import timedelta

import pytest
from fixtures.certificates import Authority
from fixtures.raw_engine import engine, http

from batch_gateway.adapters.engine_metrics import HttpEngineMetrics
from batch_gateway.core.engine_signals import EngineReading
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.routing import TlsOptions

SOON = timedelta(seconds=10)
SHOWN = "vllm:num_requests_running 3\nvllm:num_requests_waiting 1\n"


@pytest.fixture
async def metrics():
    metrics = HttpEngineMetrics()
    yield metrics
    await metrics.close()


async def test_metrics_are_read_over_the_tls_of_the_endpoint(metrics, start_endpoint, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway")
    endpoint = await start_endpoint(tls=authority.server(clients=True))
    endpoint.metrics = SHOWN
    tls = TlsOptions(ca=authority.ca, certificate=certificate, key=key)

    reading = await metrics.read(f"{endpoint.url}/metrics", "m", SOON, tls)

    assert reading == EngineReading(running=3, waiting=1)
    with pytest.raises(Unavailable):
        await metrics.read(f"{endpoint.url}/metrics", "m", SOON)


async def test_certificates_that_cannot_be_read_make_metrics_unavailable(metrics, tmp_path):
    with pytest.raises(Unavailable, match="TLS"):
        await metrics.read(
            "https://127.0.0.1:1/metrics", "m", SOON, TlsOptions(ca=tmp_path / "nothing.pem")
        )


@pytest.mark.parametrize("shown", [None, "python_info 1\n"], ids=["no page", "no queue"])
async def test_an_engine_that_shows_no_queue_is_unavailable(metrics, start_endpoint, shown):
    endpoint = await start_endpoint()
    endpoint.metrics = shown

    with pytest.raises(Unavailable, match="/metrics"):
        await metrics.read(f"{endpoint.url}/metrics", "m", SOON)


TEXT = SHOWN.encode()
OPEN_METRICS = b"""\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3.0 1520879607.789 # {trace_id="a}b"} 9 1520879607.789
vllm:num_requests_waiting{model_name="m"} 1 # {trace_id="vllm:num_requests_waiting 7"} 0.5
# EOF
"""


@pytest.mark.parametrize(
    "wire",
    [
        http(OPEN_METRICS, head=b"content-type: application/openmetrics-text; charset=\xff\r\n"),
        http(b"\xef\xbb\xbf" + TEXT),
        http(TEXT.replace(b"\n", b"\r\n")),
        http(gzip.compress(TEXT), head=b"content-encoding: gzip\r\n"),
        http(b"# \xff\x00\n" + TEXT),
        b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n" + TEXT,
        http(TEXT + b"# more\n" * 2_000_000),
    ],
    ids=["exemplars", "byte order mark", "CRLF", "gzip", "any bytes", "HTTP/1.0", "14 MB"],
)
async def test_metrics_are_read_however_they_come(metrics, wire):
    async with engine(lambda *_: wire) as url:
        reading = await metrics.read(f"{url}/metrics", "m", SOON)

    assert reading == EngineReading(running=3, waiting=1)


@pytest.mark.parametrize(
    "wire",
    [
        http(b""),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        http(b"<html>vllm:num_requests_waiting 1</html>"),
        http(TEXT.decode().encode("utf-16")),
        http(gzip.compress(b"#" * 100_000_000, 1), head=b"content-encoding: gzip\r\n"),
        http(TEXT, head=b"content-encoding: br\r\n"),
        http(b"", b"302 Found", b"location: /metrics\r\n"),
        http(TEXT, b"500 Broken"),
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 999\r\n\r\n" + TEXT,
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + TEXT,
        b"SSH-2.0\r\n\r\n",
    ],
    ids=[
        *("empty", "204", "a page", "UTF-16", "gzip bomb", "brotli", "to itself", "500"),
        *("cut off", "a length below zero", "no HTTP"),
    ],
)
async def test_what_are_no_metrics_are_unavailable(metrics, wire):
    async with engine(lambda *_: wire) as url:
        with pytest.raises(Unavailable, match="/metrics"):
            await metrics.read(f"{url}/metrics", "m", SOON)


async def test_of_metrics_without_end_the_beginning_is_read(metrics):
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + TEXT)
        try:
            while True:
                writer.write(b"# more\n" * 1000)
                await writer.drain()
                sent += 7000
        except ConnectionError:
            writer.close()  # the client has gone

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reading = await metrics.read(f"http://127.0.0.1:{port}/metrics", "m", timedelta(seconds=60))

    assert reading == EngineReading(running=3, waiting=1)
    assert sent < 40_000_000  # 8 MB, and what buffers take
