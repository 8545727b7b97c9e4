"""Monitors the engine of one pool, for all executors that have calls there.

The slots choose one activation at a time to monitor a pool. It reads the engine's metrics several
times a second. Where they cannot be read, it sends a one-token request now and then, never more
than one at a time, and measures how long it takes. ``core.engine_signals`` turns either into a
signal, which reaches all executors with the next report to the slots, and at once when slots are to
be given up.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import msgspec

from batch_gateway.core.engine_signals import (
    CapacityEstimate,
    QueueDrain,
    TtftBaseline,
    engine_signal,
    probe_signal,
)
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.limits import MonitorSignal
from batch_gateway.core.own_queue import ExecutorCalls, ProbeDelayClassifier
from batch_gateway.ports.engine_metrics import EngineMetrics
from batch_gateway.ports.model_client import CallFailed, ModelClient
from batch_gateway.ports.routing import ReplicaRoute
from batch_gateway.services.routing import OBJECTIVE
from batch_gateway.services.task_group import task_group
from batch_gateway.settings import EngineMonitorSettings

logger = logging.getLogger(__name__)

_UNREADABLE_S = 0.5  # until metrics that could not be read are tried again; doubles from there
_LONGEST_UNREADABLE_S = 10.0
_GIVE_UP = timedelta(seconds=60)  # a probe that has waited for longer is begun anew
_MARGIN_S = 0.005  # later than allowed, so that a probe just in time is not called late


class EngineMonitor:
    """Monitors until it is cancelled; ``take`` returns what was found."""

    def __init__(
        self,
        route: ReplicaRoute,
        *,
        client: ModelClient,
        metrics: EngineMetrics,
        settings: EngineMonitorSettings,
        urgent: Callable[[], None],
        calls: Callable[[], ExecutorCalls],
    ) -> None:
        """``urgent`` is called when slots are to be given up; ``calls`` counts those of all
        executors in the engine."""
        self._route = route
        self._model = route.replica.model
        self._headers = {n: value for n, value in route.headers.items() if n != OBJECTIVE}
        self._client = client
        self._metrics = metrics
        self._settings = settings
        self._urgent = urgent
        self._calls = calls
        self._ended = calls().all_ended  # as of the last reading
        self._news: MonitorSignal | None = None
        self._fit = CapacityEstimate()
        self._drain = QueueDrain()
        self._usual = TtftBaseline()
        self._own = ProbeDelayClassifier()
        self._readable_at = 0.0  # loop.time() from which on metrics are tried
        self._failures = 0  # to read them, in a row
        self._probes = settings.probe
        self._clock = asyncio.get_running_loop().time

    def take(self) -> MonitorSignal | None:
        """What was found since the last call; None: nothing."""
        news, self._news = self._news, None
        return news

    async def keep(self) -> None:
        """Look again and again until cancelled."""
        read_at = self._clock()
        while True:
            began = self._clock()
            if await self._read(timedelta(seconds=began - read_at)):
                read_at = began
                pause = self._settings.interval_s
            else:
                if self._probes:
                    await self._probe()
                pause = self._settings.probe_interval_s
            await asyncio.sleep(max(0.0, began + pause - self._clock()))

    def _say(self, signal: MonitorSignal) -> None:
        self._news = signal
        if signal.room is not None and signal.room < 0:
            self._urgent()

    async def _read(self, passed: timedelta) -> bool:
        """Look at the metrics ``passed`` after the last time; False: there are none."""
        if not self._settings.metrics or self._clock() < self._readable_at:
            return False
        asked, before = self._clock(), self._calls()
        try:
            reading = await self._metrics.read(
                self._route.endpoint.metrics,
                self._model,
                self._settings.stale,
                self._route.endpoint.tls,
            )
        except Unavailable as error:
            logger.info(
                "Metrics of %s: %s", self._route.pool, error, extra={"action": "unreadable"}
            )
            pause = min(_LONGEST_UNREADABLE_S, _UNREADABLE_S * 2**self._failures)
            self._failures += 1
            self._readable_at = self._clock() + pause
            return False
        self._failures = 0
        after, ended = self._calls(), self._ended
        self._ended = after.all_ended
        self._drain = self._drain.after(after.all_ended - ended, passed)
        brief = self._drain.brief(reading.waiting, self._settings)
        self._fit = self._fit.after(reading, passed, brief=brief)
        age = timedelta(seconds=self._clock() - asked)
        signal = engine_signal(reading, age, self._fit, self._settings, brief=brief)
        if reading.running + reading.waiting <= max(before.most, after.most):
            signal = replace(signal, users_wait=False)  # all requests in the engine are ours
        self._say(signal)
        return True

    async def _probe(self) -> None:
        """Send one probe, and report its duration while it is open and when it is answered."""
        sent = self._clock()
        self._own.sent(sent, self._calls())
        async with task_group() as group:
            call = group.create_task(self._ask())
            patience = (self._usual.ttft or _GIVE_UP) + self._settings.probe_wait
            pause = patience.total_seconds() + _MARGIN_S
            looks = 0
            while not (await asyncio.wait([call], timeout=pause))[0]:
                looks += 1
                self._say(self._late(self._since(sent), looks))
                pause = self._settings.interval_s
        if call.result():
            self._say(self._answered(self._since(sent)))

    def _late(self, open_for: timedelta, looks: int) -> MonitorSignal:
        usual, rules = self._usual.ttft, self._settings
        signal = probe_signal(ttft=None, open_for=open_for, looks=looks, usual=usual, rules=rules)
        return self._own.late(signal, looks, self._clock(), self._calls(), usual, rules.probe_wait)

    def _answered(self, ttft: timedelta) -> MonitorSignal:
        usual, rules = self._usual.ttft, self._settings
        self._usual.add(self._clock(), ttft)
        signal = probe_signal(ttft=ttft, open_for=None, usual=self._usual.ttft, rules=rules)
        in_time = usual is None or ttft <= usual + rules.probe_wait
        return self._own.answered(signal, self._clock(), self._calls(), in_time=in_time)

    async def _ask(self) -> bool:
        """Whether the probe was answered; the pool's calls detect all other faults."""
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": "."}],
            "max_tokens": 1,
        }
        try:
            answer = await self._client.call(
                f"{self._route.endpoint.url}/v1/chat/completions",
                msgspec.json.encode(body),
                {**self._headers, "x-request-id": f"probe-{secrets.token_hex(8)}"},
                _GIVE_UP,
                self._route.endpoint.tls,
            )
        except CallFailed:
            return False
        if answer.status in (400, 404, 405, 422):  # a model that does not chat, for example
            logger.info(
                "%s cannot be probed: it answers %d",
                self._route.pool,
                answer.status,
                extra={"action": "unprobed"},
            )
            self._probes = False
        return answer.status == 200

    def _since(self, began: float) -> timedelta:
        return timedelta(seconds=self._clock() - began)


class EngineMonitors:
    """Makes monitors under one deployment's settings."""

    def __init__(
        self, client: ModelClient, metrics: EngineMetrics, settings: EngineMonitorSettings
    ) -> None:
        self.settings = settings
        self._client = client
        self._metrics = metrics

    def monitor(
        self,
        route: ReplicaRoute,
        *,
        urgent: Callable[[], None],
        calls: Callable[[], ExecutorCalls],
    ) -> EngineMonitor:
        return EngineMonitor(
            route,
            client=self._client,
            metrics=self._metrics,
            settings=self.settings,
            urgent=urgent,
            calls=calls,
        )
