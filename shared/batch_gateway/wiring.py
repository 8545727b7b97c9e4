"""The only place that knows every concrete class.

Each function opens what it needs and nothing else, when its server starts, and closes it when it
stops. Adapters are imported where they are opened: what a deployment does not use costs no start
time.
"""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp

from batch_gateway import log
from batch_gateway.core.errors import NotFound, Unavailable
from batch_gateway.core.events import Event
from batch_gateway.core.ids import BatchId
from batch_gateway.ports.event_sink import EventSink
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.scratch import Scratch
from batch_gateway.services.announce import Announcer, Waker
from batch_gateway.services.endings import Endings
from batch_gateway.settings import Settings
from batch_gateway.web.function import event_app, http_function
from batch_gateway.web.listening import listening_on
from batch_gateway.web.stopping import stopping

logger = logging.getLogger(__name__)

Function = Callable[[Request], Awaitable[ASGIApp]]


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Runtime:
    """What all functions share: settings, stores and the way to the broker."""

    def __init__(
        self,
        settings: Settings,
        metadata: MetadataStore,
        files: FileStore,
        scratch: Scratch,
        sink: EventSink,
    ) -> None:
        execution = settings.execution
        self.settings = settings
        self.metadata = metadata
        self.files = files
        self.scratch = scratch
        self.sink = sink
        self.clock = SystemClock()
        self.announcer = Announcer(metadata.outbox, sink)
        self.waker = Waker(scratch.activations, sink, execution.max_activations)
        self.endings = Endings(
            metadata=metadata,
            files=files,
            scratch=scratch,
            announcer=self.announcer,
            clock=self.clock,
            fence=timedelta(seconds=execution.fence_s),
        )

    async def ready(self) -> None:
        """Raise Unavailable, naming it, when something that we need does not answer."""
        for name, store in (
            ("metadata", self.metadata),
            ("scratch", self.scratch),
            ("files", self.files),
        ):
            try:
                await store.check()
            except Unavailable as error:
                raise Unavailable(f"{name}: {error}") from error


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Everything that all functions share, open as long as the context is."""
    async with AsyncExitStack() as stack:
        metadata = await open_metadata(settings)
        stack.push_async_callback(metadata.close)
        files = open_files(settings)
        stack.push_async_callback(files.close)
        scratch = open_scratch_server(settings)
        stack.push_async_callback(scratch.close)
        sink = open_sink(settings)
        stack.push_async_callback(sink.close)
        yield Runtime(settings, metadata, files, scratch, sink)


async def open_metadata(settings: Settings) -> MetadataStore:
    """The metadata store that ``metadata.url`` names, by its scheme."""
    url = settings.metadata.url.get_secret_value()
    if urlsplit(url).scheme.startswith(("redis", "valkey", "rediss")):
        from batch_gateway.adapters.redis_metadata import open_redis_metadata

        return open_redis_metadata(url, prefix=settings.scratch.prefix)
    from batch_gateway.adapters.sql import open_sql

    return await open_sql(
        url, pool_size=settings.metadata.pool_size, migrate=settings.metadata.migrate
    )


def open_files(settings: Settings) -> FileStore:
    """The file store that ``files.url`` names, by its scheme."""
    files = settings.files
    url = urlsplit(files.url)
    if url.scheme == "file":
        from pathlib import Path

        from batch_gateway.adapters.local_files import LocalFiles

        return LocalFiles(Path(url.path))
    if url.scheme == "s3":
        from batch_gateway.adapters.s3_files import open_s3

        secret = files.s3_secret_access_key
        return open_s3(
            url.netloc,
            url.path.strip("/"),
            endpoint=files.s3_endpoint,
            region=files.s3_region,
            access_key_id=files.s3_access_key_id,
            secret_access_key=None if secret is None else secret.get_secret_value(),
        )
    raise ValueError(f"files.url must begin with file:// or s3://, not {files.url!r}")


def open_scratch_server(settings: Settings) -> Scratch:
    from batch_gateway.adapters.scratch import open_scratch

    return open_scratch(
        settings.scratch.url.get_secret_value(),
        prefix=settings.scratch.prefix,
        rules=settings.limits.rules,
        interval=timedelta(seconds=settings.limits.interval_s),
    )


def open_sink(settings: Settings) -> EventSink:
    """The broker: ``events.sink``, or what the platform has injected."""
    from batch_gateway.adapters.events_http import HttpSink

    url = settings.events.sink or os.environ.get("K_SINK")
    if not url:
        raise ValueError("no broker: set events.sink, or let a SinkBinding inject K_SINK")
    return HttpSink(
        url, keys=signing_keys(settings), timeout=timedelta(seconds=settings.events.timeout_s)
    )


def signing_keys(settings: Settings) -> Sequence[bytes]:
    """Keys of the internal events' signature; the first one signs."""
    joined = settings.events.signing_keys.get_secret_value()
    return [key.strip().encode() for key in joined.split(",") if key.strip()]


def refuse_strangers(settings: Settings, host: str) -> None:
    """Raise ValueError when a function that is reached from elsewhere would trust anybody.

    ``host`` is the address that it listens on.
    """
    if host in ("127.0.0.1", "::1", "localhost"):
        return
    if settings.auth.kind == "none":
        raise ValueError(f"auth.kind is none: not while listening on {host}, name an authenticator")
    if not signing_keys(settings):
        raise ValueError(f"events.signing_keys is empty: not while listening on {host}")


# -- functions ------------------------------------------------------------------------------------


def _function(name: str, build: Callable[[Runtime, AsyncExitStack], ASGIApp]) -> Function:
    """A function whose application ``build`` makes; what it opens further goes on the stack."""

    @asynccontextmanager
    async def hosted() -> AsyncIterator[ASGIApp]:
        settings = Settings()
        log.configure(settings.log, service=name)
        refuse_strangers(settings, listening_on())
        async with open_runtime(settings) as runtime, AsyncExitStack() as stack:
            yield build(runtime, stack)

    return http_function(name, hosted)


def _event_function(
    name: str, use_case: Callable[[Runtime, AsyncExitStack], Callable[[Event], Awaitable[None]]]
) -> Function:
    def build(runtime: Runtime, stack: AsyncExitStack) -> ASGIApp:
        return event_app(
            name,
            use_case(runtime, stack),
            keys=signing_keys(runtime.settings),
            ready=runtime.ready,
        )

    return _function(name, build)


def _batch_of(event: Event) -> BatchId:
    """The batch that an event speaks of. Raises NotFound when it names none."""
    if (batch := event.data.get("batch_id")) is None:
        raise NotFound(f"{event.id} names no batch")
    return BatchId(batch)


def api_function() -> Function:
    def build(runtime: Runtime, stack: AsyncExitStack) -> ASGIApp:
        from batch_gateway.adapters.engine_http import HttpEngine
        from batch_gateway.services.batches import BatchService
        from batch_gateway.services.files import FileService
        from batch_gateway.services.models import ModelService
        from batch_gateway.services.routing import OneEndpoint
        from batch_gateway.services.steering import Steering
        from batch_gateway.services.uploads import UploadService
        from batch_gateway.web.api import api_app
        from batch_gateway.web.api.rates import RateLimits
        from batch_gateway.web.auth import authenticator

        settings = runtime.settings
        inference = settings.inference
        engine = HttpEngine(inference.url, OneEndpoint(inference).headers)
        stack.push_async_callback(engine.close)
        return api_app(
            files=FileService(
                metadata=runtime.metadata,
                files=runtime.files,
                clock=runtime.clock,
                api=settings.api,
            ),
            uploads=UploadService(
                metadata=runtime.metadata,
                files=runtime.files,
                clock=runtime.clock,
                api=settings.api,
            ),
            batches=BatchService(
                metadata=runtime.metadata,
                progress=runtime.scratch.progress,
                announcer=runtime.announcer,
                endings=runtime.endings,
                clock=runtime.clock,
                fence=timedelta(seconds=settings.execution.fence_s),
                strict=settings.api.mode == "strict",
            ),
            steering=Steering(
                metadata=runtime.metadata,
                files=runtime.files,
                queue=runtime.scratch.queue,
                control=runtime.scratch.control,
                endings=runtime.endings,
                waker=runtime.waker,
                clock=runtime.clock,
            ),
            models=ModelService(configured=inference.models, engine=engine, clock=runtime.clock),
            claims=runtime.metadata.claims,
            limits=RateLimits(runtime.scratch.rates, settings.quota),
            auth=authenticator(settings.auth, runtime.metadata.api_keys, runtime.clock),
            clock=runtime.clock,
            settings=settings.api,
            ready=runtime.ready,
        )

    return _function("api", build)


def planner_function() -> Function:
    def use_case(runtime: Runtime, _stack: AsyncExitStack) -> Callable[[Event], Awaitable[None]]:
        from batch_gateway.adapters.sqlite_line_index import SqliteLineIndexes
        from batch_gateway.services.plan import Planner
        from batch_gateway.services.survey import Rules

        settings = runtime.settings
        planner = Planner(
            metadata=runtime.metadata,
            files=runtime.files,
            indexes=SqliteLineIndexes(settings.files.scratch_dir),
            queue=runtime.scratch.queue,
            announcer=runtime.announcer,
            waker=runtime.waker,
            clock=runtime.clock,
            rules=Rules(
                planning=settings.planning,
                max_lines=settings.api.max_lines,
                strict=settings.api.mode == "strict",
                models=frozenset(settings.inference.models),
            ),
            scratch=settings.files.scratch_dir,
        )
        return lambda event: planner.plan(_batch_of(event))

    return _event_function("planner", use_case)


def executor_function() -> Function:
    def use_case(runtime: Runtime, stack: AsyncExitStack) -> Callable[[Event], Awaitable[None]]:
        from batch_gateway.adapters.model_http import HttpModelClient
        from batch_gateway.services.execute.executor import Executor
        from batch_gateway.services.routing import OneEndpoint

        client = HttpModelClient()
        stack.push_async_callback(client.close)
        executor = Executor(
            metadata=runtime.metadata,
            files=runtime.files,
            scratch=runtime.scratch,
            client=client,
            routes=OneEndpoint(runtime.settings.inference),
            announcer=runtime.announcer,
            waker=runtime.waker,
            endings=runtime.endings,
            clock=runtime.clock,
            rules=runtime.settings.execution,
            retry=runtime.settings.retry,
            stopping=stopping(),
        )
        return lambda _event: executor.work()

    return _event_function("executor", use_case)


def assembler_function() -> Function:
    def use_case(runtime: Runtime, _stack: AsyncExitStack) -> Callable[[Event], Awaitable[None]]:
        from batch_gateway.services.assemble import Assembler

        settings = runtime.settings
        expiry = settings.api.output_expiry_s
        assembler = Assembler(
            metadata=runtime.metadata,
            files=runtime.files,
            scratch=runtime.scratch,
            announcer=runtime.announcer,
            clock=runtime.clock,
            scratch_dir=settings.files.scratch_dir,
            lease_ttl=timedelta(seconds=settings.execution.assembly_ttl_s),
            default_expiry=timedelta(seconds=expiry) if expiry else None,
            longest_line=settings.planning.max_line_bytes,
        )
        return lambda event: assembler.assemble(_batch_of(event))

    return _event_function("assembler", use_case)


def janitor_function() -> Function:
    def use_case(runtime: Runtime, _stack: AsyncExitStack) -> Callable[[Event], Awaitable[None]]:
        from batch_gateway.services.sweep import Janitor

        janitor = Janitor(
            metadata=runtime.metadata,
            files=runtime.files,
            scratch=runtime.scratch,
            announcer=runtime.announcer,
            waker=runtime.waker,
            endings=runtime.endings,
            clock=runtime.clock,
            lease_ttl=timedelta(seconds=runtime.settings.execution.lease_ttl_s),
            rules=runtime.settings.sweep,
        )
        return lambda _event: janitor.sweep()

    return _event_function("janitor", use_case)
