"""The janitor's rounds: a sweep, and one more each minute while there is work to look after.

Where nothing may need him before his next tick, he goes home, and nothing runs. The tick comes
seldom, because each costs a start; in between he is called by whoever makes work
(``services.announce``). Like an activation the rounds of one request end before the platform would
end them, and call for their own continuation.

Further calls are answered at once by a janitor who goes round. Only his own process knows that he
does: when it dies, the call that it had not answered is delivered again, and must not be told that
somebody is there. Two who go round at once, as in a rollout, do no harm.
"""

import asyncio
import logging
from contextlib import suppress

from batch_gateway.core.errors import Temporary
from batch_gateway.services.announce import Caller
from batch_gateway.services.upkeep.attention import Attention
from batch_gateway.services.upkeep.sweep import Janitor
from batch_gateway.settings import Sweep

logger = logging.getLogger(__name__)


class Rounds:
    def __init__(
        self,
        *,
        janitor: Janitor,
        attention: Attention,
        caller: Caller,
        stopping: asyncio.Event,
        rules: Sweep,
    ) -> None:
        self._janitor = janitor
        self._attention = attention
        self._caller = caller
        self._stopping = stopping
        self._rules = rules
        self._going = False

    async def make(self) -> None:
        """Go round until there is nothing to look after. Raises Temporary as ``sweep`` does."""
        if self._going:
            return
        self._going = True
        try:
            done = await self._go_round()
        finally:
            self._going = False
        if not done:
            await self._caller.call(at_once=True)

    async def _go_round(self) -> bool:
        """False: there is more to look after, and the time is over."""
        clock = asyncio.get_running_loop().time
        ends = clock() + self._rules.budget_s
        while True:
            failure, left = await self._sweep()
            if left and not self._stopping.is_set() and clock() < ends:
                await self._stop_or(self._rules.interval_s)
                continue
            if failure is None and not await self._needed():
                return True
            if self._stopping.is_set() or clock() + self._rules.every_s > ends:
                if failure is not None:
                    raise failure
                return False
            await self._stop_or(self._rules.every_s)

    async def _stop_or(self, seconds: float) -> None:
        """Wait until the process stops, but not longer than so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _sweep(self) -> tuple[Temporary | None, bool]:
        """What went wrong, for the next round may do better; whether items were left."""
        try:
            return None, await self._janitor.sweep()
        except Temporary as error:
            return error, False

    async def _needed(self) -> bool:
        try:
            return await self._attention.needed()
        except Temporary as error:
            logger.info("Perhaps nothing to look after: %s", error, extra={"action": "rounds"})
            return True
