"""Bytes of answers that a process holds: what waits, whose turn it is, and what comes after."""

import asyncio
from typing import Any

import pytest
from fixtures.simulator import until

from batch_gateway.adapters import answer_budget
from batch_gateway.adapters.answer_budget import AnswerBudget

MIB = 1024 * 1024


class Reader:
    def __init__(self, budget: AnswerBudget) -> None:
        self.budget = budget
        self.paused = False

    def pause(self) -> None:
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False

    def read(self, size: int) -> None:
        assert not self.paused
        self.budget.add(self, size)
        self.budget.check(self)


@pytest.fixture
async def budget() -> AnswerBudget:
    return AnswerBudget(4 * MIB)


@pytest.fixture
def pass_time(monkeypatch, budget):
    """Let seconds pass, with a look at what waits at the end."""
    now = 0.0
    monkeypatch.setattr(answer_budget, "_now", lambda: now)

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds
        budget._look_again()

    return passes


def readers(budget: AnswerBudget, count: int) -> list[Reader]:
    return [Reader(budget) for _ in range(count)]


async def test_beyond_the_budget_one_answer_is_read_at_a_time_in_their_order(budget):
    all_ = readers(budget, 4)
    for one in all_:
        one.read(MIB)
    assert not any(one.paused for one in all_)

    for one in (all_[2], all_[0], all_[1], all_[3]):
        one.read(MIB)
    assert [one.paused for one in all_] == [True, True, False, True]
    all_[2].read(20 * MIB)  # it may be as long as answers may be

    budget.done(all_[2])  # 6 MiB are held still
    assert [one.paused for one in all_] == [False, True, False, True]
    budget.done(all_[0])
    assert not any(one.paused for one in all_)
    budget.done(all_[1])
    budget.done(all_[3])
    assert (budget.held, budget.waiting) == (0, 0)


async def test_a_small_answer_never_waits(budget):
    large, small = readers(budget, 2)
    large.read(5 * MIB)

    small.read(60_000)

    assert not small.paused


async def test_an_answer_that_stops_in_the_middle_keeps_no_other_waiting(budget, pass_time):
    stalled, other, third = readers(budget, 3)
    stalled.read(5 * MIB)
    for one in (other, third):
        one.read(MIB)
    assert (other.paused, third.paused) == (True, True)

    pass_time(1.1)
    assert stalled.paused
    assert not other.paused
    budget.done(other)
    assert not third.paused
    budget.done(third)
    assert not stalled.paused


async def test_a_turn_goes_on_as_long_as_the_answer_comes(budget, pass_time):
    coming, other = readers(budget, 2)
    coming.read(5 * MIB)
    other.read(MIB)

    for _ in range(20):
        coming.read(MIB)
        pass_time(0.6)

    assert other.paused


async def test_while_results_wait_to_be_stored_an_answer_a_second_is_read(budget, pass_time):
    waiting = 5 * MIB
    budget.results = lambda: waiting
    first, second, third = readers(budget, 3)
    for one in (first, second, third):
        one.read(MIB)
    assert first.paused
    pass_time(1.1)
    assert (first.paused, second.paused, third.paused) == (False, True, True)
    budget.done(first)
    pass_time(0.5)
    assert (second.paused, third.paused) == (True, True)

    waiting = 0
    pass_time(0.1)
    assert (second.paused, third.paused) == (False, False)


async def test_answers_are_unpacked_one_after_the_other(budget):
    results = 0
    budget.results = lambda: results
    holding = Reader(budget)
    holding.read(5 * MIB)

    async def unpack() -> None:
        nonlocal results
        await budget.room()
        results += 3 * MIB

    tasks: list[Any] = [asyncio.ensure_future(unpack()) for _ in range(5)]
    await until(lambda: budget.waiting == 5)
    tasks[-1].cancel()
    await until(lambda: budget.waiting == 4)
    budget.done(holding)
    await until(lambda: budget.waiting == 2)
    assert results == 6 * MIB
    results = 0
    await until(lambda: budget.waiting == 0)
    await asyncio.gather(*tasks[:-1])
