"""One round: start everything, submit, strike, heal, wait, look."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from chaos import checks, workload
from chaos.faults import FAULTS, Skipped
from chaos.function_logs import crashes
from chaos.patience import crowding, ended
from chaos.schedule import Schedule, Strike
from chaos.workload import Followed
from chaos.world import World, world

Say = Callable[[str], None]

_ENDED_WITHIN_S = 90.0  # after the last fault is over


async def play(plan: Schedule, folder: Path, *, own_disk: bool, say: Say) -> list[str]:
    """Play the round; returns what was wrong, nothing if all was well."""
    problems: list[str] = []
    before: dict[int, str] = {}
    async with world(plan, folder, own_disk=own_disk) as on:
        problems += await _played(plan, on, say)
        before = checks.descendants()
    problems += checks.survivors(before)
    return problems


async def _played(plan: Schedule, on: World, say: Say) -> list[str]:
    followed = [Followed(batch, f"batch-{n}") for n, batch in enumerate(plan.batches, 1)]
    started = time.monotonic()

    def told(what: str) -> None:
        say(f"  {time.monotonic() - started:5.1f} s  {what}")

    async with AsyncExitStack() as stack:
        clients = {
            tenant: await stack.enter_async_context(on.client(tenant))
            for tenant in {batch.tenant for batch in plan.batches}
        }
        runs = [asyncio.create_task(_submitted(clients, one)) for one in followed]
        try:
            await asyncio.gather(*(_strike(on, strike, told) for strike in plan.strikes))
            told("all faults are over")
            await ended(runs, _ENDED_WITHIN_S)
            told("; ".join(map(str, followed)))
        finally:
            for run in runs:
                run.cancel()
            results = await asyncio.gather(*runs, return_exceptions=True)
        problems = [problem for one in followed for problem in one.problems]
        problems += [repr(result) for result in results if isinstance(result, Exception)]
        for one in followed:
            async with asyncio.timeout(60 * crowding()):
                problems += await workload.audit(clients[one.planned.tenant], one)
    problems += await checks.leaks(on)
    problems += crashes(on.data)
    refusals = sum((one.refusals for one in followed), Counter[str]())
    told(f"clients were refused: {dict(refusals)}")
    return problems


async def _submitted(clients, followed: Followed) -> None:
    await asyncio.sleep(followed.planned.at_s)
    await workload.run(clients[followed.planned.tenant], followed)


async def _strike(on: World, strike: Strike, told: Say) -> None:
    await asyncio.sleep(strike.at_s)
    told(f"{strike.fault} {dict(strike.params)}")
    try:
        await FAULTS[strike.fault](on, **strike.params)
    except Skipped as why:
        told(f"{strike.fault} skipped: {why}")
    else:
        told(f"{strike.fault} is over")
