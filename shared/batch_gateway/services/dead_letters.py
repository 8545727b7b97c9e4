"""Dead letters: stores events that no subscriber accepted, until an operator replays or drops them.

The broker has given them up, so this is the last place where they are known. Nothing is lost
without them: what they announced is in the database, and the janitor announces it anew. They show
what is wrong, and sending them again saves waiting.
"""

import logging

from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.dead_letters import DeadLetter, dead_letter
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.dead_letters import DeadLetterRows
from batch_gateway.ports.event_sink import RawEventSink

logger = logging.getLogger(__name__)


class DeadLetterService:
    def __init__(self, rows: DeadLetterRows, clock: Clock, most: int) -> None:
        """``most`` are kept; the oldest go."""
        self._rows = rows
        self._clock = clock
        self._most = most

    async def bury(self, event: ExternalEvent) -> None:
        letter = dead_letter(event, self._clock.now())
        await self._rows.put(letter)
        await self._rows.keep(self._most)
        logger.error(
            "No subscriber has taken %s: %s %s",
            event.id,
            letter.code,
            letter.target,
            extra={"action": "dead_letter", "dead_letter": letter.id},
        )


async def replay(letter: DeadLetter, rows: DeadLetterRows, sink: RawEventSink) -> None:
    """Send the event to the broker again; its letter goes when the broker has it.

    All subscribers get it again; they are idempotent. Raises Temporary, Permanent.
    """
    await sink.send_raw(letter.event)
    await rows.drop(letter.id)
