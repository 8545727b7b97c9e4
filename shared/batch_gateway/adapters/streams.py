"""Moves bytes between the event loop and threads, for file stores.

Crossing into a thread costs about as much as writing 64 KiB, so streams are gathered into larger
blocks first. A thread cannot be stopped; a cancelled task waits for the end of its thread, or the
thread would continue with a closed file or an aborted upload.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

CHUNK = 1024 * 1024  # bytes; the most that FileStore.read yields at once


async def finish_even_if_cancelled(work: Awaitable[T]) -> T:
    """The outcome of ``work``, which runs to its end even if the caller is cancelled meanwhile.

    The cancellation is raised once ``work`` has ended; its own outcome is dropped then.
    """
    future = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if not future.cancelled():
        future.exception()  # marks it as seen: the cancellation takes its place
    raise cancelled


async def blocks(chunks: AsyncIterable[bytes] | bytes, size: int) -> AsyncGenerator[bytearray]:
    """The bytes of ``chunks`` in blocks of exactly ``size`` bytes; only the last may be shorter.

    No bytes give no block. The receiver owns each block.
    """
    block = bytearray()
    async for chunk in _once(chunks) if isinstance(chunks, bytes) else chunks:
        rest = memoryview(chunk)
        while rest:
            taken = rest[: size - len(block)]
            rest = rest[len(taken) :]
            block += taken
            if len(block) == size:
                yield block
                block = bytearray()
    if block:
        yield block


async def process_in_background(
    gathered: AsyncIterable[bytearray], work: Callable[[bytearray], Awaitable[None]]
) -> None:
    """Await ``work`` on each block in turn while the next one is gathered.

    An error waits for the work under way, a cancellation passes on to it and waits too.
    """
    working: asyncio.Future[None] | None = None
    try:
        async for block in gathered:
            if working is not None:
                await working
            working = asyncio.ensure_future(work(block))
        if working is not None:
            await working
    except BaseException:
        if working is not None:
            await finish_even_if_cancelled(asyncio.wait([working]))
        raise


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
