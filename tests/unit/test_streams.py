"""Gathering streams into blocks, work beside it, and threads that outlive a cancellation."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.adapters.streams import blocks, finish_even_if_cancelled, process_in_background


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
    assert await finish_even_if_cancelled(asyncio.to_thread(int, "7")) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await finish_even_if_cancelled(asyncio.to_thread(int, "seven"))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("times", [1, 2])
async def test_whoever_is_cancelled_waits_for_his_thread(times: int, fails: bool):
    go_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait()
        ended.set()
        if fails:
            raise RuntimeError

    waiting = asyncio.ensure_future(finish_even_if_cancelled(asyncio.to_thread(work)))
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


class Writer:
    """Work that ends only when it is told to, and says what is under way."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self.under_way = 0
        self.go_on = asyncio.Event()
        self.fails = False

    async def __call__(self, block: bytearray) -> None:
        self.under_way += 1
        assert self.under_way == 1, "one block at a time"
        try:
            await self.go_on.wait()
            if self.fails:
                raise RuntimeError("the disk is full")
            self.done.append(bytes(block))
        finally:
            self.under_way -= 1


async def test_the_next_block_is_gathered_while_one_is_worked_on():
    write, gathered = Writer(), []

    async def gathering() -> AsyncIterator[bytearray]:
        for block in (b"a", b"b", b"c"):
            gathered.append(block)
            yield bytearray(block)

    working = asyncio.ensure_future(process_in_background(gathering(), write))
    for _ in range(9):
        await asyncio.sleep(0)
    assert (gathered, write.done) == ([b"a", b"b"], [])
    write.go_on.set()
    await working

    assert write.done == [b"a", b"b", b"c"]


@pytest.mark.parametrize("where", ["gathering", "work", "cancelled"])
async def test_an_error_leaves_no_work_under_way(where: str):
    write = Writer()
    write.fails = where == "work"

    async def gathering() -> AsyncIterator[bytearray]:
        yield bytearray(b"a")
        if where == "gathering":
            raise RuntimeError("the client is gone")
        yield bytearray(b"b")

    working = asyncio.ensure_future(process_in_background(gathering(), write))
    for _ in range(9):
        await asyncio.sleep(0)
    if where == "cancelled":
        working.cancel()
    write.go_on.set()
    with pytest.raises(asyncio.CancelledError if where == "cancelled" else RuntimeError):
        await working

    assert write.under_way == 0
    assert write.done == ([b"a"] if where == "gathering" else [])
