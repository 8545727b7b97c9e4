"""What is special about blobs in a bucket: credentials, servers that fail, broken connections."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fixtures.files import s3_store
from fixtures.s3 import S3Server

from batch_gateway.adapters.s3_files import open_s3
from batch_gateway.core.errors import Unavailable
from batch_gateway.ports.files import FileStore

pytestmark = pytest.mark.s3

MIB = 1024 * 1024
CONTENT = random.Random(11).randbytes(20 * MIB + 5)


async def test_a_wrong_secret_is_unavailable_and_says_so(s3_server: S3Server):
    store = s3_store(s3_server, secret_access_key="wrong")

    with pytest.raises(
        Unavailable, match=r"S3 bucket batch-gateway at http.*SignatureDoesNotMatch"
    ):
        await store.check()
    with pytest.raises(Unavailable):
        await store.put("files/a", b"x")
    with pytest.raises(Unavailable):
        await store.size("files/a")
    with pytest.raises(Unavailable):
        await anext(store.read("files/a"))

    await store.close()


async def test_an_unknown_key_pair_is_unavailable_and_says_so(s3_server: S3Server):
    store = open_s3(
        s3_server.bucket,
        s3_server.prefix,
        endpoint=s3_server.endpoint,
        access_key_id="nobody",
        secret_access_key="nothing",
    )

    with pytest.raises(Unavailable, match="InvalidAccessKeyId"):
        await store.check()

    await store.close()


async def test_a_server_that_is_not_there_is_unavailable(s3_server: S3Server):
    store = s3_store(replace(s3_server, endpoint="http://127.0.0.1:9"))

    with pytest.raises(Unavailable, match="Could not connect"):
        await store.check()

    await store.close()


async def test_a_missing_bucket_is_unavailable_not_a_missing_blob(s3_server: S3Server):
    store = s3_store(replace(s3_server, bucket="no-such-bucket"))

    with pytest.raises(Unavailable, match="NoSuchBucket"):
        await anext(store.read("files/a"))

    await store.close()


async def test_stores_under_different_prefixes_do_not_meet(s3_server: S3Server):
    one = s3_store(s3_server)
    other = s3_store(replace(s3_server, prefix=f"/{s3_server.prefix}2/"))
    await one.put("files/a", b"one")
    await other.put("files/b", b"other")

    assert [blob.key async for blob in one.list("files/")] == ["files/a"]
    assert [blob.key async for blob in other.list("files/")] == ["files/b"]

    await one.close()
    await other.close()


async def test_a_broken_download_goes_on_where_it_broke(s3_server: S3Server, tmp_path: Path):
    await put(s3_server, CONTENT)
    async with cutting_proxy(s3_server, after=int(3.5 * MIB)) as proxied:
        store = s3_store(proxied)

        read = b"".join([chunk async for chunk in store.read("files/a", start=7)])
        async with store.local_copy("files/a", tmp_path) as path:
            copied = path.read_bytes()

        await store.close()

    assert read == CONTENT[7:]
    assert copied == CONTENT


async def test_a_download_that_never_gets_on_is_unavailable(s3_server: S3Server, tmp_path: Path):
    await put(s3_server, CONTENT)
    async with cutting_proxy(s3_server, after=0) as proxied:
        store = s3_store(proxied)

        with pytest.raises(Unavailable, match="breaks off"):
            await anext(store.read("files/a"))
        with pytest.raises(Unavailable, match="breaks off"):
            async with store.local_copy("files/a", tmp_path):
                pytest.fail("it cannot be copied")

        await store.close()

    assert [*tmp_path.iterdir()] == []


@pytest.mark.filterwarnings("ignore:tzname")  # of a date that was cut
async def test_an_answer_that_is_cut_anywhere_is_never_taken_for_a_whole_one(
    s3_server: S3Server, tmp_path: Path
):
    content = CONTENT[:12_345]
    await put(s3_server, content)
    refused: Counter[str] = Counter()
    for after in range(8, 700, 17):
        async with cutting_proxy(s3_server, after=after, head=False) as proxied:
            store = s3_store(proxied)
            for name, seen in (
                ("size", store.size("files/a")),
                ("read", whole(store.read("files/a"))),
                ("range", whole(store.read("files/a", start=5, end=12_000))),
                ("copy", copied(store, tmp_path)),
                ("put", store.put("files/b", content)),
            ):
                try:
                    got = await seen
                except Unavailable:
                    refused[name] += 1
                    continue
                expected = {"size": 12_345, "range": content[5:12_000], "put": 12_345}
                assert got == expected.get(name, content), (name, after)
            await store.close()

    assert len(refused) == 5, refused  # each operation met cuts


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def copied(store: FileStore, scratch: Path) -> bytes:
    async with store.local_copy("files/a", scratch) as path:
        return path.read_bytes()


async def test_a_download_never_mixes_two_versions_of_a_blob(s3_server: S3Server):
    await put(s3_server, CONTENT)
    async with cutting_proxy(s3_server, after=int(3.5 * MIB)) as proxied:
        store = s3_store(proxied)

        chunks = store.read("files/a")
        await anext(chunks)
        await put(s3_server, CONTENT[::-1])
        with pytest.raises(Unavailable, match=r"Precondition|412"):
            async for _ in chunks:
                pass

        await store.close()


async def test_a_scratch_folder_that_cannot_be_used_is_unavailable(
    s3_server: S3Server, tmp_path: Path
):
    store = s3_store(s3_server)
    await store.put("files/a", b"x")
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(Unavailable, match="scratch folder"):
        async with store.local_copy("files/a", tmp_path / "file"):
            pytest.fail("there is no folder")

    await store.close()


async def put(server: S3Server, content: bytes) -> None:
    """Store ``files/a``, past any proxy."""
    store = s3_store(server)
    await store.put("files/a", content)
    await store.close()


@asynccontextmanager
async def cutting_proxy(
    server: S3Server, *, after: int, head: bool = True
) -> AsyncIterator[S3Server]:
    """``server`` behind connections that end after the first head and ``after`` bytes more.

    Without ``head``: after so many bytes of the answer, its head included.
    """
    target = urlsplit(server.endpoint)

    async def relay(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        upstream, request = await asyncio.open_connection(target.hostname, target.port)
        asking = asyncio.ensure_future(copy(client, request))
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client hangs up
            if head:
                answer.write(await upstream.readuntil(b"\r\n\r\n"))
            await copy(upstream, answer, after)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        answer.close()
        request.close()

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    async with proxy:
        yield replace(server, endpoint=f"http://127.0.0.1:{port}")


async def copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int | None = None
) -> None:
    """Pass on ``left`` bytes, None: all."""
    while left != 0 and (chunk := await source.read(65536 if left is None else min(left, 65536))):
        left = None if left is None else left - len(chunk)
        sink.write(chunk)
        await sink.drain()
