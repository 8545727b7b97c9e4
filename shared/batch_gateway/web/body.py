"""Reads request bodies with bounds on size and time.

A client that stops sending must not hold a request, its memory and (in a pod with a concurrency
limit) a place for others.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive

#: How long to wait for the next bytes of a body, in seconds.
IDLE_S = 60.0


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class TooSlow(Exception):
    """The client has sent nothing for the idle time-out."""


class TooLarge(Exception):
    """The body is larger than this request may have."""


async def chunks(receive: Receive, *, idle_s: float = IDLE_S) -> AsyncIterator[bytes]:
    """Yield the body as it arrives. Raises ClientGone, TooSlow."""
    more = True
    while more:
        try:
            async with asyncio.timeout(idle_s):
                message = await receive()
        except TimeoutError:
            raise TooSlow from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        if body := message.get("body", b""):
            yield body


async def read(receive: Receive, limit: int, *, idle_s: float = IDLE_S) -> bytes:
    """The whole body of at most ``limit`` bytes. Raises ClientGone, TooSlow, TooLarge."""
    body = bytearray()
    async for chunk in chunks(receive, idle_s=idle_s):
        body += chunk
        if len(body) > limit:
            raise TooLarge
    return bytes(body)
