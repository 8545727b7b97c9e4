"""Waits for a signal or a timeout."""

import asyncio


async def signal_or(event: asyncio.Event, seconds: float) -> bool:
    """Wait until ``event`` is set (then it is cleared) or ``seconds`` have passed (False)."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
