"""Planner: validates a batch's input and divides it into shards.

One pass over the input (a local copy of it) checks every line and notes where it is; the notes,
not the bodies, are sorted by model and prompt prefix; then each shard is read together from its
lines and stored as one object. Memory is bounded by one shard and the sorter's cache. The whole
plan becomes true in one transaction, so planning twice at once is harmless: one wins, the other
deletes its objects.
"""

import asyncio
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from datetime import timedelta
from pathlib import Path

from batch_gateway import traces
from batch_gateway.core.errors import NotFound, OverQuota, Temporary, Unavailable
from batch_gateway.core.events import EventType
from batch_gateway.core.ids import BatchId
from batch_gateway.core.layout import attempt_prefix
from batch_gateway.core.lifecycle import lifecycle_event, terminal_event
from batch_gateway.core.model import (
    Batch,
    BatchError,
    BatchStatus,
    File,
    LineCounts,
    Shard,
    ShardState,
)
from batch_gateway.core.prices import PriceList
from batch_gateway.core.quotas import NO_QUOTAS
from batch_gateway.core.usage import report_of
from batch_gateway.core.validation import LineValidator
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.line_index import LineIndexes
from batch_gateway.ports.routing import RouteProvider
from batch_gateway.services.batches.analytics import recorded_summary
from batch_gateway.services.collaborators import EventSenders, Stores
from batch_gateway.services.exclusive_lock import exclusive_lock
from batch_gateway.services.plan.chained_input import ChainedInputs
from batch_gateway.services.plan.input_scan import InputRules, InputScan, scan_lines
from batch_gateway.services.plan.plan_errors import (
    input_not_found,
    origin_not_found,
    planning_crashed,
    planning_killed,
    too_many_requests,
)
from batch_gateway.services.plan.plan_events import PlanEvents, executed
from batch_gateway.services.plan.plan_summary import with_plan_summary
from batch_gateway.services.plan.reused_results import (
    OriginDeleted,
    RetryOrigin,
    ReusedResults,
    reused_results_of,
)
from batch_gateway.services.plan.shard_builder import ShardBuilder, run_in
from batch_gateway.services.plan.shard_writer import store_shards
from batch_gateway.services.process_deaths import ProcessDeaths, TooManyProcessDeaths

logger = logging.getLogger(__name__)

SMALL = 4 * 1024 * 1024  # bytes of an input that may be planned beside any number of others
IN_MEMORY = 50_000  # lines of an input whose line index is held in memory: 30 MiB at most
AT_ONCE = 64 * 1024  # bytes of an input that is scanned in a millisecond or two
LARGE = 32 * 1024 * 1024  # bytes of an input that is not worth planning twice at once
ALONE = timedelta(seconds=15)  # how long a planner that has died keeps others from a large one
#: Attempts of one batch that may end with an unforeseen error; after these the batch fails.
CRASHES = 5
CRASHES_WITHIN = timedelta(days=1)


class Planner:
    def __init__(
        self,
        *,
        stores: Stores,
        events: EventSenders,
        indexes: LineIndexes,
        small_indexes: LineIndexes,
        prices: PriceList,
        clock: Clock,
        rules: InputRules,
        routes: RouteProvider,
        temp_dir: Path,
    ) -> None:
        """``small_indexes`` are for inputs of at most ``IN_MEMORY`` lines."""
        metadata, coordination = stores.metadata, stores.coordination
        self._metadata = metadata
        self._files = stores.files
        self._indexes = indexes
        self._small_indexes = small_indexes
        self._locks = coordination.locks
        self._rates = coordination.rate_limiter
        self._throughput = coordination.throughput
        self._prices = prices
        self._publisher = events.publisher
        self._webhook_outbox = events.webhook_outbox
        self._events = PlanEvents(
            metadata,
            coordination.queue,
            events.publisher,
            events.webhook_outbox,
            events.activation_trigger,
        )
        self._clock = clock
        self._rules = rules
        self._routes = routes
        self._temp_dir = temp_dir
        self._one_large = asyncio.Semaphore(1)  # of inputs beyond SMALL, one at a time
        self._deaths = ProcessDeaths("planning", coordination.rate_limiter, coordination.locks)
        self._chained = ChainedInputs(metadata, stores.files, clock, rules)

    async def plan(self, batch_id: BatchId) -> None:
        """Plan the batch, or announce again what an earlier call has already made true.

        Raises Busy while another planner works on a large one, and other Temporary errors. Any
        other error is raised for the first ``CRASHES`` attempts; after these the batch fails, and
        so it does when planning it has killed ``DEATHS`` processes.
        """
        batch = await self._metadata.batches.load(batch_id)
        if batch is None:
            raise NotFound(f"no batch {batch_id}")
        if batch.status is not BatchStatus.VALIDATING or batch.ending is not None:
            await self._events.announce_again(batch)
            return
        about = {traces.BATCH_ID: batch.id, traces.TENANT: batch.tenant}
        with traces.span("plan batch", batch.traceparent, kind="consumer", attributes=about):
            await self._plan_or_fail(batch)

    async def _plan_or_fail(self, batch: Batch) -> None:
        try:
            async with self._deaths.counted(batch.id):
                await self._plan(batch)
        except TooManyProcessDeaths as error:
            logger.error("%s", error, extra={"action": "plan", "batch_id": batch.id})
            await self._fail(batch, [planning_killed()])
        except Temporary:
            raise
        except OSError as error:  # of the local disk: full, or read-only
            raise Unavailable(f"planning {batch.id}: {error}") from error
        except Exception as error:
            if not await self._given_up(batch, error):
                raise

    async def _given_up(self, batch: Batch, error: Exception) -> bool:
        """Whether ``batch`` has failed because planning it keeps failing, at last with ``error``.

        The coordination store counts. Raises Unavailable when it is away: the attempt is repeated.
        """
        passage = await self._rates.take(f"plan:{batch.id}", CRASHES, CRASHES_WITHIN)
        if passage.passed:
            return False
        found = await self._metadata.batches.load(batch.id)
        if found is None or found.status is not BatchStatus.VALIDATING:
            return False
        logger.exception(
            "Planning failed %d times; the batch fails",
            CRASHES + 1,
            extra={"action": "plan", "batch_id": batch.id, "tenant_id": batch.tenant},
        )
        await self._fail(batch, [planning_crashed(error)])
        return True

    async def _plan(self, batch: Batch) -> None:
        file = await self._metadata.files.get(batch.tenant, batch.input_file_id)
        if file is None and "after" in batch.options:
            chained = await self._chained.file(batch)
            if chained is None:
                return  # it is announced again when the other batch has ended
            if isinstance(chained, list):
                await self._fail(batch, chained)
                return
            file = chained
        if file is None or file.purpose != "batch":
            await self._fail(batch, [input_not_found(batch)])
            return
        try:
            if file.size <= SMALL:
                await self._plan_file(batch, file)
            else:
                async with self._one_large:
                    await self._plan_large(batch, file)
        except OriginDeleted as gone:
            await self._fail(batch, [origin_not_found(str(gone))])
        except NotFound:  # deleted while we read
            await self._fail(batch, [input_not_found(batch)])

    async def _plan_large(self, batch: Batch, file: File) -> None:
        if file.size < LARGE:
            await self._plan_file(batch, file)
            return
        async with exclusive_lock(self._locks, f"plan:{batch.id}", ALONE):
            await self._plan_file(batch, file)

    async def _plan_file(self, batch: Batch, file: File) -> None:
        attempt = secrets.token_hex(6)
        async with self._scan(batch, file) as (scan, shard_builder):
            if scan.errors:
                await self._fail(batch, scan.errors)
                return
            shards: list[Shard] = []
            if not batch.is_dry:
                shards = await store_shards(self._files, batch, attempt, shard_builder)
        try:
            planned = await self._adopt(batch, scan, shard_builder, shards)
        except OverQuota as over:
            await self._files.delete_prefix(attempt_prefix(batch.id, attempt))
            await self._refuse(batch, over)
            return
        if planned is None:  # another planner was first, or it was cancelled
            await self._files.delete_prefix(attempt_prefix(batch.id, attempt))
            planned = await self._metadata.batches.load(batch.id)
        else:
            logger.info(
                "Planned %d lines as %d shards",
                scan.total,
                len(shards),
                extra={"action": "planned", "batch_id": batch.id, "tenant_id": batch.tenant},
            )
            await self._events.announce(planned, shards)
            return
        if planned is not None:
            await self._events.announce_again(planned)

    async def _adopt(
        self, batch: Batch, scan: InputScan, shard_builder: ShardBuilder, shards: list[Shard]
    ) -> Batch | None:
        """Make the plan true; None when it is not to be any more. Raises OverQuota."""
        now = self._clock.now()
        begun = lifecycle_event(
            EventType.BATCH_IN_PROGRESS,
            batch.evolve(model=scan.model, counts=LineCounts(total=scan.total), in_progress_at=now),
        )
        return await self._metadata.batches.plan(
            batch.id,
            shards,
            total=scan.total,
            model=scan.model,
            now=now,
            events=[begun, executed(batch)] if all(map(_closed, shards)) else [begun],
            options=await with_plan_summary(
                batch, scan, shard_builder.reused, self._throughput, self._prices, now.date()
            ),
            quotas=NO_QUOTAS if batch.is_dry else self._rules.quotas,
        )

    async def _refuse(self, batch: Batch, over: OverQuota) -> None:
        """Fail a batch for which its tenant has no room, unless another planner was luckier."""
        found = await self._metadata.batches.load(batch.id)
        if found is not None and found.status is BatchStatus.VALIDATING:
            await self._fail(batch, [too_many_requests(over.limit)])

    @asynccontextmanager
    async def _scan(
        self, batch: Batch, file: File
    ) -> AsyncIterator[tuple[InputScan, ShardBuilder]]:
        """Scan the input; its shards can be built while the context is open."""
        validator = LineValidator(
            batch.endpoint,
            models=self._routes.table.names,
            strict=self._rules.strict,
            twins=batch.runs_once,
        )
        async with (
            self._files.local_copy(file.key, self._temp_dir) as path,
            self._reused(batch) as reused,
        ):
            small = reused is None and file.lines is not None and file.lines <= IN_MEMORY
            indexes = self._small_indexes if small else self._indexes
            with _thread_for(file) as thread, indexes.open() as index:
                with _given_up_on_error() as given_up:
                    scan = await run_in(
                        thread,
                        lambda: scan_lines(
                            path,
                            index,
                            validator,
                            self._rules,
                            skip=batch.skips_invalid,
                            given_up=given_up,
                        ),
                    )
                if reused is not None:
                    await run_in(thread, lambda: reused.index(index))
                if batch.runs_once:
                    most = self._rules.planning.shard_lines
                    scan.spare(await run_in(thread, lambda: index.join_twins(most)))
                shard_builder = ShardBuilder(
                    batch.id, path, index, thread, validator, self._rules, reused
                )
                try:
                    yield scan, shard_builder
                finally:
                    await run_in(thread, shard_builder.close)

    @asynccontextmanager
    async def _reused(self, batch: Batch) -> AsyncIterator[ReusedResults | None]:
        """The answers that the batch takes over; None when it retries no other."""
        origin = RetryOrigin.of(batch.options)
        if origin is None:
            yield None
            return
        async with reused_results_of(
            origin, batch.tenant, self._metadata, self._files, self._temp_dir
        ) as reused:
            yield reused

    async def _fail(self, batch: Batch, errors: list[BatchError]) -> None:
        now = self._clock.now()
        then = batch.evolve(status=BatchStatus.FAILED, failed_at=now, errors=tuple(errors))
        event = terminal_event(then)
        report = report_of(then, now, await recorded_summary(self._metadata.shards, batch.id))
        failed = await self._metadata.batches.fail(
            batch.id, errors, now=now, events=[event], report=report
        )
        if failed is not None:
            logger.info(
                "Input refused: %s",
                errors[0].message,
                extra={"action": "failed", "batch_id": batch.id, "tenant_id": batch.tenant},
            )
            await self._publisher.publish(event)
            await self._webhook_outbox.enqueue(failed)


def _thread_for(file: File) -> AbstractContextManager[ThreadPoolExecutor | None]:
    """The thread that scans a file; None: in the event loop, which a very small one does not
    delay."""
    return nullcontext() if file.size <= AT_ONCE else ThreadPoolExecutor(1, "plan")


@contextmanager
def _given_up_on_error() -> Iterator[threading.Event]:
    """An event that is set when the result of a thread is no longer needed."""
    given_up = threading.Event()
    try:
        yield given_up
    except BaseException:  # also when the request is cancelled
        given_up.set()
        raise


def _closed(shard: Shard) -> bool:
    return shard.state is ShardState.CLOSED
