"""What ``batch-gateway up`` prints about its disk."""

import asyncio
import shutil
from types import SimpleNamespace

from batch_gateway.local.disk_space import watch_disk_space


async def test_a_full_disk_is_told_once_and_so_is_its_end(tmp_path, monkeypatch, caplog):
    free, looked = {"bytes": 100}, 0

    def usage(_folder):
        nonlocal looked
        looked += 1
        return SimpleNamespace(free=free["bytes"])

    async def several_looks():
        until = looked + 3
        async with asyncio.timeout(45):
            while looked < until:
                await asyncio.sleep(0.001)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    watching = asyncio.create_task(watch_disk_space(tmp_path, least=50, every_s=0.001))
    for free["bytes"] in (100, 10, 100, 10):
        await several_looks()
    watching.cancel()
    await asyncio.wait({watching})

    told = ["is full" in record.message for record in caplog.records]
    assert told == [True, False, True]
    assert all(str(tmp_path) in record.message for record in caplog.records)
