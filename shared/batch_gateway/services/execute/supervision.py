"""Restarts loops after unexpected errors.

An error inside one loop of an activation is logged and counted, and the loop starts again after a
pause. It never ends the activation, which works for many batches.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from batch_gateway import meters

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_QUIET_S = 60.0  # a loop that ran for longer than this starts again with the first pause


async def keep_running(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run ``loop`` until it returns or is cancelled; restart it after any other exception."""
    clock = asyncio.get_running_loop().time
    failures = 0
    while True:
        began = clock()
        try:
            return await loop()
        except Exception:  # noqa: BLE001 - belongs to one part
            failures = 0 if clock() - began > _QUIET_S else failures
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**failures)
            failures += 1
            report_unforeseen(name, "The %s loop failed and starts again in %.1f s", name, pause)
            await asyncio.sleep(pause)


def report_unforeseen(where: str, message: str, *args: object, **extra: object) -> None:
    """Log and count the exception that is being handled; ``where`` names what it belongs to."""
    meters.UNFORESEEN_ERRORS.labels(where).inc()
    logger.exception(message, *args, extra={"action": "unforeseen", "where": where, **extra})
