"""The drills of docs/backup.md, with their very commands and a batch in flight."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fixtures.gateway import chat_lines, custom_ids
from fixtures.postgres import BIN
from fixtures.simulator import until
from redis.asyncio import Redis

PAGE = (Path(__file__).parents[2] / "docs/backup.md").read_text()
LINES = 300

pytestmark = pytest.mark.e2e


def commands(chapter: str, section: str) -> str:
    """The block of commands under a heading of the page."""
    _, _, text = PAGE.partition(f"\n## {chapter}\n")
    _, _, text = text.partition(f"\n### {section}\n")
    found = re.search(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


async def run(chapter: str, section: str, *, tools: str = "", **variables: str) -> str:
    """What the block prints; it must end well, each line of it. ``tools``: a folder of programs
    that replace those of the same names."""
    path = f"{tools}:{Path(sys.executable).parent}:{BIN}:{os.environ['PATH']}".lstrip(":")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", commands(chapter, section)),
        env={**os.environ, "PATH": path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def stopped(gateway) -> None:
    gateway.platform.stop()
    await gateway.platform.stopped()


async def finished(gateway, batch_id: str) -> None:
    """The batch ends, with every line once."""
    batch = await gateway.ended(await gateway.client.batches.retrieve(batch_id))
    output, errors = await gateway.results(batch)
    assert (batch.status, errors) == ("completed", [])
    assert custom_ids(output) == [f"line-{n}" for n in range(1, LINES + 1)]
    assert batch.request_counts.completed == LINES


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    folder = tmp_path / "backup"
    folder.mkdir()
    return folder


async def test_one_machine(start_gateway, backup, tmp_path):
    data = tmp_path / "data"
    gateway = await start_gateway(data=data, simulator={"ttft_ms": 1200})
    done = await gateway.ended(await gateway.submit(chat_lines(3)))
    batch = await gateway.halfway(await gateway.submit(chat_lines(LINES)), done=20)
    assert batch.status == "in_progress"
    await stopped(gateway)
    begun = len(await gateway.arrivals())
    variables = {"DATA": str(data), "BACKUP": str(backup)}
    await run("One machine", "Back up", **variables)

    shutil.rmtree(data)
    data.mkdir()
    told = await run("One machine", "Restore", **variables)
    assert "0 damaged" in told
    await gateway.configure(ttft_ms=5)
    again = await start_gateway(data=data, inference_url=gateway.inference_url)

    await finished(again, batch.id)
    output, _ = await again.results(await again.client.batches.retrieve(done.id))
    assert len(output) == 3
    interrupted = begun - batch.request_counts.completed
    assert len(await again.arrivals()) <= LINES + interrupted  # the rest was not asked again
    await stopped(again)
    assert "0 damaged" in await verified(data)


async def verified(data: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batch_gateway", "verify", "--data", str(data)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.postgres
async def test_postgresql_while_everything_runs(
    start_gateway, postgres_url, backup, valkey_url, tmp_path
):
    files = tmp_path / "files"
    files.mkdir()
    settings = {
        "metadata": {"url": postgres_url, "migrate": True},
        "files": {"url": f"file://{files}"},
        "scratch": {"url": valkey_url},
    }
    variables = {
        "BACKUP": str(backup),
        "FILES": str(files),
        "DATABASE": urlsplit(postgres_url)._replace(scheme="postgresql").geturl(),
        "BATCH_GATEWAY_METADATA__URL": postgres_url,
        "BATCH_GATEWAY_FILES__URL": f"file://{files}",
    }
    gateway = await start_gateway(settings=settings, simulator={"ttft_ms": 1200})
    done = await gateway.ended(await gateway.submit(chat_lines(3)))
    batch = await gateway.halfway(await gateway.submit(chat_lines(LINES)), done=20)
    backing_up = asyncio.create_task(
        run("PostgreSQL", "Back up", tools=str(waiting_pg_dump(tmp_path)), **variables)
    )
    await until(lambda: (tmp_path / "files are copied").exists() or backing_up.done())
    between = await gateway.client.files.create(
        file=("between.jsonl", b'{"custom_id": "between"}\n'), purpose="batch"
    )
    (tmp_path / "go on").touch()
    await backing_up
    batch = await gateway.client.batches.retrieve(batch.id)
    assert batch.status == "in_progress"  # it was in flight all the time
    await stopped(gateway)

    shutil.rmtree(files)
    files.mkdir()
    async with Redis.from_url(valkey_url) as redis:
        await redis.flushall()
    told = await run("PostgreSQL", "Restore", **variables)
    assert "0 damaged" in told
    await gateway.configure(ttft_ms=5)
    again = await start_gateway(
        settings=settings, inference_url=gateway.inference_url, data=tmp_path / "other"
    )
    found = await again.client.batches.retrieve(batch.id)

    assert found.status == "in_progress"
    await again.submit(chat_lines(1))  # calls the janitor: no event tells of the other batch
    await finished(again, batch.id)
    output, _ = await again.results(await again.client.batches.retrieve(done.id))
    assert len(output) == 3
    content = await again.client.files.content(between.id)
    assert content.read() == b'{"custom_id": "between"}\n'


def waiting_pg_dump(folder: Path) -> Path:
    """A folder with a ``pg_dump`` that waits before it begins, until ``go on`` exists."""
    tools = folder / "tools"
    tools.mkdir()
    program = tools / "pg_dump"
    program.write_text(
        f"#!/bin/bash\ntouch '{folder}/files are copied'\n"
        f"until [ -e '{folder}/go on' ]; do sleep 0.05; done\n"
        f'exec {BIN}/pg_dump "$@"\n'
    )
    program.chmod(0o755)
    return tools


def test_every_chapter_with_commands_has_both_halves():
    for chapter in ("One machine", "PostgreSQL"):
        assert "tar" in commands(chapter, "Back up")
        assert commands(chapter, "Restore").splitlines()[-1].startswith("batch-gateway verify")
