"""Doing something long alone, so that a repeated event does not do it a second time at once.

This only spares work: what is done must bear being done twice, since the scratch server, which
knows who is at it, may be wiped or away.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from batch_gateway.core.errors import Busy, Temporary
from batch_gateway.ports.scratch import Rights
from batch_gateway.services.groups import tasks

logger = logging.getLogger(__name__)


@asynccontextmanager
async def alone(rights: Rights, name: str, ttl: timedelta) -> AsyncIterator[None]:
    """Hold the right ``name`` inside the context; after a crash it runs out within ``ttl``.

    Raises Busy when another holds it, also in the midst of the context.
    """
    holder = secrets.token_hex(8)
    await _hold(rights, name, holder, ttl)
    try:
        async with tasks() as group:
            renewing = group.create_task(_renew(rights, name, holder, ttl))
            try:
                yield
            finally:
                renewing.cancel()
    finally:
        try:
            await rights.let_go(name, holder)
        except Temporary as error:
            logger.info("A right runs out by itself: %s", error, extra={"action": "alone"})


async def _renew(rights: Rights, name: str, holder: str, ttl: timedelta) -> None:
    while True:
        await asyncio.sleep(ttl.total_seconds() / 3)
        await _hold(rights, name, holder, ttl)


async def _hold(rights: Rights, name: str, holder: str, ttl: timedelta) -> None:
    try:
        held = await rights.hold(name, holder, ttl)
    except Temporary as error:
        logger.warning("Perhaps not alone: %s", error, extra={"action": "alone"})
        return
    if not held:
        raise Busy(f"{name}: another is at it")
