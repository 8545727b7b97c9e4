"""Gathering streams into blocks, and threads that outlive a cancellation."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.adapters.streams import blocks, to_end


async def source(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(1, 12))
def test_blocks_hold_the_same_bytes_and_only_the_last_is_shorter(chunks: list[bytes], size: int):
    async def gather() -> list[bytes]:
        return [bytes(block) async for block in blocks(source(chunks), size)]

    gathered = asyncio.run(gather())

    assert b"".join(gathered) == b"".join(chunks)
    assert all(len(block) == size for block in gathered[:-1])
    assert all(0 < len(block) <= size for block in gathered[-1:])


async def test_blocks_may_come_from_plain_bytes():
    assert [bytes(block) async for block in blocks(b"abcde", 2)] == [b"ab", b"cd", b"e"]


async def test_the_outcome_of_work_is_passed_on():
    assert await to_end(asyncio.to_thread(int, "7")) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await to_end(asyncio.to_thread(int, "seven"))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("times", [1, 2])
async def test_whoever_is_cancelled_waits_for_his_thread(times: int, fails: bool):
    go_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait()
        ended.set()
        if fails:
            raise RuntimeError

    waiting = asyncio.ensure_future(to_end(asyncio.to_thread(work)))
    for _ in range(times):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()

    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert ended.is_set()
    assert waiting.cancelled()
