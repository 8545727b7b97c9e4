"""One task per leased shard: opens it, works on it until it is settled, and ends its lease.

Whatever goes wrong with a shard ends in its own task: other shards and the activation continue.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batch_gateway.core.errors import BatchGatewayError, Corrupt, Temporary
from batch_gateway.services.execute.collaborators import ExecutorPolicies
from batch_gateway.services.execute.lease_renewer import LeaseRenewer
from batch_gateway.services.execute.lease_state import LeaseState
from batch_gateway.services.execute.leased_shard import ActivationSignals, LeasedShard
from batch_gateway.services.execute.pools import SlotPools
from batch_gateway.services.execute.shard_leases import ClaimedShard, ShardLeases
from batch_gateway.services.execute.shard_opener import log
from batch_gateway.services.execute.supervision import report_unforeseen
from batch_gateway.services.execute.suspect_isolation import SuspectIsolation
from batch_gateway.services.execute.throughput import ThroughputReporter
from batch_gateway.services.termination import Termination

logger = logging.getLogger(__name__)

_RETRY_S = 0.5  # after a server did not answer
_TRIES = 3  # to close a shard, when something other than an unavailable server is in the way
_NOT_DUE_S = 0.2  # the deadline has not come by the database's clock


@dataclass(slots=True)
class TimeBudget:
    """An activation's instants, as ``loop.time()``."""

    soft_end: float  # no line is started from then on
    hard_end: float  # running calls are cancelled
    give_up_at: float  # what could not be stored or handed back by then is left to expire


class ShardSupervisor:
    """The leased shards of an activation."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        leases: ShardLeases,
        renewer: LeaseRenewer,
        pools: SlotPools,
        throughput: ThroughputReporter,
        termination: Termination,
        signals: ActivationSignals,
        budget: TimeBudget,
        policies: ExecutorPolicies,
    ) -> None:
        self._group = group
        self._leases = leases
        self._renewer = renewer
        self._pools = pools
        self._throughput = throughput
        self._termination = termination
        self._signals = signals
        self._isolation = SuspectIsolation()
        self._budget = budget
        self._rules = policies.execution
        self._spans = policies.spans
        self._shards: list[LeasedShard] = []
        self._abandoned = False

    def __iter__(self) -> Iterator[LeasedShard]:
        return iter(tuple(self._shards))

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def held(self) -> Sequence[LeasedShard]:
        return tuple(self._shards)

    def start(self, claimed: ClaimedShard) -> LeasedShard:
        """Work on a shard that was claimed; its lease is renewed from now on."""
        left = claimed.lease.time_left
        shard = LeasedShard(
            claimed.lease,
            claimed.entry,
            signals=self._signals,
            isolation=self._isolation,
            stop_at=float("inf") if left is None else claimed.at + left.total_seconds(),
            most_buffered=4 * self._rules.flush_results,
            most_spans=self._spans,
        )
        self._shards.append(shard)
        self._renewer.track(claimed.lease.ref)
        if not self._pools.add(shard):
            shard.drain()  # routes changed since it was planned: another process may have one
        self._group.create_task(self._supervise(shard))
        return shard

    def stop(self, shard: LeasedShard) -> None:
        """Start no more lines of ``shard`` and cancel its calls; it is handed back then."""
        shard.drain()
        self._pools.stop(shard)

    def abandon(self) -> None:
        """Hand nothing back any more: the activation has crashed, and its leases expire."""
        self._abandoned = True

    async def _supervise(self, shard: LeasedShard) -> None:
        try:
            await self._work(shard)
        except Exception:  # noqa: BLE001 - belongs to one part
            report_unforeseen("shard", "A shard is left to its lease's end", **log(shard))
        finally:
            self._drop(shard)

    async def _work(self, shard: LeasedShard) -> None:
        if not await self._open(shard):
            return
        if shard.state is LeaseState.OPENING:
            shard.move(LeaseState.RUNNING)
            self._pools.begin(shard)
        await shard.settled.wait()
        self._pools.remove(shard)
        if shard.held and not self._abandoned:
            shard.move(LeaseState.CLOSING)
            await self._close(shard)

    async def _open(self, shard: LeasedShard) -> bool:
        """Read the shard; False: there is nothing to work on, and the lease has been ended."""
        try:
            if await self._leases.open(shard):
                return shard.held
        except BatchGatewayError as error:
            logger.warning("A shard is released unread: %s", error, extra=log(shard))
        except Exception:  # noqa: BLE001 - belongs to one part
            report_unforeseen("open", "A shard is handed back unread", **log(shard))
        else:
            return False
        if shard.held and not self._abandoned:
            shard.move(LeaseState.CLOSING)
            await self._end(shard, opened=False)
        return False

    async def _close(self, shard: LeasedShard) -> None:
        if not shard.finished:
            await self._expire(shard)
        await self._end(shard, opened=True)

    async def _expire(self, shard: LeasedShard) -> None:
        """Expire the batch if its deadline is why the shard stopped."""
        if asyncio.get_running_loop().time() < shard.stop_at:
            return
        try:
            lease = shard.lease
            if not await self._termination.expire(lease.shard.batch, traceparent=lease.traceparent):
                await asyncio.sleep(_NOT_DUE_S)  # or it would be leased again at once
        except Temporary as error:
            logger.warning("A sweep will expire the batch: %s", error, extra=log(shard))

    async def _end(self, shard: LeasedShard, *, opened: bool) -> None:
        """Finish or hand back, again and again while a server is unavailable.

        When that cannot be done in time, the lease expires and another executor takes over. A
        shard that could not be opened is charged to its tenant, so that others have their turn.
        """
        tries, intact = 0, True
        while shard.held:
            try:
                if opened and intact and shard.finished:
                    await self._leases.finish(shard)
                else:
                    await self._leases.release(shard, refund=opened)
            except Temporary as error:
                logger.warning("A shard cannot be closed yet: %s", error, extra=log(shard))
            except Exception as error:  # noqa: BLE001 - belongs to one part
                tries += 1
                intact = intact and not isinstance(error, Corrupt)  # the next holder repairs it
                report_unforeseen("close", "A shard cannot be closed", **log(shard))
                if tries == _TRIES:
                    return
            else:
                return
            if asyncio.get_running_loop().time() >= self._budget.give_up_at or self._abandoned:
                return
            await asyncio.sleep(_RETRY_S)

    def _drop(self, shard: LeasedShard) -> None:
        self._renewer.drop(shard.lease.ref)
        self._pools.stop(shard)
        self._pools.remove(shard)
        if shard.held and shard.state is LeaseState.CLOSING:
            shard.move(LeaseState.ENDED)
        elif shard.held:
            shard.lose()
        self._throughput.count(shard)
        tally = shard.results.tally
        shard.spans.end(completed=tally.completed, failed=tally.failed, state=str(shard.state))
        if shard in self._shards:
            self._shards.remove(shard)
        self._signals.work.set()
