"""A first installation: starts Services in the order in which a cluster gets ready.

- A Service starts one replica (``initial-scale``) of its first revision. It has an address once
  that revision was ready.
- A Broker has an address once its dead letter sink has one; RabbitMQ's class does not wait.
- A SinkBinding waits for its Broker's address, then gives each Service that it selects a second
  revision, which has the address as ``K_SINK``. A first revision that does not become ready without
  ``K_SINK`` is tried again meanwhile.

Circles therefore never end. Unlike on a cluster, events for a Trigger whose subscriber has no
address yet are kept and tried again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from batch_gateway.local.durations import TimeScale
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.replica import StartFailed
from batch_gateway.local.resources import KnativeService, ParsedManifests

_RETRY_S = 1.0  # between the starts of a revision that fails
_THERE = asyncio.Event()  # of what no manifest makes: there is nothing to wait for
_THERE.set()

#: Service, whether its SinkBindings have injected K_SINK -> a revision that was ready and gets the
#: requests now. Raises StartFailed.
StartRevision = Callable[[KnativeService, bool], Awaitable[None]]


class PlatformInstallation:
    def __init__(
        self,
        deployment: ParsedManifests,
        durations: TimeScale,
        *,
        start_revision: StartRevision,
        start_broker: Callable[[], Awaitable[None]],
    ) -> None:
        """``start_broker`` opens the port that all Brokers share."""
        self._deployment = deployment
        self._durations = durations
        self._start_revision = start_revision
        self._start_broker = start_broker
        self._addressable = {service.name: asyncio.Event() for service in deployment.services}
        self._brokers = {broker.name: asyncio.Event() for broker in deployment.brokers}
        self._failures: dict[str, StartFailed] = {}

    async def converge(self, patience_s: float) -> None:
        """Return when everything is ready. Raises PlatformError after ``patience_s``."""
        try:
            async with asyncio.timeout(patience_s), asyncio.TaskGroup() as tasks:
                for service in self._deployment.services:
                    tasks.create_task(self._install(service))
                tasks.create_task(self._install_brokers())
        except TimeoutError:
            raise PlatformError(f"the installation does not converge: {self._waiting()}") from None

    async def _install(self, service: KnativeService) -> None:
        binding = next((b for b in self._deployment.bindings if b.selects(service)), None)
        bound = None if binding is None else self._brokers.get(binding.sink.name, _THERE)
        await self._until_ready(service, bound)
        if bound is not None:
            await bound.wait()
            await self._start(service, bound=True)

    async def _until_ready(self, service: KnativeService, bound: asyncio.Event | None) -> None:
        """Start the first revision again and again until it is ready, or until K_SINK is there."""
        while not await self._start(service, bound=False):
            if bound is None:
                await asyncio.sleep(self._durations(_RETRY_S))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._durations(_RETRY_S)):
                    await bound.wait()
            if bound.is_set():
                return

    async def _start(self, service: KnativeService, *, bound: bool) -> bool:
        try:
            await self._start_revision(service, bound)
        except StartFailed as failure:
            self._failures[service.name] = failure
            return False
        self._failures.pop(service.name, None)
        self._addressable[service.name].set()
        return True

    async def _install_brokers(self) -> None:
        for broker in self._deployment.brokers:
            sink = broker.dead_letter
            if sink is not None and sink.kind == "Service" and broker.waits_for_dead_letter:
                await self._addressable.get(sink.name, _THERE).wait()
        if self._deployment.brokers:
            await self._start_broker()
        for addressed in self._brokers.values():
            addressed.set()

    def _waiting(self) -> str:
        """What is not there, each with what it waits for."""
        reasons = [f"Service {name}: {failure}" for name, failure in self._failures.items()]
        reasons += [
            f"Broker {broker.name}: its dead letter sink has no address"
            for broker in self._deployment.brokers
            if not self._brokers[broker.name].is_set()
        ]
        return "; ".join(reasons) or "a start takes too long"
