"""An event that fails for ever is kept, and heard again when its cause is mended."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from fixtures.gateway import chat_lines

pytestmark = pytest.mark.e2e


async def dead(data: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batch_gateway",
        "dead",
        *arguments,
        "--data",
        str(data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_a_dead_event_is_kept_and_its_replay_completes_the_batch(start_gateway, tmp_path):
    gateway = await start_gateway(
        settings={"sweep": {"stuck_s": 100_000, "unsent_s": 100_000}}, speed_up=60
    )
    data = tmp_path / "data"
    in_the_way = data / "files" / "work"
    in_the_way.touch()  # so no shard can be stored
    batch = await gateway.submit(chat_lines(3))
    async with asyncio.timeout(60):
        while not (listed := await dead(data, "list", "--json")).strip():
            await asyncio.sleep(0.5)

    letters = [json.loads(line) for line in listed.splitlines()]
    [found] = [each for each in letters if ".batch.created.v1" in each["attributes"]["type"]]
    letter, event_id, reason = found["id"], found["attributes"]["id"], found["reason"]
    code, target = found["code"], found["target"]
    assert found["id"] in await dead(data, "list")
    assert event_id == f"{batch.id}/created"
    assert code in ("500", "503")
    assert "planner" in target
    assert reason.startswith("planner: ")
    assert f"reason: {reason}" in await dead(data, "show", letter)
    assert f'"batch_id": "{batch.id}"' in await dead(data, "show", letter)
    assert (await gateway.client.batches.retrieve(batch.id)).status == "validating"

    in_the_way.unlink()
    assert "1 sent" in await dead(data, "replay", letter)

    ended = await gateway.ended(batch)
    assert (ended.status, ended.request_counts.completed) == ("completed", 3)
    assert letter not in await dead(data, "list")
