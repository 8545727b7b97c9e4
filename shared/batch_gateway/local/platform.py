"""The embedded platform as one object: start, inspect, inject faults, stop.

All of it runs in one process and ends with it, in a task of its own, so entering and leaving
may be done by different tasks, as test fixtures do.
"""

import asyncio
import signal
from pathlib import Path
from types import TracebackType

import msgspec

from batch_gateway.local.broker.faults import BrokerFaults
from batch_gateway.local.components import PlatformComponents
from batch_gateway.local.configuration import Groups
from batch_gateway.local.data import data_folder
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.options import PlatformOptions
from batch_gateway.local.processes import ChildProcess
from batch_gateway.local.replica import ReplicaState
from batch_gateway.settings import Settings

__all__ = ["BrokerFaults", "LocalPlatform", "PlatformError", "PlatformOptions", "ReplicaState"]


class LocalPlatform:
    """``async with Platform(options) as platform``: ready inside, gone afterwards."""

    data: Path
    """The folder that it runs on."""

    def __init__(self, options: PlatformOptions) -> None:
        self._options = options
        self._stop_asked = asyncio.Event()
        self._started = asyncio.Event()
        self._main: asyncio.Task[None]
        self._machine: PlatformComponents

    # -- its life -----------------------------------------------------------------------------

    async def __aenter__(self) -> "LocalPlatform":
        """Start everything. Raises PlatformError."""
        self._main = asyncio.create_task(self._run())
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait({self._main, started}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait({self._main})
            raise
        finally:
            started.cancel()
        if self._main.done():
            self._main.result()
            raise PlatformError("stopped while it was starting")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        await self.stopped()

    def stop(self) -> None:
        """Request a stop; a second request ends the wait for the functions."""
        if self._stop_asked.is_set() and hasattr(self, "_machine"):
            for name in self._machine.revisions:
                for child in self._children(name):
                    child.signal(signal.SIGKILL)
        self._stop_asked.set()

    async def stopped(self) -> None:
        """Wait until everything has ended; raises what brought it down, if anything did."""
        await asyncio.shield(self._main)

    async def _run(self) -> None:
        failure: BaseException | None = None
        with data_folder(self._options.data) as self.data:
            async with asyncio.TaskGroup() as tasks:
                try:
                    self._machine = PlatformComponents(self._options, self.data, tasks)
                    await self._start_unless_stopped()
                    await self._stop_asked.wait()
                except PlatformError as error:
                    failure = error  # raised later: a group would wrap it
                finally:
                    if hasattr(self, "_machine"):
                        await self._machine.shut_down()
        if failure is not None:
            raise failure

    async def _start_unless_stopped(self) -> None:
        """Start the machine, or give up starting it when asked to stop. Raises PlatformError."""
        starting = asyncio.create_task(self._machine.start())
        stop_asked = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({starting, stop_asked}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._started.set()
        finally:
            starting.cancel()
            stop_asked.cancel()
            await asyncio.wait({starting, stop_asked})

    # -- what it is like ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the public Service is reached, without a path."""
        return self._machine.url

    @property
    def base_url(self) -> str:
        """What OpenAI's clients call the base URL."""
        return f"{self.url}/v1"

    @property
    def console_url(self) -> str | None:
        """Where browsers find the web console; None: it is switched off."""
        return self._machine.console_url

    @property
    def settings(self) -> Settings:
        """Those that the functions read when they start."""
        return self._machine.effective

    @property
    def internal_url(self) -> str:
        """Where every Service is reached, by its cluster-local name in the Host header."""
        return self._machine.internal_url

    @property
    def scratch_url(self) -> str:
        """The functions' coordination store, which may be emptied at any moment."""
        return self._machine.scratch_url

    @property
    def broker_url(self) -> str:
        """Where the one Broker takes events in."""
        (url,) = self._machine.broker_urls.values()
        return url

    @property
    def broker_urls(self) -> list[str]:
        """Where each Broker takes events in."""
        return list(self._machine.broker_urls.values())

    @property
    def services(self) -> list[str]:
        """The names of all Services."""
        return list(self._machine.revisions)

    def host(self, service: str) -> str:
        """The cluster-local name of a Service."""
        return self._machine.revisions[service].service.host

    def pids(self, service: str) -> list[int]:
        """The processes of a Service, those that start or stop included; empty at zero."""
        return [child.pid for child in self._children(service)]

    def ports(self, service: str) -> list[int]:
        """Where the processes of a Service listen on the loopback interface."""
        replicas = self._machine.replicas(service)
        return [replica.port for replica in replicas if replica.child is not None]

    def states(self, service: str) -> dict[int, tuple[ReplicaState, int]]:
        """What each process of a Service is at, and its requests in flight, by its pid."""
        replicas = self._machine.replicas(service)
        return {
            one.child.pid: (one.state, one.in_flight) for one in replicas if one.child is not None
        }

    def latest_revision(self, service: str) -> str:
        """The name of the newest revision of a Service."""
        return self._machine.latest_revision(service)

    async def warm(self, service: str) -> None:
        """Start one process of a Service and wait until it is ready, as a first request would.

        Raises StartFailed.
        """
        await self._machine.revisions[service].warm()

    async def reconfigure(self, settings: Groups, *, roll: bool = True) -> None:
        """Change settings while it runs. ``roll``: with new revisions of the functions that read
        them, which get all requests on return; else only replicas that start from now on read
        them. Raises StartFailed.
        """
        await self._machine.reconfigure(settings, roll=roll)

    # -- trouble, for tests -------------------------------------------------------------------

    def kill(self, service: str) -> int:
        """SIGKILL the busiest process of a Service; returns its pid. Raises LookupError at zero."""
        return self._strike(service, signal.SIGKILL)

    def terminate(self, service: str) -> int:
        """SIGTERM the busiest process of a Service, as a scale-down on a cluster may do."""
        return self._strike(service, signal.SIGTERM)

    async def kill_broker(self) -> int:
        """SIGKILL the broker, which is then started again; returns the pid that it had."""
        broker = self._machine.broker
        if broker is None or broker.child is None:
            raise LookupError("the manifests have no Broker")
        child = broker.child
        child.signal(signal.SIGKILL)
        await child.wait()
        return child.pid

    async def set_faults(self, faults: BrokerFaults) -> None:
        """Have the broker trouble the events that it accepts from now on."""
        import httpx  # for tests only

        origin = httpx.URL(self.broker_url).copy_with(path="/faults")
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.put(origin, content=msgspec.json.encode(faults))
            answer.raise_for_status()

    def _strike(self, service: str, number: signal.Signals) -> int:
        replicas = self._machine.replicas(service)
        busiest = max(replicas, key=lambda replica: replica.in_flight, default=None)
        if busiest is None or busiest.child is None:
            raise LookupError(f"{service} has no process")
        busiest.child.signal(number)
        return busiest.child.pid

    def _children(self, service: str) -> list[ChildProcess]:
        replicas = self._machine.replicas(service)
        return [replica.child for replica in replicas if replica.child is not None]
