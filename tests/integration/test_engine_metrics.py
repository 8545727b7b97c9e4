"""Metrics of engines over HTTP and TLS."""

from datetime import timedelta

import pytest
from fixtures.certificates import Authority

from batch_gateway.adapters.engine_metrics import HttpEngineMetrics
from batch_gateway.core.engine_signals import EngineReading
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.routing import Tls

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
    tls = Tls(ca=authority.ca, certificate=certificate, key=key)

    reading = await metrics.read(f"{endpoint.url}/metrics", "m", SOON, tls)

    assert reading == EngineReading(running=3, waiting=1)
    with pytest.raises(Unavailable):
        await metrics.read(f"{endpoint.url}/metrics", "m", SOON)


async def test_certificates_that_cannot_be_read_make_metrics_unavailable(metrics, tmp_path):
    with pytest.raises(Unavailable, match="TLS"):
        await metrics.read(
            "https://127.0.0.1:1/metrics", "m", SOON, Tls(ca=tmp_path / "nothing.pem")
        )


@pytest.mark.parametrize("shown", [None, "python_info 1\n"], ids=["no page", "no queue"])
async def test_an_engine_that_shows_no_queue_is_unavailable(metrics, start_endpoint, shown):
    endpoint = await start_endpoint()
    endpoint.metrics = shown

    with pytest.raises(Unavailable, match="/metrics"):
        await metrics.read(f"{endpoint.url}/metrics", "m", SOON)
