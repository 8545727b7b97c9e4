"""The command line as its users have it: processes against a whole service."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from fixtures.gateway import chat_lines, encoded

pytestmark = pytest.mark.e2e

PIPE = asyncio.subprocess.PIPE


class CommandLine:
    def __init__(self, url: str) -> None:
        self.environment = {"PATH": os.environ["PATH"], "BATCH_GATEWAY_URL": url}

    async def started(self, *words: str, stdout: int = PIPE) -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "batch_gateway", *words)
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=stdout, stderr=PIPE, env=self.environment
        )

    async def __call__(self, *words: str, stdin: bytes = b"", code: int = 0) -> tuple[str, str]:
        process = await self.started(*words)
        output, errors = await process.communicate(stdin)
        assert process.returncode == code, errors.decode()
        return output.decode(), errors.decode()


def written(path: Path, lines) -> str:
    path.write_bytes(encoded(lines))
    return str(path)


async def test_a_run_that_is_interrupted_goes_on_with_the_same_command(start_gateway, tmp_path):
    gateway = await start_gateway(simulator={"ttft_ms": 2000, "slots": 4})
    command = CommandLine(gateway.platform.base_url)
    file = written(tmp_path / "in.jsonl", chat_lines(12))
    words = ("run", file, "-o", str(tmp_path / "out.jsonl"))

    first = await command.started(*words)
    begun = (await first.stderr.readline()).decode()
    await first.stderr.readline()  # it follows the batch
    first.send_signal(signal.SIGINT)
    _, told = await first.communicate()
    there = (tmp_path / "out.jsonl").exists()
    await gateway.configure(ttft_ms=0)
    _, again = await command(*words)
    _, third = await command(*words, "--quiet")
    listed, _ = await command("list", "--json")

    batch = begun.split()[0]
    assert (first.returncode, there) == (130, False)
    assert (
        f"batch-gateway: {batch} continues; the same command fetches the results" in told.decode()
    )
    assert again.splitlines()[0] == f"{batch} of {file} continues; --new makes another"
    assert again.splitlines()[-1].endswith("is completed: 12 of 12 requests succeeded, 0 failed")
    assert third == ""
    assert [json.loads(line)["id"] for line in listed.splitlines()] == [batch]
    results = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["custom_id"] for each in results] == [f"line-{n}" for n in range(1, 13)]


async def test_runs_print_every_result_once_and_fail_where_asked(start_gateway, tmp_path):
    gateway = await start_gateway()
    command = CommandLine(gateway.platform.base_url)
    lines = chat_lines(4)
    lines[1]["body"]["model"] = "nobody"
    one = written(tmp_path / "one.jsonl", lines)
    two = written(tmp_path / "two.jsonl", chat_lines(2))

    printed, _ = await command("run", one, two)
    _, any_failed = await command("run", one, "--fail-on-errors", "-o", os.devnull, code=4)
    await command("run", one, "--fail-on-errors=25%", "-o", os.devnull)
    piped, _ = await command("run", "-", "--new", "-q", stdin=encoded(chat_lines(2)))
    (tmp_path / "outs").mkdir()
    await command("run", one, two, "-o", str(tmp_path / "outs"))

    names = [json.loads(line)["custom_id"] for line in printed.splitlines()]
    assert sorted(names) == ["line-1", "line-1", "line-2", "line-2", "line-3", "line-4"]
    assert "is completed, but 1 of 4 requests failed (25.0%)" in any_failed.splitlines()[-1]
    assert len(piped.splitlines()) == 2
    outs = {path.name: path.read_text().splitlines() for path in (tmp_path / "outs").iterdir()}
    assert {name: len(lines) for name, lines in outs.items()} == {
        "one.results.jsonl": 4,
        "two.results.jsonl": 2,
    }
    assert Path(os.devnull).is_char_device()


async def test_a_failed_batch_says_what_is_wrong_with_which_lines(start_gateway, tmp_path):
    gateway = await start_gateway()
    command = CommandLine(gateway.platform.base_url)
    bad = chat_lines(1) + [{"custom_id": str(n)} for n in range(14)]
    file = written(tmp_path / "bad.jsonl", bad)

    _, told = await command("run", file, "-q", code=4)
    listed, _ = await command("list", "--json")
    batch = json.loads(listed)["id"]
    others = [
        await command(*words, code=4)
        for words in (["results", batch], ["progress", batch], ["progress", batch, "--follow"])
    ]

    lines = told.splitlines()
    assert lines[0] == f"batch-gateway: {batch} is failed: 14 errors"
    assert lines[1] == (
        "  line 2: Missing required parameter: 'method'. (missing_required_parameter)"
    )
    assert len(lines) == 12
    assert lines[-1] == f"  and 4 more: batch-gateway get {batch}"
    assert [f"{batch} is failed: 14 errors" in errors for _, errors in others] == [True] * 3


async def test_output_that_cannot_be_written_ends_a_command_in_a_line(start_gateway):
    gateway = await start_gateway()
    command = CommandLine(gateway.platform.base_url)
    lines = chat_lines(300)
    batch = (await command("submit", "-", "--wait", stdin=encoded(lines)))[0].strip()
    full = os.open("/dev/full", os.O_WRONLY)
    commands = (
        ["results", batch],
        ["results", batch, "-f"],
        ["list"],
        ["get", batch],
        ["settings"],
    )

    ended = []
    for words in commands:
        reading, writing = os.pipe()
        os.close(reading)
        for place in (writing, full):
            process = await command.started(*words, stdout=place)
            _, errors = await process.communicate()
            ended.append((process.returncode, errors.decode()))
        os.close(writing)
    os.close(full)

    no_space = "batch-gateway: cannot write standard output: No space left on device\n"
    assert [code for code, _ in ended] == [141, 1] * len(commands)
    assert [errors for _, errors in ended] == ["", no_space] * len(commands)
