"""The components of the embedded platform: starts them in order, and stops them in reverse order.

    client -> activator -> function processes          (one public port)
    function -> broker -> activator -> function        (events, loopback only)
    timer -> activator -> janitor

Starting goes from the servers outward. At the end functions are stopped first, while broker and
stores still run when they exit.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from batch_gateway.local import budgets, configuration, manifests
from batch_gateway.local.activator import Activator
from batch_gateway.local.addresses import PlatformAddresses
from batch_gateway.local.disk_space import watch_disk_space
from batch_gateway.local.durations import TimeScale
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.forked import ForkServer
from batch_gateway.local.installation import PlatformInstallation
from batch_gateway.local.metrics_targets import MetricsTargets
from batch_gateway.local.options import PlatformOptions
from batch_gateway.local.ping_source import PingTimer
from batch_gateway.local.ports import ReservedPort
from batch_gateway.local.processes import (
    ChildProcess,
    ProcessCommand,
    SupervisedProcess,
    listening,
    processor_cores,
)
from batch_gateway.local.replica import FunctionReplica, ReplicaState, StartFailed
from batch_gateway.local.resources import KnativeService
from batch_gateway.local.revision import Revision
from batch_gateway.local.servers import ValkeyServer
from batch_gateway.settings import Settings, reads_variable

_FUNCTIONS = "batch_gateway.web.serve"  # the module that serves each of them


class PlatformComponents:
    """Everything that runs on the folder ``data``; its tasks belong to ``tasks``.

    The constructor reads and checks, ``start`` starts. Both raise PlatformError.
    """

    def __init__(self, options: PlatformOptions, data: Path, tasks: asyncio.TaskGroup) -> None:
        self._options = options
        self._data = data
        self._tasks = tasks
        self._durations = TimeScale(speed_up=options.speed_up)
        self._root = options.root or manifests.deployment_root()
        self._deployment = manifests.load(self._root, options.triggers)
        #: Whether functions of this package run, for which the fork server imports what they need.
        self._runs_functions = any(
            _FUNCTIONS in service.command for service in self._deployment.services
        )
        self._had_run = any((data / "broker").iterdir())
        self._coordination = ValkeyServer(
            "valkey", data / "run", self._log("valkey"), durable=False
        )
        self._events = ValkeyServer(
            "broker-valkey", data / "broker", self._log("broker-valkey"), durable=True
        )
        self._simulator_port = ReservedPort() if options.simulator else None
        self.effective: Settings  # what the functions read when they start
        self._settings = self._resolved_settings()
        self._supervised: list[SupervisedProcess] = []
        self._fork_server = ForkServer(self._log("fork-server"))
        self._background: list[asyncio.Task[None]] = []
        self._addresses: PlatformAddresses
        self.broker: SupervisedProcess | None = None  # None: the manifests have no Broker
        self._broker_port = None if options.broker_port else ReservedPort()
        self._generations: dict[str, int] = {}
        self.revisions = {
            service.name: self._new_revision(service, bound=not options.first_install)
            for service in self._deployment.services
        }
        self._retired: list[Revision] = []
        self._metrics_targets = MetricsTargets(data / "run")
        self._activator = Activator(self.revisions, tasks)
        self.url = ""
        self.internal_url = ""

    @property
    def scratch_url(self) -> str:
        return self._coordination.url

    @property
    def broker_port(self) -> int:
        """Where the broker listens, and takes in the events of all Brokers."""
        chosen = self._broker_port
        return self._options.broker_port if chosen is None else chosen.number

    @property
    def console_url(self) -> str | None:
        """Where the web console is served; None: it is switched off."""
        return f"{self.url}/console/" if self.effective.api.console else None

    @property
    def broker_urls(self) -> Mapping[str, str]:
        """The ingress of each Broker, by its name."""
        return {
            broker.name: f"http://127.0.0.1:{self.broker_port}/{broker.namespace}/{broker.name}"
            for broker in self._deployment.brokers
        }

    # -- start --------------------------------------------------------------------------------

    async def start(self) -> None:
        options = self._options
        internal_port = await self._activator.listen_internally()
        self.internal_url = f"http://127.0.0.1:{internal_port}"
        self._addresses = PlatformAddresses(
            self._deployment, internal_port=internal_port, broker_port=self.broker_port
        )
        port = await self._activator.listen_publicly(options.host, options.port)
        host = f"[{options.host}]" if ":" in options.host else options.host
        self.url = f"http://{host}:{port}"
        await self._supervise(self._coordination.server)
        if options.first_install:
            await _together(self._install(), self._start_simulator())
        else:
            for revision in self.revisions.values():
                revision.was_ready = True
            await _together(self._start_broker(), self._start_simulator(), self._warm())
        for revision in self.revisions.values():
            revision.start_least()
        self._start_pings()
        self._background.append(self._tasks.create_task(watch_disk_space(self._data)))
        (self._data / "run" / "url").write_text(self.url)  # for `batch-gateway status`

    async def _install(self) -> None:
        installation = PlatformInstallation(
            self._deployment,
            self._durations,
            start_revision=self._start_revision,
            start_broker=self._start_broker,
        )
        await installation.converge(self._options.install_s)

    async def _start_broker(self) -> None:
        if not self._deployment.brokers:
            return
        if self._options.broker_port and await listening(self.broker_port):
            port = self.broker_port
            raise PlatformError(f"port {port} is in use; choose another one with --broker-port")
        await self._supervise(self._events.server)
        config = self._addresses.broker_config(
            self._events.url, speed_up=self._options.speed_up, faults=self._options.faults
        )
        path = self._data / "run" / "broker.json"
        path.write_bytes(msgspec.json.encode(config))
        self.broker = await self._supervise(
            self._module("broker", self.broker_port, "batch_gateway.local.broker", str(path))
        )

    async def _start_simulator(self) -> None:
        if self._simulator_port is not None:
            port = self._simulator_port.number
            words = ("--port", str(port), *self._options.simulator_args)
            await self._supervise(
                self._module("simulator", port, "batch_gateway.simulator", *words)
            )

    async def _warm(self) -> None:
        """Start the public Service once, as Knative does: what is wrong shows now, not later."""
        await self._make_tables()
        for revision in self.revisions.values():
            if revision.service.public:
                try:
                    await revision.warm()
                except StartFailed as failure:
                    name = revision.service.name
                    where = self._log(name)
                    raise PlatformError(f"{name} does not start: {failure} ({where})") from failure

    async def _make_tables(self) -> None:
        """Make the tables of a new folder in a process that ends, so that what this takes stays in
        no function's memory. If it fails, the API tries again, and logs the cause."""
        if self._had_run or not (self._runs_functions and self.effective.metadata.migrate):
            return
        argv = [sys.executable, "-m", "batch_gateway.wiring.make_tables"]
        environment = {**os.environ, **self._settings}
        command = ProcessCommand(
            name="make-tables", argv=argv, log=self._log("make-tables"), env=environment
        )
        try:
            await (await self._fork_server.run(command)).wait()
        except OSError as error:
            raise PlatformError(f"cannot start {error}") from error

    def _start_pings(self) -> None:
        """The timers; on a folder with a past they tick at once, to take up what was left."""
        for source in self._deployment.pings:
            sink = self._addresses.endpoint(source.sink)
            try:
                ping = PingTimer(source, sink, self._durations)
            except ValueError as error:
                raise PlatformError(f"PingSource {source.name}: {error}") from error
            self._background.append(self._tasks.create_task(ping.run(at_once=self._had_run)))

    async def _supervise(self, server: SupervisedProcess) -> SupervisedProcess:
        self._supervised.append(server)  # first, so that it is stopped even if we are cancelled
        try:
            await server.start()
        except OSError as error:  # ChildProcessError among them
            raise PlatformError(f"cannot start {error}") from error
        self._tasks.create_task(server.supervise())
        return server

    def _module(self, name: str, port: int, module: str, *words: str) -> SupervisedProcess:
        command = ProcessCommand(
            name=name, argv=[sys.executable, "-m", module, *words], log=self._log(name)
        )

        async def ready() -> bool:
            return await listening(port)

        run = self._fork_server.run if self._runs_functions else ChildProcess.start
        return SupervisedProcess(command, ready, run=run)

    # -- functions ----------------------------------------------------------------------------

    def replicas(self, service: str) -> list[FunctionReplica]:
        """The replicas of all revisions of a Service, those of the present one first."""
        retired = [old for old in self._retired if old.service.name == service]
        return [replica for one in (self.revisions[service], *retired) for replica in one.replicas]

    async def reconfigure(self, settings: configuration.Groups, *, roll: bool) -> None:
        """Change settings as a changed Secret does: a replica reads them when it starts.

        ``roll``: also make a new revision of every Service whose function reads one of them, as
        ``deploy`` does, and return when they get the requests. Raises StartFailed.
        """
        given = configuration.variables(settings)
        changed = [name for name, value in given.items() if self._settings.get(name) != value]
        self._settings |= given
        configuration.checked({**self._deployment.settings, **self._settings})
        if roll:
            readers = [
                service
                for service in self._deployment.services
                if any(reads_variable(service.name, name) for name in changed)
            ]
            await _together(*(self._start_revision(service, True) for service in readers))

    def latest_revision(self, service: str) -> str:
        """The name of the newest revision of a Service."""
        return self.revisions[service].service.revision(self._generations[service])

    def _new_revision(self, service: KnativeService, *, bound: bool) -> Revision:
        """The next revision of a Service; ``bound``: with K_SINK, if a SinkBinding selects it."""
        generation = self._generations[service.name] = self._generations.get(service.name, 0) + 1
        name = service.revision(generation)
        return Revision(
            service,
            self._durations,
            self._tasks,
            self._replicas_of(service, name, bound=bound),
            most=self._options.most_replicas or processor_cores(),
            start_first=self._start_first,
            on_change=self._write_metrics_targets,
        )

    def _start_first(self, name: str) -> None:
        """Start the first replica of a Service; a name that no manifest has is nothing."""
        if (revision := self.revisions.get(name)) is not None:
            revision.start_first()

    def _write_metrics_targets(self) -> None:
        """Name all processes that have been ready and have not ended, those that stop included."""
        self._metrics_targets.write(
            (service, replica.port)
            for service in self.revisions
            for replica in self.replicas(service)
            if replica.state is not ReplicaState.STARTING
        )

    async def _start_revision(self, service: KnativeService, bound: bool) -> None:
        """Start a revision, and lead the requests to it once it is ready. Raises StartFailed.

        ``bound`` False: the first one of a first installation.
        """
        present = self.revisions[service.name]
        revision = self._new_revision(service, bound=True) if bound else present
        await revision.warm()
        revision.was_ready = True
        if revision is not present:
            self.revisions[service.name] = revision
            self._retired.append(present)
            present.retire()
        revision.start_least()

    def _replicas_of(
        self, service: KnativeService, revision: str, *, bound: bool
    ) -> Callable[[], FunctionReplica]:
        def replica() -> FunctionReplica:
            return FunctionReplica(
                service,
                self._log(service.name),
                self._environment(service, revision, bound=bound),
                self._root,
                self._fork_server,
            )

        return replica

    def _environment(
        self, service: KnativeService, revision: str, *, bound: bool
    ) -> dict[str, str]:
        """What a function finds in its environment, except for its port."""
        knative = {
            "K_SERVICE": service.name,
            "K_CONFIGURATION": service.name,
            "K_REVISION": revision,
        }
        if bound and (sink := self._addresses.sink_of(service)):
            knative["K_SINK"] = sink
        local = {"HOST": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **service.env, **self._settings, **local, **knative}

    def _resolved_settings(self) -> dict[str, str]:
        """What wins over the manifests' settings. Raises PlatformError."""
        options = self._options
        flags = dict(options.settings)
        inference_url = options.inference_url
        if self._simulator_port is not None:
            inference_url = f"http://127.0.0.1:{self._simulator_port.number}"
        filed = configuration.from_file(options.config) if options.config else {}
        stronger = {
            **configuration.from_environment(),
            **configuration.variables(flags),
            **configuration.variables({"inference": {"url": inference_url}}),
        }
        environment = {
            **configuration.local_defaults(self._data, scratch_url=self._coordination.url),
            **filed,
            **stronger,
        }
        whole = {**self._deployment.settings, **environment}
        files = {name: str(options.config) for name in filed.keys() - stronger.keys()}
        settings = configuration.checked(whole, files)
        configuration.require_authenticator(settings, options.host)
        self.effective = settings
        added = budgets.fitted(whole, settings, self._root)
        hard_budget_s = float(added.get(budgets.HARD, settings.execution.hard_budget_s))
        self._deployment = budgets.extended(self._deployment, hard_budget_s)
        return {**environment, **added}

    def _log(self, name: str) -> Path:
        return self._data / "logs" / f"{name}.log"

    # -- stop ---------------------------------------------------------------------------------

    async def shut_down(self) -> None:
        """Stop everything; open requests may end within the functions' grace."""
        for ping in self._background:
            ping.cancel()
        self._activator.close()
        async with asyncio.TaskGroup() as stopping:
            for revision in (*self.revisions.values(), *self._retired):
                stopping.create_task(revision.stop(self._options.stop_grace_s))
        self._activator.abort()
        for server in reversed(self._supervised):
            await server.stop()
        await self._fork_server.stop()


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all at once; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
