"""Reads request bodies with bounds on size and time.

A client that stops sending must not hold a request, its memory and (in a pod with a concurrency
limit) a place for others.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive

#: How long to wait for the next bytes of a body, in seconds.
IDLE_S = 60.0


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete."""


class BodyTimeout(Exception):
    """The client has sent nothing for the idle time-out."""


class BodyTooLarge(Exception):
    """The body is larger than this request may have."""


async def chunks(receive: Receive, *, idle_s: float = IDLE_S) -> AsyncIterator[bytes]:
    """Yield the body as it arrives. Raises ClientDisconnected, BodyTimeout."""
    more = True
    while more:
        try:
            async with asyncio.timeout(idle_s):
                message = await receive()
        except TimeoutError:
            raise BodyTimeout from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        more = message.get("more_body", False)
        if body := message.get("body", b""):
            yield body


async def read(receive: Receive, limit: int, *, idle_s: float = IDLE_S) -> bytes:
    """The whole body, at most ``limit`` bytes.

    Raises ClientDisconnected, BodyTimeout, BodyTooLarge.
    """
    body = bytearray()
    async for chunk in chunks(receive, idle_s=idle_s):
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge
    return bytes(body)
