"""The scene of ``benchmarks.waves`` in virtual time: eight minutes of it pass in half a second.

``python -m benchmarks.waves_model`` plays it with several seeds and prints what F13 measures. The
engine is the simulator's and the controller is ``core``'s; slots, syncs and calls are modelled
without Redis, HTTP and processes. So it is where a rule of the controller is tried out, with many
seeds; F13 shows whether it is true.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, cycle
from statistics import mean
from typing import Any, Literal

from batch_gateway.core.engine_signals import (
    CapacityEstimate,
    EngineReading,
    TtftBaseline,
    engine_signal,
    probe_signal,
)
from batch_gateway.core.latency_baseline import work_units
from batch_gateway.core.limits import MonitorSignal, PoolObservation, fold, initial, slots
from batch_gateway.core.own_queue import (
    NO_OTHERS,
    ExecutorCalls,
    OtherExecutorCalls,
    ProbeDelayClassifier,
)
from batch_gateway.core.preemption_budget import PreemptionBudget
from batch_gateway.settings import EngineMonitorSettings, LimitSettings
from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.engine import SimulatedEngine, SimulatedGeneration
from batch_gateway.simulator.load import users
from benchmarks.stage import percentile
from benchmarks.waves import SLOTS, TPOT_MS, TTFT_MS, Scene, lines, tokens

Setting = Literal["alone", "metrics", "router", "plain", "latency"]
SETTINGS: tuple[Setting, ...] = ("metrics", "router", "plain", "latency")
SEEDS = range(2, 14)
SYNC_S = 0.2
START = datetime(2030, 1, 1, tzinfo=UTC)
PROMPT_TOKENS = 12


@dataclass(order=True)
class Event:
    at: float
    n: int
    callback: Callable[..., Any] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class Timeline:
    """A clock that jumps from one event to the next."""

    def __init__(self) -> None:
        self._now = 0.0
        self._events: list[Event] = []
        self._number = count()

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., Any], /) -> Event:
        event = Event(self._now + delay, next(self._number), callback)
        heapq.heappush(self._events, event)
        return event

    def run(self, end: float) -> None:
        while self._events and self._events[0].at <= end:
            event = heapq.heappop(self._events)
            if not event.cancelled:
                self._now = event.at
                event.callback()


@dataclass(kw_only=True)
class Played:
    ttft_s: list[float] = field(default_factory=list)  # of the users after the first pair of waves
    users_s: float = 0.0  # slot seconds, as all that follow
    useful_s: float = 0.0
    wasted_s: float = 0.0
    capacity_s: float
    refused: int = 0
    aborted: int = 0

    @property
    def progress(self) -> float:
        return self.useful_s / (self.capacity_s - self.users_s)


def config(tpot_ms: float = TPOT_MS) -> SimulatorConfig:
    """How the engine behaves."""
    return SimulatorConfig(slots=SLOTS, ttft_ms=TTFT_MS, tpot_ms=tpot_ms, prefill_us_per_token=0.0)


@dataclass(kw_only=True)
class Executor:
    """One of those that share the limit; its last report is what others know of it."""

    lent: int = 0  # a rise of the limit is lent with the sync after it
    calls: dict[int, tuple[float, SimulatedGeneration]] = field(
        default_factory=dict
    )  # with the time that each was sent
    done: int = 0
    seen: PoolObservation = field(default_factory=PoolObservation)  # since the last report
    slot_time: PreemptionBudget = field(default_factory=PreemptionBudget)
    told_calls: int = 0
    told_slots: int = 0
    told_done: int = 0


class Model:
    """The first of ``executors`` monitors the engine."""

    def __init__(self, scene: Scene, setting: Setting, *, executors: int = 1) -> None:
        self.played = Played(capacity_s=SLOTS * (scene.end_s - scene.warm_s))
        self._scene = scene
        self._setting = setting
        self._time = Timeline()
        self._engine = SimulatedEngine(config(), self._time)
        self._limits, self._watching = LimitSettings(), EngineMonitorSettings()
        self._state = initial(self._limits)
        self._fit, self._usual, self._queue = (
            CapacityEstimate(),
            TtftBaseline(),
            ProbeDelayClassifier(),
        )
        self._news: MonitorSignal | None = None
        self._seen = PoolObservation()  # reported since the last fold
        self._executors = [Executor() for _ in range(executors)]
        self._others = NO_OTHERS  # as the first executor counts them
        self._lines: Iterator[dict[str, Any]] = cycle(lines(scene))  # aborted ones come again
        self._number = count()

    def play(self) -> Played:
        scene, at = self._scene, self._time.call_later
        for user in users(scene.plan(), mean_tokens=tokens(scene.user_s), seed=scene.seed):
            at(user.at, lambda made=user.tokens: self._user(made))
        if self._setting != "alone":
            for n, executor in enumerate(self._executors):
                at(n * SYNC_S / len(self._executors), partial(self._sync, executor))
        if self._setting == "metrics":
            at(0.0, self._read)
        elif self._setting in ("router", "plain"):
            at(0.0, self._probe)
        self._time.run(scene.end_s)
        for executor in self._executors:
            for _, generation in executor.calls.values():
                if generation.running:
                    self.played.useful_s += self._counted(_begun(generation))
        return self.played

    def _user(self, made: int) -> None:
        arrived = self._time.time()
        begun: list[float] = []

        def started() -> None:
            begun.append(self._time.time())
            if arrived >= self._scene.warm_s:
                self.played.ttft_s.append(begun[0] - arrived + TTFT_MS / 1000)

        def done() -> None:
            self.played.users_s += self._counted(begun[0])

        self._engine.submit(_generation(made, started, done))

    def _counted(self, since: float) -> float:
        """Slot seconds from then on that are measured."""
        return max(0.0, self._time.time() - max(since, self._scene.warm_s))

    def _call(self, executor: Executor, made: int) -> None:
        number, sent = next(self._number), self._time.time()
        begun: list[float] = []

        def done() -> None:
            del executor.calls[number]
            executor.done += 1
            took = self._time.time() - sent
            self.played.useful_s += self._counted(begun[0])
            executor.slot_time = executor.slot_time.used(took)
            executor.seen += PoolObservation(
                successes=1, busy_ms=round(1000 * took), work=round(work_units(PROMPT_TOKENS, made))
            )
            self._fill(executor)

        generation = _generation(made, lambda: begun.append(self._time.time()), done)
        executor.calls[number] = sent, generation
        self._engine.submit(generation)

    def _fill(self, executor: Executor) -> None:
        while len(executor.calls) < executor.lent:
            full = self._engine.running + self._engine.waiting >= SLOTS
            if self._setting == "router" and full:
                self.played.refused += 1
                executor.seen += PoolObservation(dropped=1)
                executor.lent -= 1
            else:
                self._call(executor, next(self._lines)["body"]["max_tokens"])

    def _sync(self, executor: Executor) -> None:
        self._look(executor)
        self._time.call_later(SYNC_S, partial(self._sync, executor))

    def _look(self, executor: Executor) -> None:
        """A sync of the slots: there is always more work than slots, so shares are equal."""
        before = slots(self._state)
        now = START + timedelta(seconds=self._time.time())
        others = [one for one in self._executors if one is not executor]
        executor.told_calls, executor.told_done = len(executor.calls), executor.done
        record = sum(one.told_slots for one in others)
        executor.told_slots = max(len(executor.calls), self._grant(executor, before - record))
        watched = self._setting != "latency"
        seen = self._seen + executor.seen
        seen += PoolObservation(
            signal=self._news if executor is self._executors[0] else None,
            in_flight=sum(one.told_calls for one in self._executors),
            slots=sum(one.told_slots for one in self._executors),
            watched=watched,
        )
        self._state = fold(self._state, seen, self._limits, now)
        self._seen, executor.seen = PoolObservation(), PoolObservation()
        executor.lent = self._grant(executor, min(before, slots(self._state)) - record)
        if executor is self._executors[0]:
            self._news = None
            self._others = OtherExecutorCalls(
                running=sum(one.told_calls for one in others),
                most=max(record, slots(self._state) - executor.told_slots) if others else 0,
                ended=sum(one.told_done for one in others),
                reported_after=self._time.time() - SYNC_S,
            )
        if self._state.aborts(now):
            share = self._share(executor, slots(self._state))
            self._abort(executor, len(executor.calls) - share)
        self._fill(executor)

    def _grant(self, executor: Executor, left: int) -> int:
        """What an executor gets of what the others leave: its share at most."""
        return max(0, min(left, self._share(executor, slots(self._state))))

    def _share(self, executor: Executor, limit: int) -> int:
        rest = self._executors.index(executor) < limit % len(self._executors)
        return limit // len(self._executors) + rest

    def _abort(self, executor: Executor, excess: int) -> None:
        youngest = sorted(executor.calls.items(), key=lambda item: -item[1][0])
        for number, (sent, generation) in youngest[: max(0, excess)]:
            age = self._time.time() - sent
            if not executor.slot_time.affords(age, EngineMonitorSettings().abort_share):
                return
            executor.slot_time = executor.slot_time.wasted(age)
            self.played.aborted += 1
            if generation.running:
                self.played.wasted_s += self._counted(_begun(generation))
            del executor.calls[number]
            self._engine.abort(generation)

    def _own(self) -> ExecutorCalls:
        """Calls of all executors, as the first one knows them."""
        first = self._executors[0]
        return ExecutorCalls(running=len(first.calls), ended=first.done, others=self._others)

    def _say(self, signal: MonitorSignal) -> None:
        self._news = signal
        if signal.room is not None and signal.room < 0:
            self._look(self._executors[0])

    def _read(self) -> None:
        reading = EngineReading(running=self._engine.running, waiting=self._engine.waiting)
        self._fit = self._fit.after(reading, timedelta(seconds=SYNC_S))
        signal = engine_signal(reading, timedelta(0), self._fit, self._watching)
        if reading.running + reading.waiting <= self._own().most:
            signal = replace(signal, users_wait=False)
        self._say(signal)
        self._time.call_later(SYNC_S, self._read)

    def _probe(self) -> None:
        sent, usual = self._time.time(), self._usual.ttft
        answered: list[bool] = []
        looks = count(1)
        self._queue.sent(sent, self._own())

        def late() -> None:
            if not answered:
                open_for = timedelta(seconds=self._time.time() - sent)
                self._say_late(open_for, next(looks))
                self._time.call_later(SYNC_S, late)

        def done() -> None:
            answered.append(True)
            took = self._time.time() - sent
            self._say_answered(timedelta(seconds=took))
            pause = max(0.0, EngineMonitorSettings().probe_interval_s - took)
            self._time.call_later(pause, self._probe)

        patience = (usual or timedelta(seconds=60)) + self._watching.probe_wait
        self._time.call_later(patience.total_seconds() + 0.005, late)
        self._engine.submit(_generation(1, None, done))

    def _say_late(self, open_for: timedelta, looks: int) -> None:
        usual, rules, at = self._usual.ttft, self._watching, self._time.time()
        signal = probe_signal(ttft=None, open_for=open_for, looks=looks, usual=usual, rules=rules)
        self._say(self._queue.late(signal, looks, at, self._own(), usual, rules.probe_wait))

    def _say_answered(self, ttft: timedelta) -> None:
        usual, rules, at = self._usual.ttft, self._watching, self._time.time()
        self._usual.add(at, ttft)
        signal = probe_signal(ttft=ttft, open_for=None, usual=self._usual.ttft, rules=rules)
        in_time = usual is None or ttft <= usual + rules.probe_wait
        self._say(self._queue.answered(signal, at, self._own(), in_time=in_time))


def _generation(
    made: int, started: Callable[[], None] | None, done: Callable[[], None]
) -> SimulatedGeneration:
    return SimulatedGeneration(
        prompt_tokens=PROMPT_TOKENS, blocks=(), output_tokens=made, started=started, done=done
    )


def _begun(generation: SimulatedGeneration) -> float:
    """When it got its slot."""
    return generation.first_token_at - TTFT_MS / 1000


def main() -> None:
    for setting in SETTINGS:
        found = []
        for seed in SEEDS:
            alone = percentile(Model(Scene(seed=seed), "alone").play().ttft_s, 0.99)
            played = Model(Scene(seed=seed), setting).play()
            found.append((percentile(played.ttft_s, 0.99) / alone, played))
        print(
            f"{setting:8} ratio {mean(ratio for ratio, _ in found):6.2f}  "
            f"progress {mean(one.progress for _, one in found):.2f}  "
            f"lost {mean(one.wasted_s / one.capacity_s for _, one in found):.3f}  "
            + " ".join(f"{ratio:.2f}/{one.progress:.2f}" for ratio, one in found)
        )


if __name__ == "__main__":
    main()
