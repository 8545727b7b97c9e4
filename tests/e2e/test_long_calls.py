"""A call that may be longer than the usual budgets, on a smaller scale: made once, and answered."""

from dataclasses import replace

import pytest
from fixtures.gateway import BRISK, chat_lines

from batch_gateway.local import manifests
from batch_gateway.settings import ExecutionSettings

pytestmark = pytest.mark.e2e

CALL_S = 7.0  # beyond the soft budget, several lives of a lease and the idle exit
LONGEST_S = (
    ExecutionSettings().hard_budget_s + 360
)  # refused at start, unless the budget follows from it


async def test_a_long_call_is_made_once_and_answered(start_gateway):
    gateway = await start_gateway(
        simulator={"ttft_ms": CALL_S * 1000},
        settings={
            **BRISK,
            "inference": {"timeout_s": LONGEST_S},
            "execution": {**BRISK["execution"], "soft_budget_s": 1},
        },
    )

    batch = await gateway.ended(await gateway.submit(chat_lines(1)))

    assert (batch.status, batch.request_counts.completed) == ("completed", 1)
    assert [call["status"] for call in await gateway.arrivals()] == [200]


REQUEST_S = 3.0  # what requests of the executor and deliveries of events may take


@pytest.fixture
def short_requests(monkeypatch):
    """A platform whose requests and deliveries are far shorter than the call."""
    load = manifests.load

    def shortened(*args):
        deployment = load(*args)
        services = [
            replace(one, timeout_s=REQUEST_S, response_start_timeout_s=REQUEST_S)
            if one.name == "executor"
            else one
            for one in deployment.services
        ]
        triggers = [
            replace(one, delivery=replace(one.delivery, timeout_s=REQUEST_S))
            if one.subscriber.name == "executor"
            else one
            for one in deployment.triggers
        ]
        return replace(deployment, services=services, triggers=triggers)

    monkeypatch.setattr(manifests, "load", shortened)


@pytest.mark.usefixtures("short_requests")
async def test_requests_and_deliveries_last_as_long_as_the_longest_call(start_gateway):
    """Cut after ``REQUEST_S`` the broker would send the wake-up again, with the call still open."""
    gateway = await start_gateway(
        simulator={"ttft_ms": CALL_S * 1000},
        settings={**BRISK, "inference": {"timeout_s": LONGEST_S}},
    )

    batch = await gateway.ended(await gateway.submit(chat_lines(1)))

    assert (batch.status, batch.request_counts.completed) == ("completed", 1)
    assert [call["status"] for call in await gateway.arrivals()] == [200]
    log = (gateway.data / "logs" / "broker.log").read_text()
    assert [line for line in log.splitlines() if "work.available" in line] == []
