"""The objects that one activation consists of, and how they are connected."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from batch_gateway.core.ids import ActivationId
from batch_gateway.services.assemble.ended_batches import EndedBatchHandler, EndedBatchWorker
from batch_gateway.services.assemble.single_shard import SingleShardCompletion
from batch_gateway.services.execute.collaborators import (
    ExecutorDependencies,
    ProcessResources,
)
from batch_gateway.services.execute.lease_monitor import LeaseMonitor, LeaseReclaimer
from batch_gateway.services.execute.lease_renewer import LeaseRenewer
from batch_gateway.services.execute.leased_shard import ActivationSignals
from batch_gateway.services.execute.pools import SlotPools
from batch_gateway.services.execute.result_flusher import ResultFlusher
from batch_gateway.services.execute.shard_leases import ShardLeases
from batch_gateway.services.execute.shard_selector import ShardSelector
from batch_gateway.services.execute.shard_supervisor import ShardSupervisor, TimeBudget
from batch_gateway.services.execute.slot_scheduler import SlotScheduler
from batch_gateway.services.execute.takeover import Takeover
from batch_gateway.services.execute.throughput import ThroughputReporter


class ActivationComponents:
    """Made in three steps: leases, calls, shards. Later steps use earlier ones, not the reverse."""

    def __init__(
        self,
        me: ActivationId,
        group: asyncio.TaskGroup,
        dependencies: ExecutorDependencies,
        *,
        shared: ProcessResources,
        signals: ActivationSignals,
        budget: TimeBudget,
        asked: Callable[[str], None],
    ) -> None:
        """Tasks run in ``group``. ``asked`` is called with the id of an activation when another
        one checks whether it runs."""
        self._me = me
        self._group = group
        self._stores = stores = dependencies.stores
        self._engines = dependencies.engines
        self._events = events = dependencies.events
        self._termination = dependencies.termination
        self._policies = policies = dependencies.policies
        self._shared = shared
        self._signals = signals
        self._budget = budget
        self._rules = policies.execution
        self._ttl = timedelta(seconds=self._rules.lease_ttl_s)
        self.ended_batches = EndedBatchWorker(
            EndedBatchHandler(
                stores.metadata, stores.files, events.publisher, events.webhook_outbox
            ),
            stores.coordination.queue,
        )
        self.renewer = LeaseRenewer(
            stores.coordination.queue, ttl=self._ttl, every_s=self._rules.heartbeat_s
        )
        self.leases = self._make_leases()
        self.reclaimer = self._make_reclaimer()
        self.pools = self._make_pools()
        self.throughput = self._make_throughput()
        self.shards = self._make_shards()
        self.selector = self._make_selector()
        self.flusher = ResultFlusher(
            self.shards,
            leases=self.leases,
            pools=self.pools,
            throughput=self.throughput,
            flush_now=signals.flush,
            every_s=self._rules.flush_interval_s,
        )
        self.lease_monitor = LeaseMonitor(
            rows=stores.metadata.shards,
            coordination=stores.coordination,
            every_s=self._rules.heartbeat_s,
            held=lambda: self.shards.held,
            stop=self.pools.stop,
            asked=asked,
        )

    # -- leases -------------------------------------------------------------------------------

    def _make_leases(self) -> ShardLeases:
        stores, policies = self._stores, self._policies
        return ShardLeases(
            self._me,
            stores=stores,
            renewer=self.renewer,
            publisher=self._events.publisher,
            header_passthrough=self._engines.header_passthrough,
            watch=self._shared.watches,
            clock=policies.clock,
            rules=self._rules,
            single_shards=SingleShardCompletion(
                metadata=stores.metadata,
                files=stores.files,
                clock=policies.clock,
                default_expiry=policies.output_expiry,
                most_bytes=self._rules.complete_bytes,
                ended=self.ended_batches,
            ),
        )

    def _make_reclaimer(self) -> LeaseReclaimer:
        stores, termination = self._stores, self._termination
        return LeaseReclaimer(
            metadata=stores.metadata,
            coordination=stores.coordination,
            termination=termination,
            takeover=Takeover(stores.metadata, stores.coordination, termination),
            every_s=self._rules.heartbeat_s,
            ttl=self._ttl,
        )

    # -- calls --------------------------------------------------------------------------------

    def _make_pools(self) -> SlotPools:
        return SlotPools(
            self._me,
            self._group,
            slots=self._stores.coordination.slots,
            shared=self._shared,
            routes=self._engines.routes,
            activation_trigger=self._events.activation_trigger,
            clock=self._policies.clock,
            rules=self._rules,
            scheduler=SlotScheduler(self._policies.queue),
            stop_calls_at=self._budget.hard_end,
            memory_lost=self.reclaimer.look_now,
        )

    def _make_throughput(self) -> ThroughputReporter:
        return ThroughputReporter(
            self._me,
            coordination=self._stores.coordination,
            clock=self._policies.clock,
            execution=self._rules,
            rules=self._policies.queue,
            blocked_reason_of=self.pools.blocked_reason,
            models_blocked=self.pools.take_models_blocked,
        )

    # -- shards -------------------------------------------------------------------------------

    def _make_shards(self) -> ShardSupervisor:
        return ShardSupervisor(
            self._group,
            leases=self.leases,
            renewer=self.renewer,
            pools=self.pools,
            throughput=self.throughput,
            termination=self._termination,
            signals=self._signals,
            budget=self._budget,
            policies=self._policies,
        )

    def _make_selector(self) -> ShardSelector:
        return ShardSelector(
            leases=self.leases,
            queue=self._stores.coordination.queue,
            pools=self.pools,
            routes=self._engines.routes,
            clock=self._policies.clock,
            rules=self._rules,
            queue_rules=self._policies.queue,
        )
