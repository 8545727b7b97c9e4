"""One simulated inference engine: running slots, a waiting queue and a prefix cache.

A request waits until a slot is free, in order of arrival (or of priority), then runs for

    ttft + uncached prompt tokens * prefill + (output tokens - 1) * tpot

and gives its slot to the next one. Its time to first token, as a user feels it, is the time in
the queue plus the first two terms. Nothing is preempted: a request keeps its slot until it ends or
its client hangs up.

The engine is driven by callbacks and one timer per request, not by tasks, so that a request
without latency costs no turn of the event loop. The clock is an argument: an event loop is one,
and tests bring a virtual one.
"""

import heapq
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.prefix_cache import BLOCK_TOKENS, PrefixCache

TTFT_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
"""Upper bounds of vLLM's histogram of the time to first token."""


class LoopTimer(Protocol):
    def cancel(self) -> None: ...


class LoopClock(Protocol):
    """What the engine needs of an event loop."""

    def time(self) -> float:
        """Seconds since some moment."""
        ...

    def call_later(self, delay: float, callback: Callable[..., Any], /) -> LoopTimer: ...


@dataclass(slots=True, eq=False, kw_only=True)
class SimulatedGeneration:
    """One request inside the engine."""

    prompt_tokens: int
    blocks: Sequence[int]  # chained hashes of the prompt's full blocks
    output_tokens: int  # of each choice; 0 for endpoints that only read, such as embeddings
    choices: int = 1  # answers that are generated side by side
    finish_reason: str = "stop"
    priority: int = 0  # smaller is served first, if the engine uses priorities
    started: Callable[[], None] | None = None  # has got a slot
    token: Callable[[], None] | None = None  # an output token is there; None: no listener
    done: Callable[[], None]

    # what the engine made of it
    cached_tokens: int = 0
    submitted_at: float = 0.0  # clock seconds
    first_token_at: float = 0.0  # clock seconds; foreseen as soon as it runs
    running: bool = False
    ended: bool = False  # finished or aborted
    tokens_left: int = 0  # with a listener only
    timer: LoopTimer | None = None

    @property
    def kv_blocks(self) -> int:
        return -(-(self.prompt_tokens + self.output_tokens * self.choices) // BLOCK_TOKENS)


@dataclass(slots=True)
class EngineCounters:
    """Counters since the engine started."""

    finished: Counter[str] = field(default_factory=Counter)  # by finish reason
    aborted: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    ttft_sum_s: float = 0.0
    ttft_buckets: list[int] = field(default_factory=lambda: [0] * (len(TTFT_BUCKETS_S) + 1))

    def first_token_after(self, seconds: float) -> None:
        self.ttft_sum_s += seconds
        self.ttft_buckets[bisect_left(TTFT_BUCKETS_S, seconds)] += 1


class SimulatedEngine:
    """The engine of one model."""

    def __init__(self, config: SimulatorConfig, clock: LoopClock) -> None:
        self._config = config
        self._clock = clock
        self._queue: list[tuple[int, int, SimulatedGeneration]] = []  # heap; may hold aborted ones
        self._arrivals = count()
        self._pumping = False
        self._kv_in_use = 0  # blocks of running requests
        self.cache = PrefixCache(config.kv_blocks)
        self.running = 0
        self.waiting = 0
        self.totals = EngineCounters()

    @property
    def kv_usage(self) -> float:
        """Share of the cache that running requests hold, 0..1."""
        if not self._config.kv_blocks:
            return 0.0
        return min(1.0, self._kv_in_use / self._config.kv_blocks)

    def configure(self, config: SimulatorConfig) -> None:
        """Change behaviour from now on; what runs keeps its course."""
        self._config = config
        self.cache.resize(config.kv_blocks)
        self._pump()

    def reset(self) -> None:
        """Forget the cache and all counters; what runs keeps its course."""
        self.cache = PrefixCache(self._config.kv_blocks)
        self.totals = EngineCounters()

    def submit(self, generation: SimulatedGeneration) -> bool:
        """Take a request; False when slots and queue are full. Its callbacks may run at once."""
        full = self.running >= self._config.slots
        limit = self._config.queue
        if full and limit is not None and self.waiting >= limit:
            return False
        generation.submitted_at = self._clock.time()
        self.waiting += 1
        rank = generation.priority if self._config.priority else 0
        heapq.heappush(self._queue, (rank, next(self._arrivals), generation))
        self._pump()
        return True

    def abort(self, generation: SimulatedGeneration) -> None:
        """Stop a request and free its slot; one that has ended already is left alone."""
        if generation.ended:
            return
        self.totals.aborted += 1
        if generation.running:
            if self._clock.time() >= generation.first_token_at:
                self._count_first_token(generation)
            self._free(generation)
            self._pump()
        else:
            generation.ended = True
            self.waiting -= 1

    def _pump(self) -> None:
        """Start what can start. Requests without latency end inside ``_start``: hence the guard,
        so that a long queue of them is a loop and no recursion."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._queue and self.running < self._config.slots:
                generation = heapq.heappop(self._queue)[2]
                if not generation.ended:
                    self.waiting -= 1
                    self._start(generation)
        finally:
            self._pumping = False

    def _start(self, generation: SimulatedGeneration) -> None:
        self.running += 1
        self._kv_in_use += generation.kv_blocks
        generation.running = True
        generation.cached_tokens = self.cache.visit(generation.blocks, generation.prompt_tokens)
        config = self._config
        to_first = config.seconds(
            milliseconds=config.ttft_ms,
            microseconds=config.prefill_us_per_token
            * (generation.prompt_tokens - generation.cached_tokens),
        )
        generation.first_token_at = self._clock.time() + to_first
        if generation.started is not None:
            generation.started()
        if generation.token is not None and generation.output_tokens:
            generation.tokens_left = generation.output_tokens
            self._after(to_first, generation, self._step)
        else:
            after_first = max(0, generation.output_tokens - 1)
            rest = config.seconds(milliseconds=config.tpot_ms * after_first)
            self._after(to_first + rest, generation, self._finish)

    def _after(
        self,
        delay: float,
        generation: SimulatedGeneration,
        then: Callable[[SimulatedGeneration], None],
    ) -> None:
        if delay > 0:
            generation.timer = self._clock.call_later(delay, lambda: then(generation))
        else:
            then(generation)

    def _step(self, generation: SimulatedGeneration) -> None:
        """Hand out output tokens, until the next one takes time."""
        config = self._config
        pause = config.seconds(milliseconds=config.tpot_ms)
        while generation.token is not None and not generation.ended:
            generation.token()
            generation.tokens_left -= 1
            if not generation.tokens_left:
                self._finish(generation)
            elif pause > 0:
                self._after(pause, generation, self._step)
                return

    def _finish(self, generation: SimulatedGeneration) -> None:
        totals = self.totals
        totals.finished[generation.finish_reason] += 1
        totals.prompt_tokens += generation.prompt_tokens
        totals.output_tokens += generation.output_tokens * generation.choices
        self._count_first_token(generation)
        self._free(generation)
        generation.done()
        self._pump()

    def _free(self, generation: SimulatedGeneration) -> None:
        generation.ended = True
        generation.running = False
        if generation.timer is not None:
            generation.timer.cancel()
        self.running -= 1
        self._kv_in_use -= generation.kv_blocks

    def _count_first_token(self, generation: SimulatedGeneration) -> None:
        self.totals.first_token_after(generation.first_token_at - generation.submitted_at)
