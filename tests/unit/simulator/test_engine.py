"""The engine on a virtual clock: what it does and when, without a second going by."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.engine import SimulatedEngine, SimulatedGeneration
from batch_gateway.simulator.prefix_cache import block_hashes, count_tokens


class VirtualTimer:
    def __init__(self, callback: Callable[..., Any]) -> None:
        self.callback: Callable[..., Any] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    def __init__(self) -> None:
        self._now = 0.0
        self._order = count()
        self._timers: list[tuple[float, int, VirtualTimer]] = []

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., Any]) -> VirtualTimer:
        timer = VirtualTimer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    def run_until(self, end: float = float("inf")) -> None:
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
        if end != float("inf"):
            self._now = end


class Bench:
    """An engine, its clock, and a log of what ended when."""

    def __init__(self, **fields: object) -> None:
        quiet = {"ttft_ms": 0, "tpot_ms": 0, "prefill_us_per_token": 0}
        self.config = SimulatorConfig.checked(**{**quiet, **fields})
        self.clock = VirtualClock()
        self.engine = SimulatedEngine(self.config, self.clock)
        self.ended: list[tuple[str, float]] = []
        self.tokens: list[float] = []

    def generation(
        self,
        name: str = "a",
        *,
        prompt: bytes = b"hello",
        output_tokens: int = 1,
        priority: int = 0,
        listen: bool = False,
    ) -> SimulatedGeneration:
        return SimulatedGeneration(
            prompt_tokens=count_tokens(prompt),
            blocks=block_hashes(prompt),
            output_tokens=output_tokens,
            priority=priority,
            token=(lambda: self.tokens.append(self.clock.time())) if listen else None,
            done=lambda: self.ended.append((name, self.clock.time())),
        )

    def submit(self, name: str, **fields: Any) -> SimulatedGeneration:
        generation = self.generation(name, **fields)
        assert self.engine.submit(generation)
        return generation


def test_a_request_takes_first_token_plus_prefill_plus_the_other_tokens():
    bench = Bench(ttft_ms=100, prefill_us_per_token=1000, tpot_ms=10)

    bench.submit("a", prompt=b"x" * 80, output_tokens=6)  # 20 prompt tokens
    bench.clock.run_until()

    assert bench.ended == [("a", pytest.approx(0.1 + 0.020 + 0.050))]


def test_speed_up_divides_every_duration():
    bench = Bench(ttft_ms=100, prefill_us_per_token=1000, tpot_ms=10, speed_up=10)

    bench.submit("a", prompt=b"x" * 80, output_tokens=6)
    bench.clock.run_until()

    assert bench.ended == [("a", pytest.approx(0.017))]


def test_requests_beyond_the_slots_wait_in_order_of_arrival():
    bench = Bench(ttft_ms=1000, slots=2)

    for name in "abcd":
        bench.submit(name)
    running, waiting = bench.engine.running, bench.engine.waiting
    bench.clock.run_until()

    assert (running, waiting) == (2, 2)
    assert bench.ended == [("a", 1), ("b", 1), ("c", 2), ("d", 2)]


def test_the_wait_in_the_queue_counts_into_the_time_to_first_token():
    bench = Bench(ttft_ms=1000, tpot_ms=1000, slots=1)

    bench.submit("a", output_tokens=3)
    bench.submit("b", output_tokens=1)
    bench.clock.run_until()

    assert bench.engine.totals.ttft_sum_s == pytest.approx(1 + (3 + 1))


def test_the_smallest_priority_goes_first_where_the_engine_looks_at_it():
    for by_priority, expected in ((True, "acb"), (False, "abc")):
        bench = Bench(ttft_ms=1000, slots=1, priority=by_priority)

        bench.submit("a")
        bench.submit("b", priority=5)
        bench.submit("c", priority=-5)
        bench.clock.run_until()

        assert "".join(name for name, _ in bench.ended) == expected


def test_a_full_queue_refuses_and_a_plain_one_never_does():
    bounded = Bench(ttft_ms=1000, slots=1, queue=2)
    plain = Bench(ttft_ms=1000, slots=1)

    taken = [bounded.engine.submit(bounded.generation()) for _ in range(5)]

    assert taken == [True, True, True, False, False]
    assert all(plain.engine.submit(plain.generation()) for _ in range(500))


def test_an_aborted_request_frees_its_slot_at_once():
    bench = Bench(ttft_ms=1000, slots=1)
    first = bench.submit("a")
    bench.submit("b")
    bench.clock.run_until(0.5)

    bench.engine.abort(first)
    bench.clock.run_until()

    assert bench.ended == [("b", 1.5)]
    assert bench.engine.totals.aborted == 1
    assert bench.engine.kv_usage == 0


def test_an_aborted_request_in_the_queue_never_runs():
    bench = Bench(ttft_ms=1000, slots=1)
    bench.submit("a")
    waiting = bench.submit("b")
    bench.submit("c")

    bench.engine.abort(waiting)
    bench.engine.abort(waiting)  # twice is once
    bench.clock.run_until()

    assert [name for name, _ in bench.ended] == ["a", "c"]
    assert bench.engine.waiting == 0
    assert bench.engine.totals.aborted == 1


def test_a_listener_hears_every_token_when_it_is_there():
    bench = Bench(ttft_ms=100, tpot_ms=10)

    bench.submit("a", output_tokens=3, listen=True)
    bench.clock.run_until()

    assert bench.tokens == pytest.approx([0.1, 0.11, 0.12])
    assert bench.ended == [("a", pytest.approx(0.12))]


def test_cached_prompt_tokens_cost_no_prefill():
    bench = Bench(prefill_us_per_token=1000)
    prompt = b"s" * 64 * 4  # 64 tokens: the last block is never taken from the cache

    first = bench.submit("a", prompt=prompt)
    bench.clock.run_until()
    second = bench.submit("b", prompt=prompt)
    bench.clock.run_until()

    assert (first.cached_tokens, second.cached_tokens) == (0, 48)
    assert bench.ended == [("a", pytest.approx(0.064)), ("b", pytest.approx(0.064 + 0.016))]


def test_more_slots_start_waiting_requests_at_once():
    bench = Bench(ttft_ms=1000, slots=1)
    for name in "abc":
        bench.submit(name)

    bench.engine.configure(bench.config.changed({"slots": 3}))

    assert (bench.engine.running, bench.engine.waiting) == (3, 0)


def test_a_long_queue_that_becomes_instant_ends_without_deep_recursion():
    bench = Bench(ttft_ms=1000, slots=1)
    for _ in range(5000):
        bench.submit("a")

    bench.engine.configure(bench.config.changed({"ttft_ms": 0}))
    bench.clock.run_until()

    assert bench.engine.totals.finished == {"stop": 5000}
    assert (bench.engine.running, bench.engine.waiting) == (0, 0)


def test_kv_usage_is_the_share_that_running_requests_hold():
    bench = Bench(ttft_ms=1000, kv_blocks=10)

    bench.submit("a", prompt=b"x" * 64, output_tokens=16)  # 32 tokens: 2 blocks

    assert bench.engine.kv_usage == pytest.approx(0.2)
