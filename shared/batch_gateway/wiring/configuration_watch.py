"""Detects that this process runs on an old configuration, and ends its work.

Pods of two configurations are at work at once while settings or Secrets change. Each process
announces its configuration when it starts; so the newest announcement is the present configuration.
A process that reads another one gives way within a minute, also when it is busy:

- The function has a newer revision: requests go there. This process ends its work and calls for a
  successor (``superseded``), as the janitor does between two sweeps.
- The revision is the same, so its ConfigMap or Secret has changed: the process stops,
  as SIGTERM does, and Kubernetes starts the container again, which then reads the new values. An
  executor stops when no activation is running, since calls that it cut would be made twice. A
  process of the API stops when no request is open, and one process at a time.
- A store does not answer (any more): the new configuration may have another password for it. This
  process can neither finish its work nor hand it over, and stops at once, whatever it is doing.

Announcements are digests, keyed with the signing keys. The coordination store has them. It may
be emptied at any moment: then no process gives way until the next one starts.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from batch_gateway.core.errors import BatchGatewayError
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.settings import Settings
from batch_gateway.web.probes import Ready, is_probe

logger = logging.getLogger(__name__)

_SIGHTS = 2  # how often another configuration must be seen: pods may start in any order
#: How long a process of the API has for its new start before the next one stops.
TURN = timedelta(seconds=30)
#: What is open there is not cut.
_STOPS_WHEN_IDLE = ("api", "executor")

#: What all functions must have in common, as an announcement of no function in particular.
_SHARED = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningConfiguration:
    """What a process runs on: the number of its revision, and digests of its settings."""

    function: str
    generation: int  # of the revision; 0: not on Knative
    settings: str
    signing_keys: str

    @property
    def announcements(self) -> dict[str, str]:
        return {self.function: f"{self.generation}:{self.settings}", _SHARED: self.signing_keys}


def configuration(function: str, settings: Settings, revision: str) -> RunningConfiguration:
    """``revision``: as in K_REVISION; Knative numbers the revisions of a Service."""
    number = revision.rpartition("-")[2]
    keys = settings.events.signing_keys.get_secret_value()
    values = _revealed(settings).encode()
    return RunningConfiguration(
        function=function,
        generation=int(number) if number.isdecimal() else 0,
        settings=_digest(keys, values),
        signing_keys=_digest(keys, b"signing keys"),
    )


def _revealed(settings: Settings) -> str:
    """All values, secrets included."""

    def plain(value: object) -> str:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    return json.dumps(settings.model_dump(), default=plain, sort_keys=True)


def _digest(key: str, content: bytes) -> str:
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()[:32]


class ConfigurationWatch:
    def __init__(
        self,
        coordination: CoordinationStore,
        own: RunningConfiguration,
        *,
        superseded: asyncio.Event,
        ready: Ready,
        look_s: float,
        turn: timedelta = TURN,
        stop: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
    ) -> None:
        """``superseded`` is set when this process must give way; ``ready`` raises when a store
        does not answer; ``look_s`` is the pause between two readings of the announcements;
        ``stop`` ends the process once its requests are answered.
        """
        self._coordination = coordination
        self._own = own
        self._ready = ready
        self._look_s = look_s
        self._turn = turn
        self._stop = stop
        self._me = secrets.token_hex(8)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._superseded = superseded
        self._stops = False  # this revision's processes are not replaced by the platform
        self._asked = False  # to stop

    def counting(self, app: ASGIApp) -> ASGIApp:
        """``app``, whose open requests are counted, probes excepted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or is_probe(scope):
                await app(scope, receive, send)
                return
            self._in_flight += 1
            self._idle.clear()
            try:
                await app(scope, receive, send)
            finally:
                self._in_flight -= 1
                if not self._in_flight:
                    self._idle.set()

        return counted

    async def run(self) -> None:
        """Announce the configuration, then look for newer ones, until cancelled. Never raises."""
        sights, announced = 0, False
        while True:
            try:
                if not announced:
                    await self._announce()
                    announced = True
                sights = sights + 1 if await self._is_old() else 0
                if sights >= _SIGHTS:
                    await self._give_way()
            except BatchGatewayError as error:
                logger.info("Configurations not compared: %s", error, extra={"action": "watch"})
            except Exception:  # it would end the function
                logger.exception("Configurations not compared", extra={"action": "watch"})
            await asyncio.sleep(self._look_s)

    async def _announce(self) -> None:
        newest = await self._coordination.announced(self._own.function)
        if newest is not None and _generation(newest) > self._own.generation:
            return  # a pod of an old revision that starts late
        for name, value in self._own.announcements.items():
            await self._coordination.announce(name, value)

    async def _is_old(self) -> bool:
        self._stops = True
        old = False
        for name, value in self._own.announcements.items():
            newest = await self._coordination.announced(name)
            if newest is None or newest == value or _generation(newest) < _generation(value):
                continue
            old = True
            if _generation(newest) > _generation(value):
                self._stops = False  # the platform stops this revision's pods when they are idle
        return old

    async def _give_way(self) -> None:
        if not self._superseded.is_set():
            said = "The settings have changed since this process has read them"
            logger.warning(said, extra={"action": "give_way", "function": self._own.function})
            self._superseded.set()
        if self._asked:
            return
        if await self._is_useless() or (self._stops and await self._may_stop()):
            self._asked = True
            self._stop()

    async def _is_useless(self) -> bool:
        try:
            await self._ready()
        except BatchGatewayError as error:
            log = {"action": "give_way", "function": self._own.function}
            logger.warning("The old settings are no longer valid: %s", error, extra=log)
            return True
        return False

    async def _may_stop(self) -> bool:
        if self._own.function not in _STOPS_WHEN_IDLE:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_s):
                await self._idle.wait()
        if self._own.function == "api" and self._idle.is_set():
            turn = f"restart:{self._own.function}"
            if not await self._coordination.locks.acquire(turn, self._me, self._turn):
                return False
        return self._idle.is_set()


def _generation(announced: str) -> int:
    """The number of the revision; 0 for what is shared."""
    number, colon, _ = announced.partition(":")
    return int(number) if colon and number.isdecimal() else 0
