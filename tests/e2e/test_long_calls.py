"""A call that is longer than everything that bounds a request by default, on a smaller scale."""

from dataclasses import replace

import pytest
from fixtures.gateway import chat_lines

from batch_gateway.local import machine
from batch_gateway.local.resources import Deployment

pytestmark = pytest.mark.e2e

WALL_S = 3.0  # of the executor's requests and of the events that open them; on a cluster 600 s
CALL_S = 7.0
LONGEST_S = 900.0  # does not fit into the usual hard budget


def walled(deployment: Deployment) -> Deployment:
    """``deployment`` whose executor may answer for a short time only."""
    return replace(
        deployment,
        services=[
            replace(one, timeout_s=WALL_S, response_start_timeout_s=WALL_S)
            if one.name == "executor"
            else one
            for one in deployment.services
        ],
        triggers=[
            replace(one, delivery=replace(one.delivery, timeout_s=WALL_S))
            if one.subscriber.name == "executor"
            else one
            for one in deployment.triggers
        ],
    )


async def test_a_long_call_is_made_once_and_answered(start_gateway, monkeypatch):
    load = machine.manifests.load
    monkeypatch.setattr(machine.manifests, "load", lambda *given: walled(load(*given)))
    gateway = await start_gateway(
        simulator={"ttft_ms": CALL_S * 1000},
        settings={
            "inference": {"timeout_s": LONGEST_S},
            "execution": {"soft_budget_s": 1, "lease_ttl_s": 3, "heartbeat_s": 0.5},
        },
    )

    batch = await gateway.ended(await gateway.submit(chat_lines(1)))

    assert (batch.status, batch.request_counts.completed) == ("completed", 1)
    arrivals = await gateway.arrivals()
    assert [call["status"] for call in arrivals] == [200]
