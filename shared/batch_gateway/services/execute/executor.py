"""Executor: runs one activation per ``work.available`` event, up to the maximum."""

import logging
import secrets
import socket

from batch_gateway.core.ids import ActivationId
from batch_gateway.services.execute.activation import Activation
from batch_gateway.services.execute.attempt import ModelCaller
from batch_gateway.services.execute.budget import BudgetGuard
from batch_gateway.services.execute.circuit import EndpointCircuits
from batch_gateway.services.execute.collaborators import (
    ExecutorDependencies,
    ProcessResources,
    StopRequests,
)
from batch_gateway.services.execute.engine_monitor import EngineMonitors
from batch_gateway.services.execute.takeover import REGISTERED, REMEMBERED, Takeover
from batch_gateway.services.progress_events import BatchObservers, ProgressEvents

logger = logging.getLogger(__name__)


class Executor:
    def __init__(self, dependencies: ExecutorDependencies, stop_requests: StopRequests) -> None:
        self._dependencies = dependencies
        self._stop_requests = stop_requests
        self._activations = dependencies.stores.coordination.activations
        self._open: set[Activation] = set()
        stores, engines = dependencies.stores, dependencies.engines
        termination, policies = dependencies.termination, dependencies.policies
        self._takeover = Takeover(stores.metadata, stores.coordination, termination)
        self._shared = ProcessResources(
            attempts=ModelCaller(
                engines.client,
                policies.retry,
                budget_s=policies.execution.hard_budget_s,
            ),
            circuits=EndpointCircuits(),
            monitors=EngineMonitors(engines.client, engines.metrics, policies.watching),
            watches=BatchObservers(
                [
                    BudgetGuard(termination, stores.metadata.shards, policies.prices),
                    ProgressEvents(
                        stores.coordination, dependencies.events.publisher, policies.clock
                    ),
                ]
            ),
        )

    @property
    def waiting_result_bytes(self) -> int:
        """Of results that wait to be stored."""
        return sum(activation.waiting_result_bytes for activation in self._open)

    async def work(self, request: str | None = None) -> None:
        """Work until there is no more to do or the time is over; return at once when as many
        activations as allowed are open.

        ``request`` is the same when a request is delivered again (None: that is not known). What an
        activation that has died over it has left is taken over first.
        """
        me = ActivationId(f"{socket.gethostname()}-{secrets.token_hex(4)}")
        if request is not None:
            before = await self._activations.serve(request, me, REMEMBERED)
            await self._takeover.of_predecessors(before)
        if not await self._activations.enter(
            me, maximum=self._dependencies.policies.execution.max_activations, ttl=REGISTERED
        ):
            return
        log = {"action": "activation", "activation": me}
        logger.info("Activation begins", extra=log)
        activation = Activation(
            me, self._dependencies, shared=self._shared, stop_requests=self._stop_requests
        )
        self._open.add(activation)
        try:
            await activation.run()
        finally:
            self._open.discard(activation)
        logger.info("Activation ends", extra=log)
