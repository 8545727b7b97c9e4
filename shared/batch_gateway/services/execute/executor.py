"""Executor: one activation per ``work.available`` event, as far as there is room."""

import asyncio
import logging
import secrets
import socket

from batch_gateway.core.ids import ActivationId
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.engine_metrics import EngineMetrics
from batch_gateway.ports.files import FileStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.ports.model_client import ModelClient
from batch_gateway.ports.scratch import Scratch
from batch_gateway.services.announce import Announcer, Waker
from batch_gateway.services.endings import Endings
from batch_gateway.services.execute.activation import REGISTERED, Activation
from batch_gateway.services.execute.attempt import Attempts
from batch_gateway.services.execute.budget import BudgetGuard
from batch_gateway.services.execute.circuit import Circuits
from batch_gateway.services.execute.custody import Custody
from batch_gateway.services.execute.watch import Lookout
from batch_gateway.services.milestones import Milestones, Watches
from batch_gateway.services.passing import PassedHeaders
from batch_gateway.services.routing import Routes
from batch_gateway.settings import Execution, Queue, Retry, Watching

logger = logging.getLogger(__name__)


class Executor:
    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: FileStore,
        scratch: Scratch,
        client: ModelClient,
        metrics: EngineMetrics,
        routes: Routes,
        passing: PassedHeaders | None,
        announcer: Announcer,
        waker: Waker,
        endings: Endings,
        clock: Clock,
        rules: Execution,
        queue_rules: Queue,
        retry: Retry,
        watching: Watching,
        stopping: asyncio.Event,
    ) -> None:
        """``passing`` None: no batch has sealed headers; ``stopping`` is set when the process has
        been asked to end."""
        self._metadata = metadata
        self._files = files
        self._scratch = scratch
        self._attempts = Attempts(client, retry.rules)
        self._circuits = Circuits()
        self._lookout = Lookout(client, metrics, watching)
        self._routes = routes
        self._passing = passing
        self._announcer = announcer
        self._waker = waker
        self._endings = endings
        self._clock = clock
        self._rules = rules
        self._queue_rules = queue_rules
        self._watches = Watches(
            [
                BudgetGuard(metadata, scratch.progress, endings),
                Milestones(metadata, scratch, announcer, clock),
            ]
        )
        self._stopping = stopping

    async def work(self) -> None:
        """Work until there is no more to do or the time is over; at once when the house is full."""
        me = ActivationId(f"{socket.gethostname()}-{secrets.token_hex(4)}")
        if not await self._scratch.activations.enter(
            me, maximum=self._rules.max_activations, ttl=REGISTERED
        ):
            return
        log = {"action": "activation", "activation": me}
        logger.info("Activation begins", extra=log)
        await self._activation(me).run()
        logger.info("Activation ends", extra=log)

    def _activation(self, me: ActivationId) -> Activation:
        return Activation(
            me,
            metadata=self._metadata,
            scratch=self._scratch,
            custody=Custody(
                me,
                metadata=self._metadata,
                files=self._files,
                queue=self._scratch.queue,
                progress=self._scratch.progress,
                announcer=self._announcer,
                passing=self._passing,
                guard=self._watches,
                clock=self._clock,
                rules=self._rules,
            ),
            attempts=self._attempts,
            routes=self._routes,
            circuits=self._circuits,
            lookout=self._lookout,
            waker=self._waker,
            endings=self._endings,
            clock=self._clock,
            rules=self._rules,
            queue_rules=self._queue_rules,
            stopping=self._stopping,
        )
