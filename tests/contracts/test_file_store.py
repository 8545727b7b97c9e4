"""What every FileStore promises, on a folder and on a real S3 server."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batch_gateway.core.errors import NotFound
from batch_gateway.ports.files import FileStore

KIB = 1024
MIB = 1024 * KIB
SMALL = b"one line\nand another\n"
PARTS = random.Random(7).randbytes(20 * MIB + 17)  # larger than two parts of an upload

sizes = pytest.mark.parametrize(
    "content", [SMALL, PARTS], ids=["in one request", "in several parts"]
)


class Interrupted(Exception):
    """Whatever makes a source of bytes fail."""


async def pieces(content: bytes, size: int = 64 * KIB) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def keys(store: FileStore, prefix: str) -> list[str]:
    return [blob.key async for blob in store.list(prefix)]


@sizes
async def test_a_blob_is_read_back_as_it_was_put(file_store: FileStore, content: bytes):
    size = await file_store.put("files/a", pieces(content))

    assert size == len(content) == await file_store.size("files/a")
    assert await whole(file_store.read("files/a")) == content


async def test_a_blob_may_be_put_as_bytes(file_store: FileStore):
    size = await file_store.put("files/a", SMALL)

    assert size == len(SMALL)
    assert await whole(file_store.read("files/a")) == SMALL


async def test_a_blob_may_be_empty(file_store: FileStore):
    size = await file_store.put("files/a", pieces(b""))

    assert size == 0 == await file_store.size("files/a")
    assert await whole(file_store.read("files/a")) == b""
    assert await whole(file_store.read("files/a", start=0, end=5)) == b""


async def test_empty_chunks_change_nothing(file_store: FileStore):
    async def source() -> AsyncIterator[bytes]:
        for chunk in (b"", b"one ", b"", b"line", b""):
            yield chunk

    await file_store.put("files/a", source())

    assert await whole(file_store.read("files/a")) == b"one line"


async def test_a_chunk_may_be_larger_than_a_part(file_store: FileStore):
    await file_store.put("files/a", pieces(PARTS, size=19 * MIB))

    assert await whole(file_store.read("files/a")) == PARTS


async def test_chunks_that_are_read_are_at_most_a_mebibyte(file_store: FileStore):
    await file_store.put("files/a", PARTS)

    lengths = [len(chunk) async for chunk in file_store.read("files/a")]

    assert max(lengths) <= MIB
    assert min(lengths) > 0


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, None),
        (0, 1),
        (5, 9),
        (3 * MIB + 1, 5 * MIB + 2),
        (19 * MIB, None),
        (19 * MIB, 99 * MIB),
        (0, 0),
        (7, 7),
        (9, 7),
        (len(PARTS), None),
        (len(PARTS) + 5, None),
        (len(PARTS) + 5, len(PARTS) + 9),
    ],
)
async def test_a_range_is_what_a_slice_would_be(file_store: FileStore, start: int, end: int | None):
    await file_store.put("files/a", PARTS)

    assert await whole(file_store.read("files/a", start=start, end=end)) == PARTS[start:end]


async def test_a_read_may_be_left_early(file_store: FileStore):
    await file_store.put("files/a", PARTS)

    chunks = file_store.read("files/a")
    first = await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]

    assert PARTS.startswith(first)
    assert await whole(file_store.read("files/a", start=5, end=9)) == PARTS[5:9]


@pytest.mark.parametrize("key", ["files/none", "files", "files/a/none"])
async def test_what_is_not_a_blob_is_not_found(file_store: FileStore, tmp_path: Path, key: str):
    await file_store.put("files/a", SMALL)

    with pytest.raises(NotFound):
        await file_store.size(key)
    with pytest.raises(NotFound):
        await anext(file_store.read(key))
    with pytest.raises(NotFound):
        await anext(file_store.read(key, start=5, end=9))
    with pytest.raises(NotFound):
        await anext(file_store.read(key, start=5, end=5))
    with pytest.raises(NotFound):
        async with file_store.local_copy(key, tmp_path / "scratch"):
            pytest.fail("there is nothing to copy")
    assert not [*tmp_path.glob("scratch/*")]


@sizes
async def test_a_blob_is_unseen_until_it_is_whole(file_store: FileStore, content: bytes):
    seen: list[list[str]] = []

    async def source() -> AsyncIterator[bytes]:
        async for chunk in pieces(content):
            yield chunk
        seen.append(await keys(file_store, "files/"))
        with pytest.raises(NotFound):
            await file_store.size("files/a")

    await file_store.put("files/a", source())

    assert seen == [[]]
    assert await keys(file_store, "files/") == ["files/a"]


@sizes
async def test_a_source_that_fails_leaves_nothing(file_store: FileStore, content: bytes):
    async def source() -> AsyncIterator[bytes]:
        async for chunk in pieces(content):
            yield chunk
        raise Interrupted

    with pytest.raises(Interrupted):
        await file_store.put("files/a", source())

    assert await keys(file_store, "files/") == []
    assert await file_store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


@sizes
async def test_a_cancelled_put_leaves_nothing(file_store: FileStore, content: bytes):
    sent = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        async for chunk in pieces(content):
            yield chunk
        sent.set()
        await asyncio.Event().wait()

    writing = asyncio.ensure_future(file_store.put("files/a", source()))
    await sent.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert await keys(file_store, "files/") == []
    assert await file_store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 40])
async def test_a_put_may_be_cancelled_at_any_step(file_store: FileStore, steps: int):
    async def source() -> AsyncIterator[bytes]:
        async for chunk in pieces(PARTS, size=MIB):
            yield chunk
        await asyncio.Event().wait()

    writing = asyncio.ensure_future(file_store.put("files/a", source()))
    for _ in range(steps):
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert await keys(file_store, "files/") == []
    assert await file_store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


async def test_a_sweep_leaves_a_write_that_began_later(file_store: FileStore):
    swept: list[int] = []

    async def source() -> AsyncIterator[bytes]:
        async for chunk in pieces(PARTS):
            yield chunk
        swept.append(await file_store.sweep(datetime.now(UTC) - timedelta(hours=24)))

    await file_store.put("files/a", source())

    assert swept == [0]
    assert await whole(file_store.read("files/a")) == PARTS


async def test_concurrent_puts_do_not_mix(file_store: FileStore):
    contents = {f"files/{n}": bytes([n]) * (n * 64 * KIB) for n in range(32)}

    sizes = await asyncio.gather(
        *(file_store.put(key, pieces(content)) for key, content in contents.items())
    )

    assert sizes == [len(content) for content in contents.values()]
    for key, content in contents.items():
        assert await whole(file_store.read(key)) == content


async def test_of_concurrent_puts_of_one_key_one_wins_whole(file_store: FileStore):
    contents = [bytes([n]) * (9 * MIB) for n in range(4)]

    await asyncio.gather(*(file_store.put("files/a", pieces(content)) for content in contents))

    assert await whole(file_store.read("files/a")) in contents


async def test_a_listing_says_size_and_age(file_store: FileStore):
    await file_store.put("files/a", SMALL)

    (blob,) = [blob async for blob in file_store.list("files/")]

    assert (blob.key, blob.size) == ("files/a", len(SMALL))
    assert abs(datetime.now(UTC) - blob.modified_at) < timedelta(minutes=1)


async def test_a_listing_ascends_by_key(file_store: FileStore):
    unordered = ["w/b/2", "w/b/10", "w/a/2/y", "w/a/2/x", "w/a/1/z", "w/B", "w/ä", "w/c"]
    for key in unordered:
        await file_store.put(key, SMALL)

    assert await keys(file_store, "w/") == sorted(unordered)
    assert await keys(file_store, "w/a/") == ["w/a/1/z", "w/a/2/x", "w/a/2/y"]


async def test_a_prefix_names_one_folder_exactly(file_store: FileStore):
    for key in ("a/1/x", "a/10/x", "a/1-/x"):
        await file_store.put(key, SMALL)

    assert await keys(file_store, "a/1/") == ["a/1/x"]
    assert await keys(file_store, "a/2/") == []
    assert await file_store.delete_prefix("a/1/") == 1
    assert await keys(file_store, "a/") == ["a/1-/x", "a/10/x"]


async def test_many_blobs_are_listed_and_deleted_page_by_page(file_store: FileStore):
    many = [f"work/b/{n:04}" for n in range(1010)]
    await asyncio.gather(*(file_store.put(key, b"x") for key in many))
    await file_store.put("work/c/1", b"x")

    listed = await keys(file_store, "work/b/")
    removed = await file_store.delete_prefix("work/b/")

    assert listed == many
    assert removed == len(many)
    assert await keys(file_store, "work/") == ["work/c/1"]


async def test_deleting_what_is_not_there_is_no_error(file_store: FileStore):
    await file_store.put("files/a", SMALL)
    await file_store.put("files/b", SMALL)

    await file_store.delete()
    await file_store.delete("files/a", "files/none", "none/at/all")
    await file_store.delete("files/a", "files")

    assert await keys(file_store, "files/") == ["files/b"]
    assert await file_store.delete_prefix("none/") == 0


async def test_a_folder_may_be_emptied_and_filled_at_the_same_time(file_store: FileStore):
    async def fill_and_empty(n: int) -> None:
        for _ in range(10):
            await file_store.put(f"work/b/{n}", SMALL)
            await file_store.delete(f"work/b/{n}")

    await asyncio.gather(*(fill_and_empty(n) for n in range(4)))

    assert await keys(file_store, "work/") == []


@sizes
async def test_a_local_copy_is_a_file_while_it_is_open(
    file_store: FileStore, tmp_path: Path, content: bytes
):
    await file_store.put("files/a", content)

    async with file_store.local_copy("files/a", tmp_path / "scratch") as path:
        copied = path.read_bytes()

    assert copied == content
    assert not [*tmp_path.glob("scratch/*")]


async def test_a_local_copy_is_removed_when_its_user_fails(file_store: FileStore, tmp_path: Path):
    await file_store.put("files/a", b"")

    with pytest.raises(Interrupted):
        async with file_store.local_copy("files/a", tmp_path / "scratch"):
            raise Interrupted

    assert not [*tmp_path.glob("scratch/*")]
    assert await file_store.size("files/a") == 0


async def test_a_store_that_works_passes_its_check(file_store: FileStore):
    await file_store.check()

    assert await file_store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


BAD_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "./a",
    "a/.",
    ".unfinished/a",
    "a\\b",
    "a\0b",
]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_is_no_plain_path_is_refused(
    file_store: FileStore, tmp_path: Path, key: str
):
    with pytest.raises(ValueError, match="not a key"):
        await file_store.put(key, SMALL)
    with pytest.raises(ValueError, match="not a key"):
        await anext(file_store.read(key))
    with pytest.raises(ValueError, match="not a key"):
        await file_store.size(key)
    with pytest.raises(ValueError, match="not a key"):
        await file_store.delete(key)
    with pytest.raises(ValueError, match="not a key"):
        async with file_store.local_copy(key, tmp_path):
            pytest.fail("there is nothing to copy")


@pytest.mark.parametrize("prefix", ["", "/", "a", "a//", "../", "a/../", ".unfinished/"])
async def test_a_prefix_that_is_no_folder_is_refused(file_store: FileStore, prefix: str):
    with pytest.raises(ValueError, match=r"not a key|a prefix ends"):
        await keys(file_store, prefix)
    with pytest.raises(ValueError, match=r"not a key|a prefix ends"):
        await file_store.delete_prefix(prefix)
