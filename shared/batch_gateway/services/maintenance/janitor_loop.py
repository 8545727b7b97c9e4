"""The janitor's rounds: a sweep, and one more each minute while there is work to look after.

Where nothing may need him before his next tick, he goes home, and nothing runs. The tick comes
seldom, because each costs a start; in between he is called by whoever makes work
(``services.event_publisher``). Like an activation the rounds of one request end before the platform
would end them, and call for their own continuation.

Further calls are answered at once by a janitor who goes round. Only his own process knows that he
does: when it dies, the call that it had not answered is delivered again, and must not be told that
somebody is there. Two who go round at once, as in a rollout, do no harm.
"""

import asyncio
import logging

from batch_gateway.core.errors import Temporary
from batch_gateway.services.event_publisher import JanitorTrigger
from batch_gateway.services.maintenance.janitor_schedule import JanitorSchedule
from batch_gateway.services.maintenance.sweep import Janitor
from batch_gateway.settings import Sweep

logger = logging.getLogger(__name__)


class JanitorLoop:
    def __init__(
        self,
        *,
        janitor: Janitor,
        schedule: JanitorSchedule,
        janitor_trigger: JanitorTrigger,
        stopping: asyncio.Event,
        superseded: asyncio.Event,
        rules: Sweep,
    ) -> None:
        """``superseded``: this process runs on an old configuration, and should give way."""
        self._janitor = janitor
        self._schedule = schedule
        self._janitor_trigger = janitor_trigger
        self._stopping = stopping
        self._superseded = superseded
        self._rules = rules
        self._gave_way = False
        self._going = False

    async def run(self) -> None:
        """Go round until there is nothing to look after. Raises Temporary as ``sweep`` does."""
        if self._going:
            return
        self._going = True
        try:
            done = await self._go_round()
        finally:
            self._going = False
        if not done:
            await self._janitor_trigger.call(at_once=True)

    async def _go_round(self) -> bool:
        """False: there is more to look after, and the time is over."""
        clock = asyncio.get_running_loop().time
        ends = clock() + self._rules.budget_s
        while True:
            failure, left = await self._sweep()
            leaves = self._leaves()
            if left and not leaves and clock() < ends:
                await self._pause(self._rules.interval_s)
                continue
            if failure is None and not await self._needed():
                return True
            if leaves or clock() + self._rules.every_s > ends:
                if failure is not None:
                    raise failure
                return False
            await self._pause(self._rules.every_s)

    def _leaves(self) -> bool:
        """Whether to leave the rest to a successor.

        On an old configuration this is so once: where the successor is this process again, there is
        no other, and it has to do the work.
        """
        if self._stopping.is_set():
            return True
        if not self._superseded.is_set() or self._gave_way:
            return False
        self._gave_way = True
        return True

    async def _pause(self, seconds: float) -> None:
        """Wait for the next round, or until there is a reason to leave."""
        reasons = [self._stopping] if self._gave_way else [self._stopping, self._superseded]
        waiting = [asyncio.create_task(reason.wait()) for reason in reasons]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _sweep(self) -> tuple[Temporary | None, bool]:
        """What went wrong, for the next round may do better; whether items were left."""
        try:
            return None, await self._janitor.sweep()
        except Temporary as error:
            return error, False

    async def _needed(self) -> bool:
        try:
            return await self._schedule.needed()
        except Temporary as error:
            logger.info("Perhaps nothing to look after: %s", error, extra={"action": "rounds"})
            return True
