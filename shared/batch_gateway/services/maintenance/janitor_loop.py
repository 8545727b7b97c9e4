"""Runs the janitor's sweep once a minute while there is work.

When nothing needs the janitor before its next timer tick, the request ends and the pod scales to
zero. Ticks are rare, because each one starts a pod. In between, processes that create work trigger
the janitor (``services.event_publisher``). The loop ends before the platform's request timeout and
then triggers a new request that continues.

While the loop runs, further requests to the same process return at once. Other processes do not
know that it runs: when the process crashes, its unanswered request is delivered again, and the new
process must do the work. Two loops at the same time, as during a rollout, do no harm.
"""

import asyncio
import logging

from batch_gateway.core.errors import Temporary
from batch_gateway.services.event_publisher import JanitorTrigger
from batch_gateway.services.maintenance.janitor_schedule import JanitorSchedule
from batch_gateway.services.maintenance.sweep import Janitor
from batch_gateway.settings import SweepSettings

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
        rules: SweepSettings,
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
        """Sweep until there is no more work. Raises Temporary as ``sweep`` does."""
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
            logger.info(
                "Whether the janitor is needed is unknown: %s", error, extra={"action": "rounds"}
            )
            return True
