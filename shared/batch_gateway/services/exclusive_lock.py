"""Holds a lock during a long operation, so that a repeated event does not run it twice.

This only spares work: what is done must bear being done twice, since the coordination store, which
knows who is at it, may be wiped or away.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from batch_gateway.core.errors import Busy, Temporary
from batch_gateway.ports.coordination import Locks
from batch_gateway.services.task_group import task_group

logger = logging.getLogger(__name__)


@asynccontextmanager
async def exclusive_lock(locks: Locks, name: str, ttl: timedelta) -> AsyncIterator[None]:
    """Hold the right ``name`` inside the context; after a crash it runs out within ``ttl``.

    Raises Busy when another holds it, also in the midst of the context.
    """
    holder = secrets.token_hex(8)
    await _hold(locks, name, holder, ttl)
    try:
        async with task_group() as group:
            renewing = group.create_task(_renew(locks, name, holder, ttl))
            try:
                yield
            finally:
                renewing.cancel()
    finally:
        try:
            await locks.release(name, holder)
        except Temporary as error:
            logger.info(
                "A lock is not released, it will expire: %s", error, extra={"action": "alone"}
            )


async def _renew(locks: Locks, name: str, holder: str, ttl: timedelta) -> None:
    while True:
        await asyncio.sleep(ttl.total_seconds() / 3)
        await _hold(locks, name, holder, ttl)


async def _hold(locks: Locks, name: str, holder: str, ttl: timedelta) -> None:
    try:
        held = await locks.acquire(name, holder, ttl)
    except Temporary as error:
        logger.warning(
            "A lock is not renewed, it may be lost: %s", error, extra={"action": "alone"}
        )
        return
    if not held:
        raise Busy(f"{name}: another process works on it")
