"""Budgets: the batch is stopped, and keeps what it has."""

from decimal import Decimal

import pytest
from fixtures.world import chat_lines

from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import ExecutionSettings, PlanningSettings, PriceSettings
from batch_gateway.settings.prices import ModelPrice

pytestmark = pytest.mark.redis

#: Results are judged at once.
EAGER = ExecutionSettings(flush_results=1, flush_interval_s=0.05, idle_exit_s=0.3, max_calls=2)


def failing(count):
    """Requests to a model that the engine does not have."""
    return chat_lines(count, model="nobody")


@pytest.fixture
def frugal(make_world):
    return make_world(planning=PlanningSettings(shard_lines=10), execution=EAGER)


@pytest.mark.parametrize(
    ("budget", "name"),
    [({"max_errors": 5}, "max_errors"), ({"max_error_rate": 0.01}, "max_error_rate")],
    ids=str,
)
async def test_too_many_errors_stop_the_batch(frugal, budget, name):
    batch = await frugal.run(await frugal.submit(failing(300), **budget))

    output, errors = await frugal.results(batch)
    codes = [line["error"]["code"] for line in errors if line["error"]]
    assert batch.status is BatchStatus.CANCELLED
    assert [(error.code, error.param) for error in batch.errors] == [(f"{name}_exceeded", name)]
    assert (len(output), len(errors)) == (0, 300)
    assert set(codes) == {"batch_cancelled"}
    assert 5 < batch.counts.failed == 300 - len(codes) < 300
    assert len(await frugal.arrivals()) < 300


async def test_a_cost_above_the_budget_stops_the_batch(make_world):
    prices = PriceSettings(
        models={"sim-*": ModelPrice(input=1, output=2)}, batch_discount=Decimal("0.5")
    )
    world = make_world(planning=PlanningSettings(shard_lines=10), execution=EAGER, prices=prices)

    batch = await world.run(await world.submit(chat_lines(300), max_cost=0.0015))
    cheap = await world.run(await world.submit(chat_lines(20), max_cost=1))

    cost = prices.price_list.cost(
        "sim-large", batch.created_at.date(), batch.usage, batch.counts.completed
    )
    assert batch.status is BatchStatus.CANCELLED
    assert batch.errors[0].code == "max_cost_exceeded"
    assert "USD, above 0.0015 USD" in batch.errors[0].message
    assert Decimal("0.0015") < cost < Decimal("0.0075")
    assert 0 < batch.counts.completed < 300
    assert (cheap.status, cheap.counts.completed) == (BatchStatus.COMPLETED, 20)


async def test_models_without_a_price_cost_nothing(make_world):
    prices = PriceSettings(models={"another": ModelPrice(input=10**6, output=10**6)})
    world = make_world(planning=PlanningSettings(shard_lines=10), execution=EAGER, prices=prices)

    batch = await world.run(await world.submit(chat_lines(30), max_cost=0))

    assert batch.status is BatchStatus.COMPLETED


async def test_too_many_tokens_stop_the_batch_and_results_are_kept(frugal):
    batch = await frugal.run(await frugal.submit(chat_lines(300), max_total_tokens=2000))

    output, errors = await frugal.results(batch)
    assert batch.status is BatchStatus.CANCELLED
    assert batch.errors[0].code == "max_total_tokens_exceeded"
    assert batch.usage.input_tokens + batch.usage.output_tokens > 2000
    assert 0 < len(output) == batch.counts.completed < 300
    assert len(output) + len(errors) == 300


async def test_a_batch_within_its_budget_completes(frugal):
    budget = {"max_errors": 3, "max_error_rate": 0.2, "max_total_tokens": 10**9}

    batch = await frugal.run(await frugal.submit(chat_lines(12), **budget))

    assert (batch.status, batch.errors) == (BatchStatus.COMPLETED, ())
