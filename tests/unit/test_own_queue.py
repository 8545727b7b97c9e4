"""A batch alone beside an engine: no call is aborted for a queue that its own calls make, nor
because the engine has become slower."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import cycle
from typing import Any

import pytest
from benchmarks import waves_model
from benchmarks.stage import percentile
from benchmarks.waves import TPOT_MS, Scene

from batch_gateway.core.engine_signals import EngineReading, probe_signal
from batch_gateway.core.limits import Brake, MonitorSignal
from batch_gateway.core.own_queue import ExecutorCalls, OtherExecutorCalls, ProbeDelayClassifier
from batch_gateway.services.execute.engine_monitor import EngineMonitor
from batch_gateway.services.routing import SingleEndpointRouteProvider
from batch_gateway.settings import EngineMonitorSettings, InferenceSettings

USUAL = timedelta(milliseconds=50)
RULES = EngineMonitorSettings()


@pytest.mark.parametrize("setting", ["plain", "router", "metrics", "latency"])
@pytest.mark.parametrize("seconds", [0.06, 1.0, 10.0])
@pytest.mark.parametrize("equal", [False, True], ids=["drawn lengths", "equal lengths"])
@pytest.mark.parametrize("executors", [1, 2, 3])
def test_without_other_traffic_no_line_is_sent_twice(
    monkeypatch, setting, seconds, equal, executors
):
    """Played in virtual time: from the first call on, slow start included. Calls of an executor are
    no user's for another one."""
    scene = Scene(waves=2, wave_s=max(1.5, 3 * seconds), line_s=seconds)
    monkeypatch.setattr(waves_model, "users", lambda *_, **__: [])
    if equal:
        same: list[dict[str, Any]] = [{"body": {"max_tokens": 1 + round(10 * seconds)}}]
        monkeypatch.setattr(waves_model, "lines", lambda _: cycle(same))

    played = waves_model.Model(scene, setting, executors=executors).play()

    assert played.aborted == 0
    assert played.progress > 0.9


def test_without_metrics_and_probes_an_engine_that_gets_slower_aborts_no_call(monkeypatch):
    """As a machine does that is busy with something else for a while."""
    monkeypatch.setattr(waves_model, "users", lambda *_, **__: [])
    model = waves_model.Model(Scene(waves=2, wave_s=30), "latency")
    for at_s, times in ((40.0, 4), (70.0, 1), (100.0, 3)):
        slower = waves_model.config(tpot_ms=times * TPOT_MS)
        model._time.call_later(at_s, partial(model._engine.configure, slower))

    played = model.play()

    assert model._state.last_brake is Brake.LATENCY
    assert played.aborted == 0


@pytest.mark.parametrize("setting", ["plain", "router", "metrics"])
@pytest.mark.parametrize("executors", [1, 2])
def test_when_users_come_calls_are_aborted_for_them(setting, executors):
    played = waves_model.Model(Scene(waves=2, wave_s=30), setting, executors=executors).play()

    assert played.aborted > 0
    assert percentile(played.ttft_s, 0.99) < 2


@pytest.mark.parametrize(
    ("setting", "seed", "most"),
    [("metrics", 3, 1.10), ("router", 4, 1.15), ("plain", 4, 1.25), ("plain", 3, 1.25)],
)
def test_users_wait_hardly_longer_beside_a_batch(setting, seed, most):
    """The seeds of F13's model that come nearest to its marks."""
    alone = percentile(waves_model.Model(Scene(seed=seed), "alone").play().ttft_s, 0.99)

    played = waves_model.Model(Scene(seed=seed), setting).play()

    assert percentile(played.ttft_s, 0.99) / alone <= most
    assert played.progress > 0.75


@pytest.mark.parametrize(("before", "users_wait"), [(6, False), (5, True)])
async def test_a_call_that_ends_while_metrics_are_read_is_no_user(before, users_wait):
    calls = [before, 5]  # before the metrics were read and afterwards

    class Metrics:
        async def read(self, *_: Any) -> EngineReading:
            calls.pop(0)
            return EngineReading(running=4, waiting=2)

    nothing: Any = None
    monitor = EngineMonitor(
        SingleEndpointRouteProvider(InferenceSettings(url="http://engine")).routes("m")[0],
        client=nothing,
        metrics=Metrics(),
        settings=RULES,
        urgent=lambda: None,
        calls=lambda: ExecutorCalls(running=calls[0], ended=0),
    )

    assert await monitor._read(timedelta(seconds=0.2))
    told = monitor.take()

    assert told is not None
    assert told.users_wait == users_wait


def late(own: ProbeDelayClassifier, at: float, running: int, ended: int, *, looks: int = 1) -> Any:
    signal = probe_signal(
        ttft=None, open_for=timedelta(seconds=1), looks=looks, usual=USUAL, rules=RULES
    )
    assert signal.users_wait
    return own.late(
        signal, looks, at, ExecutorCalls(running=running, ended=ended), USUAL, RULES.probe_wait
    )


@pytest.fixture
def own() -> ProbeDelayClassifier:
    """32 requests are known to fit."""
    own = ProbeDelayClassifier()
    own.sent(0.0, ExecutorCalls(running=31, ended=100))
    signal = probe_signal(ttft=USUAL, open_for=None, usual=USUAL, rules=RULES)
    own.answered(signal, 10.0, ExecutorCalls(running=31, ended=100), in_time=True)
    assert own.fits == 32
    return own


def test_a_probe_that_waits_beside_fewer_calls_than_fit_waits_for_users(own):
    own.sent(0.0, ExecutorCalls(running=31, ended=100))

    assert late(own, 11.0, 31, 100).users_wait


def test_a_probe_that_waits_behind_our_own_calls_lowers_the_limit_alone(own):
    own.sent(0.0, ExecutorCalls(running=34, ended=100))

    first = late(own, 11.0, 34, 100)
    second = late(own, 11.2, 34, 101, looks=2)

    assert (first.users_wait, first.room) == (False, -3)
    assert (second.users_wait, second.room) == (False, 0)


def test_a_probe_that_waits_after_more_calls_have_ended_than_were_too_many_waits_for_users(own):
    own.sent(0.0, ExecutorCalls(running=34, ended=100))

    assert not late(own, 11.0, 31, 103).users_wait  # the fourth may have made room for it
    assert not late(own, 11.2, 30, 104).users_wait  # its answer may be on its way
    assert late(own, 11.4, 30, 104, looks=2).users_wait


def test_more_than_fits_is_tried_now_and_then(own):
    own.sent(0.0, ExecutorCalls(running=33, ended=100))
    late(own, 11.0, 33, 100)
    signal = probe_signal(ttft=USUAL, open_for=None, usual=USUAL, rules=RULES)

    def room(at: float, running: int) -> int | None:
        own.sent(0.0, ExecutorCalls(running=running, ended=200))
        return own.answered(
            signal, at, ExecutorCalls(running=running, ended=200), in_time=False
        ).room

    assert room(12.0, 30) == 1  # fewer than fit
    assert room(12.0, 31) == 0
    assert room(22.0, 31) == 1


def test_while_calls_end_quickly_one_more_is_always_tried(own):
    own.sent(0.0, ExecutorCalls(running=200, ended=100))
    signal = probe_signal(ttft=USUAL, open_for=None, usual=USUAL, rules=RULES)

    assert own.answered(signal, 11.0, ExecutorCalls(running=200, ended=150), in_time=True).room == 1


def test_what_was_seen_long_ago_is_forgotten(own):
    own.sent(0.0, ExecutorCalls(running=20, ended=100))
    signal = probe_signal(ttft=USUAL, open_for=None, usual=USUAL, rules=RULES)
    own.answered(signal, 400.0, ExecutorCalls(running=20, ended=100), in_time=True)

    assert own.fits == 21


def beside(others: OtherExecutorCalls, running: int = 16, ended: int = 0) -> ExecutorCalls:
    return ExecutorCalls(running=running, ended=ended, others=others)


def test_calls_of_other_executors_fit_when_all_have_reported_since():
    own = ProbeDelayClassifier()
    in_time = probe_signal(ttft=USUAL, open_for=None, usual=USUAL, rules=RULES)
    others = OtherExecutorCalls(running=16, most=16, reported_after=9.5)
    own.sent(10.0, beside(others))
    own.answered(in_time, 10.1, beside(others), in_time=True)
    fewer = replace(others, most=10)

    own.sent(10.2, beside(fewer))
    early = own.late(waiting(), 1, 10.4, beside(fewer), USUAL, RULES.probe_wait)
    own.sent(10.6, beside(replace(fewer, reported_after=10.1)))
    proven = own.late(waiting(), 1, 10.8, beside(fewer), USUAL, RULES.probe_wait)

    assert own.fits == 33
    assert not early.users_wait  # nothing is proven yet
    assert proven.users_wait  # beside 26 calls at most, where 33 fit


def test_a_call_of_another_executor_that_ended_before_it_was_reported_proves_nothing():
    own = ProbeDelayClassifier()
    in_time = probe_signal(ttft=USUAL, open_for=None, usual=USUAL, rules=RULES)
    others = OtherExecutorCalls(running=16, most=16, reported_after=9.5)
    own.sent(10.0, beside(others))
    own.answered(in_time, 10.1, beside(others), in_time=True)

    known = OtherExecutorCalls(
        running=6, most=6, reported_after=10.2
    )  # ten had ended before the probe
    own.sent(10.6, beside(known, running=20))

    assert not own.late(
        waiting(), 1, 10.8, beside(known, running=20), USUAL, RULES.probe_wait
    ).users_wait


def test_calls_of_other_executors_that_may_run_unreported_are_no_users():
    own = ProbeDelayClassifier()
    in_time = probe_signal(ttft=USUAL, open_for=None, usual=USUAL, rules=RULES)
    own.sent(10.0, ExecutorCalls(running=31, ended=0))
    own.answered(in_time, 10.1, ExecutorCalls(running=31, ended=0), in_time=True)
    joined = OtherExecutorCalls(running=0, most=16, reported_after=10.0)

    own.sent(11.0, beside(joined))

    assert not own.late(waiting(), 1, 11.2, beside(joined), USUAL, RULES.probe_wait).users_wait


def waiting() -> MonitorSignal:
    return probe_signal(ttft=None, open_for=timedelta(seconds=1), looks=1, usual=USUAL, rules=RULES)
