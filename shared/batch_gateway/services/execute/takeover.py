"""Takes over the slots and leases of dead activations.

A lease and a grant run out by themselves, but only after seconds in which nothing continues. An
activation is known to be dead earlier:

- Its request comes again. The broker delivers an event again when the process that served it has
  broken the connection. A broker may also deliver twice what was served well, so the earlier
  activation is challenged: it must renew its entry in the register within a second.
- Its entry in the register has run out, and it has not come back.

Taking over is safe even if the activation still runs: it has lost its leases then, as its
epochs are no longer the shards', and what it stores under them is never read. It only costs the
calls that are made twice.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from batch_gateway.core.errors import Temporary
from batch_gateway.core.ids import ActivationId
from batch_gateway.ports.coordination import CoordinationStore
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.ended_leases import settle_ended_leases
from batch_gateway.services.termination import Termination

logger = logging.getLogger(__name__)

REGISTERED = timedelta(seconds=5)  # how long a dead activation stays in the register
RENEW = timedelta(seconds=2)  # how often a living activation renews its entry there
#: Life that is left of an entry that was not renewed in time.
MISSED = REGISTERED - RENEW - timedelta(seconds=0.5)
CHALLENGE = timedelta(
    seconds=1
)  # time to renew: a running activation is notified and renews at once
SILENCE = timedelta(seconds=2.5)  # beyond an entry's end, in which a living activation renews it
REMEMBERED = timedelta(minutes=15)  # that an activation has served an event
_ASKED_EVERY_S = 0.05
_LEASES = 1000  # of one activation, at most
_AT_ONCE = 4  # leases that are taken over side by side
_RECORDED = 5000  # leases of all activations that are looked at in the queue, at most


class Takeover:
    def __init__(
        self, metadata: MetadataStore, coordination: CoordinationStore, termination: Termination
    ) -> None:
        self._metadata = metadata
        self._coordination = coordination
        self._termination = termination

    async def of_predecessors(self, predecessors: Sequence[ActivationId]) -> None:
        """Take over from those that are dead; returns at once when all of them live.

        Raises Unavailable.
        """
        if not predecessors:
            return
        activations = self._coordination.activations
        await activations.challenge(predecessors, CHALLENGE, missed=MISSED)
        for one in predecessors:
            await self._coordination.batch_changes.ask(one)
        states = await activations.challenged(predecessors, CHALLENGE)
        while None in states:  # not for long: what is not renewed runs out
            await asyncio.sleep(_ASKED_EVERY_S)
            states = await activations.challenged(predecessors, CHALLENGE)
        await self.of_dead([p for p, lives in zip(predecessors, states, strict=True) if not lives])

    async def of_dead(self, dead: Sequence[ActivationId]) -> None:
        """Take over from activations that are dead. What fails is left to leases' ends."""
        for activation in dead:
            try:
                await self._take(activation)
            except Temporary as error:
                logger.warning(
                    "Not taken over from %s now: %s",
                    activation,
                    error,
                    extra={"action": "takeover", "activation": activation},
                )

    async def _take(self, dead: ActivationId) -> None:
        slots = self._coordination.slots
        await slots.leave(dead, [state.pool for state in await slots.pools()])
        leases = await self._metadata.shards.held_by(dead, limit=_LEASES)
        for start in range(0, len(leases), _AT_ONCE):
            some = leases[start : start + _AT_ONCE]
            await asyncio.gather(*(self._termination.reclaim([lease]) for lease in some))
        # What it has ended in the database without telling the queue is no lease of it any more.
        queue = self._coordination.queue
        await settle_ended_leases(self._metadata.shards, queue, await queue.leases(_RECORDED))
        await self._coordination.activations.forget(dead)
        if leases:
            logger.warning(
                "Took over %d leases of %s, which is dead",
                len(leases),
                dead,
                extra={"action": "takeover", "activation": dead},
            )
