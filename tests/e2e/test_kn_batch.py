"""``kn batch`` as ``kn`` would run it: an executable of that name, somewhere on the PATH."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from fixtures.gateway import chat_lines, encoded
from typer.testing import CliRunner

from batch_gateway.cli.main import app

pytestmark = pytest.mark.e2e

PLUGIN = Path(sys.executable).with_name("kn-batch")


class Plugin:
    """The plugin under a name of its own, in a folder where nothing else is."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        path.symlink_to(PLUGIN)
        self._environment = {"PATH": os.environ["PATH"], "OPENAI_BASE_URL": url, "COLUMNS": "200"}

    async def started(self, *words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            self.path, *words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment
        )

    async def __call__(self, *words: str, stdin: bytes = b"", code: int = 0) -> tuple[str, str]:
        process = await self.started(*words)
        output, errors = await process.communicate(stdin)
        assert process.returncode == code, errors.decode()
        return output.decode(), errors.decode()


async def test_a_batch_is_submitted_followed_and_fetched_by_kn(start_gateway, tmp_path):
    gateway = await start_gateway(simulator={"ttft_ms": 20, "slots": 4})
    kn = Plugin(tmp_path / "kn-batch", gateway.platform.base_url)
    lines = chat_lines(40)

    batch = (await kn("submit", "-", "--window", "1h", stdin=encoded(lines)))[0].strip()
    follower = await kn.started("status", batch, "--follow")
    await follower.stderr.readline()
    follower.send_signal(signal.SIGINT)
    _, interrupted = await follower.communicate()
    followed, _ = await kn("results", batch, "--follow")
    output, summary = await kn("results", batch, "--wait")
    await kn("results", batch, "-o", str(tmp_path / "out.jsonl"))
    state, _ = await kn("status", batch)
    listed, _ = await kn("list")
    folder, pids = str(gateway.platform.data), gateway.platform.pids("api")
    whole = await asyncio.to_thread(CliRunner().invoke, app, ["status", "--data", folder])

    assert follower.returncode == 130
    assert f"{batch} continues" in interrupted.decode()
    assert [json.loads(line)["custom_id"] for line in output.splitlines()] == [
        line["custom_id"] for line in lines
    ]
    assert sorted(followed.splitlines()) == sorted(output.splitlines())
    assert summary.splitlines()[-1].startswith(f"{batch} is completed: 40 of 40 requests succeeded")
    assert (tmp_path / "out.jsonl").read_text() == output
    assert state.split() == [batch, "completed", "40/40"]
    assert batch in listed
    services = dict(line.split(maxsplit=1) for line in whole.stdout.splitlines() if line)
    assert {"api", "planner", "executor", "assembler", "janitor"} <= services.keys()
    assert set(services["api"].split()) & set(map(str, pids))
    assert "batches       1 completed" in whole.stdout


async def test_a_batch_that_fails_fails_whoever_waits_for_it(start_gateway, tmp_path):
    gateway = await start_gateway()
    kn = Plugin(tmp_path / "kn-batch", gateway.platform.base_url)
    bad = encoded(chat_lines(1)) + b'{"custom_id": "bad"}\n'

    batch, told = await kn("submit", "-", "--wait", stdin=bad, code=4)

    assert told.splitlines()[-1].startswith(f"batch-gateway: {batch.strip()} is failed: ")


@pytest.mark.parametrize("name", ["kn-batch", "kubectl-batch", "batches"])
async def test_its_help_speaks_the_name_that_it_was_called_by(tmp_path, name):
    plugin = Plugin(tmp_path / name, "http://127.0.0.1:9")

    told, _ = await plugin("--help")
    usage, _ = await plugin("submit", "--help")

    spoken = name.replace("-", " ")
    assert f"Usage: {spoken} [OPTIONS] COMMAND" in told
    assert f"Usage: {spoken} submit [OPTIONS]" in usage
    for command in ("submit", "list", "get", "cancel", "results", "status"):
        assert f" {command} " in told
