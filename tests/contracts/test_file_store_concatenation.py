"""Blobs made of other blobs: what every FileStore promises, on a folder and on a real S3 server."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from batch_gateway.adapters.s3_files.pieces import LARGEST, SMALLEST, BlobRange, pieces
from batch_gateway.core.errors import NotFound
from batch_gateway.ports.files import FileStore

MIB = 1024 * 1024
BYTES = random.Random(11).randbytes(13 * MIB)


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def put_all(store: FileStore, contents: Sequence[bytes]) -> list[str]:
    names = [f"uploads/u/{number}" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        await store.put(name, content)
    return names


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [1],
        [0, 7, 0],
        [3, 1, 2],
        [5 * MIB],
        [5 * MIB, 1],
        [1, 5 * MIB],
        [13 * MIB, 13 * MIB],
        [13 * MIB, 0, 2, 3 * MIB, 9 * MIB, 5],
        [2 * MIB] * 7,
    ],
    ids=str,
)
async def test_blobs_follow_one_another(file_store: FileStore, sizes: list[int]):
    contents = [BYTES[number : number + size] for number, size in enumerate(sizes)]
    contents = [content[:size] for content, size in zip(contents, sizes, strict=True)]
    parts = await put_all(file_store, contents)

    size = await file_store.concatenate("files/a", parts)

    expected = b"".join(contents)
    assert size == len(expected) == await file_store.size("files/a")
    assert await whole(file_store.read("files/a")) == expected
    assert [blob.key async for blob in file_store.list("uploads/")] == parts


async def test_the_order_is_that_of_the_list_and_a_blob_may_come_twice(file_store: FileStore):
    one, two = await put_all(file_store, [b"one", BYTES])

    await file_store.concatenate("files/a", [two, one, two])

    assert await whole(file_store.read("files/a")) == BYTES + b"one" + BYTES


@pytest.mark.parametrize("sizes", [[3], [6 * MIB]], ids=["small", "large"])
async def test_a_missing_part_is_not_found_and_leaves_nothing(
    file_store: FileStore, sizes: list[int]
):
    parts = await put_all(file_store, [BYTES[:size] for size in sizes])

    with pytest.raises(NotFound):
        await file_store.concatenate("files/a", [*parts, "uploads/u/gone"])

    with pytest.raises(NotFound):
        await file_store.size("files/a")
    assert await file_store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


@pytest.mark.parametrize("steps", [1, 3, 10, 40])
async def test_it_may_be_cancelled_at_any_step_and_leaves_nothing(
    file_store: FileStore, steps: int
):
    parts = await put_all(file_store, [BYTES, b"1", BYTES])

    working = asyncio.create_task(file_store.concatenate("files/a", parts))
    for _ in range(steps):
        await asyncio.sleep(0)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)

    assert working.cancelled()
    with pytest.raises(NotFound):
        await file_store.size("files/a")
    assert await file_store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


async def test_keys_that_are_no_plain_paths_are_refused(file_store: FileStore):
    await file_store.put("files/a", b"a")

    with pytest.raises(ValueError, match="not a key"):
        await file_store.concatenate("../b", ["files/a"])
    with pytest.raises(ValueError, match="not a key"):
        await file_store.concatenate("files/b", ["files/a", "../a"])


def test_the_pieces_of_any_blobs_are_what_s3_takes_and_cover_each_byte_once_in_order():
    chance = random.Random(5)
    for _ in range(300):
        sizes = [
            chance.choice([0, 1, SMALLEST - 1, SMALLEST, 3 * SMALLEST, 2 * LARGEST + 9])
            for _ in range(chance.randrange(8))
        ]

        found = list(pieces(sizes))

        spans = [
            span for piece in found for span in ([piece] if type(piece) is BlobRange else piece)
        ]
        lengths = [
            sum(span.end - span.start for span in ([piece] if type(piece) is BlobRange else piece))
            for piece in found
        ]
        assert all(length >= SMALLEST for length in lengths[:-1])
        assert all(length <= LARGEST for length in lengths)
        assert all(
            length <= SMALLEST
            for piece, length in zip(found, lengths, strict=True)
            if type(piece) is not BlobRange
        )
        place = [(span.blob, span.start) for span in spans]
        assert place == sorted(place)
        for blob, size in enumerate(sizes):
            assert sum(span.end - span.start for span in spans if span.blob == blob) == size
