"""What is special about blobs in a folder."""

from pathlib import Path

import pytest

from batch_gateway.adapters.local_files import LocalFiles
from batch_gateway.core.errors import Unavailable


async def test_a_listing_ascends_by_the_whole_key_not_folder_by_folder(tmp_path: Path):
    store = LocalFiles(tmp_path)
    unordered = ["w/b", "w/a/z", "w/a-b/c", "w/a/b/c", "w/a.b", "w/a0", "w/a/b-c", "w/ä"]
    for key in unordered:
        await store.put(key, b"x")

    listed = [blob.key async for blob in store.list("w/")]

    assert listed == sorted(unordered)


async def test_folders_go_with_their_last_blob(tmp_path: Path):
    store = LocalFiles(tmp_path)
    await store.put("work/b/1/x", b"x")
    await store.put("work/b/2/x", b"x")
    await store.put("files/a", b"x")

    await store.delete("work/b/1/x")
    await store.delete_prefix("work/b/")
    await store.delete("files/a")

    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


async def test_a_local_copy_is_the_blob_itself(tmp_path: Path):
    store = LocalFiles(tmp_path)
    await store.put("files/a", b"x")

    async with store.local_copy("files/a", tmp_path / "scratch") as path:
        assert path == tmp_path / "files/a"

    assert path.exists()
    assert not (tmp_path / "scratch").exists()


async def test_a_root_that_cannot_be_written_is_unavailable(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    store = LocalFiles(tmp_path / "file")

    with pytest.raises(Unavailable, match=r"file store .*file"):
        await store.check()
    with pytest.raises(Unavailable, match=r"file store .*file"):
        await store.put("files/a", b"x")


async def test_a_blob_that_the_disk_refuses_is_unavailable_and_leaves_nothing(tmp_path: Path):
    store = LocalFiles(tmp_path)
    key = f"files/{'n' * 300}"  # a longer name than a filesystem takes: refused at the rename

    with pytest.raises(Unavailable):
        await store.put(key, b"x")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_an_error_of_the_source_is_not_taken_for_one_of_the_disk(tmp_path: Path):
    async def source():
        yield b"x"
        raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError):
        await LocalFiles(tmp_path).put("files/a", source())
