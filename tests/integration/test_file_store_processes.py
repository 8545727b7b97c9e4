"""A file store in a process of its own: what its death leaves, and how much memory it takes."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fixtures.files import s3_store
from fixtures.s3 import S3Server

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.ports.files import FileStore

MIB = 1024 * 1024
STREAM_MIB = 300
GROWTH_MIB = 120  # generous: measured are 5 (folder) and 48 (S3)

OPEN_STORE = """
import asyncio, json, re, sys
from pathlib import Path

kind, where = sys.argv[1], json.loads(sys.argv[2])
if kind == "filesystem":
    from batch_gateway.adapters.local_files import LocalFiles
    store = LocalFiles(Path(where))
else:
    from batch_gateway.adapters.s3_files import open_s3
    store = open_s3(**where)
"""

HANG_IN_MID_WRITE = """
async def source():
    for _ in range(40):
        yield bytes(1024 * 1024)
    print("sent", flush=True)
    await asyncio.Event().wait()

asyncio.run(store.put("files/a", source()))
"""

HANG_WITH_A_COPY = """
async def main():
    async with store.local_copy("files/a", Path(sys.argv[3])) as path:
        print(len(path.read_bytes()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

# Not ru_maxrss: a child inherits that of the process that started it.
STREAM = f"""
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

async def source():
    for _ in range({STREAM_MIB} * 16):
        yield bytes(64 * 1024)

async def main():
    await store.put("warm", bytes(1024))
    before = peak()
    await store.put("files/a", source())
    size = 0
    async for chunk in store.read("files/a"):
        size += len(chunk)
    async with store.local_copy("files/a", Path(sys.argv[3])) as path:
        assert path.stat().st_size == size
    print(json.dumps({{"size": size, "grown": peak() - before}}))

asyncio.run(main())
"""


@pytest.fixture(params=["filesystem", pytest.param("s3", marks=pytest.mark.s3)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store_and_arguments(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[FileStore, list[str]]:
    """A store, and the arguments by which a child process opens the same one."""
    if kind == "filesystem":
        return LocalFiles(tmp_path / "files"), [kind, json.dumps(str(tmp_path / "files"))]
    server: S3Server = request.getfixturevalue("s3_server")
    return s3_store(server), [kind, json.dumps(asdict(server))]


async def test_a_killed_writer_leaves_nothing_but_what_a_sweep_removes(store_and_arguments):
    store, arguments = store_and_arguments
    await store.put("files/b", b"x")
    command = [sys.executable, "-c", OPEN_STORE + HANG_IN_MID_WRITE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"sent\n"
        writer.send_signal(signal.SIGKILL)
    now = datetime.now(UTC)

    listed = [blob.key async for blob in store.list("files/")]
    swept_too_early = await store.sweep(now - timedelta(hours=24))
    swept = await store.sweep(now + timedelta(hours=24))
    swept_again = await store.sweep(now + timedelta(hours=24))

    assert listed == ["files/b"]
    assert (swept_too_early, swept, swept_again) == (0, 1, 0)
    assert await store.size("files/b") == 1
    await store.close()


async def test_a_killed_reader_leaves_no_local_copy(store_and_arguments, tmp_path: Path):
    store, arguments = store_and_arguments
    await store.put("files/a", b"x" * MIB)
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-c", OPEN_STORE + HANG_WITH_A_COPY, *arguments, str(scratch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"1048576\n"
        reader.send_signal(signal.SIGKILL)

    assert not [*scratch.glob("*")]
    await store.close()


async def test_memory_does_not_grow_with_the_blob(store_and_arguments, tmp_path: Path):
    _, arguments = store_and_arguments
    command = [sys.executable, "-c", OPEN_STORE + STREAM, *arguments, str(tmp_path / "scratch")]

    finished = subprocess.run(command, stdout=subprocess.PIPE, check=True)

    seen = json.loads(finished.stdout)
    assert seen["size"] == STREAM_MIB * MIB
    assert seen["grown"] < GROWTH_MIB * MIB
