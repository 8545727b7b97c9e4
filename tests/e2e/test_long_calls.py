"""A call that may be longer than the usual budgets, on a smaller scale: made once, and answered."""

import pytest
from fixtures.gateway import BRISK, chat_lines

from batch_gateway.settings import Execution

pytestmark = pytest.mark.e2e

CALL_S = 7.0  # beyond the soft budget, several lives of a lease and the idle exit
LONGEST_S = Execution().hard_budget_s + 360  # refused at start, unless the budget follows from it


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
