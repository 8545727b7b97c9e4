"""Memory does not grow with the input: half of what OpenAI takes, in bytes and in lines.

A component that buffered everything would show: the figures F6 and F7 measure whole files, and
larger ones.
"""

import json
from pathlib import Path

import pytest
from fixtures.command import up
from fixtures.counts import followed_by_thread
from fixtures.gateway import chat_lines, encoded
from fixtures.simulator import simulator_process
from openai import OpenAI
from openai.types import Batch

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LINES = 25_000
SIZE = 100 * 1024 * 1024
GROWTH_KIB = 75 * 1024


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def memory(pid: int, field: str) -> int:
    """KiB of a process: VmRSS now, VmHWM at its highest."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise LookupError(field)


def name(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return (
        command[3].decode()
        if b"batch_gateway.web.serve" in command
        else b" ".join(command[:4]).decode()
    )


def run(client: OpenAI, path: Path, **options: object) -> Batch:
    """Run the file as a batch."""
    with path.open("rb") as lines:
        file = client.files.create(file=lines, purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_body=options,
    )
    batch = followed_by_thread(lambda: client.batches.retrieve(batch.id), batch, seconds=300)
    assert batch.status == "completed", batch
    return batch


def results_of(client: OpenAI, batch: Batch) -> int:
    with client.files.with_streaming_response.content(batch.output_file_id) as response:
        return sum(1 for _ in response.iter_lines())


def write(path: Path, lines: int) -> Path:
    """An input file of ``SIZE`` bytes, about, with so many ``lines``."""
    text = "x" * (SIZE // lines - 300)
    with path.open("w") as file:
        for line in chat_lines(lines, max_tokens=1):
            line["body"]["messages"] = [{"role": "user", "content": line["custom_id"] + text}]
            file.write(json.dumps(line) + "\n")
    assert SIZE * 0.97 < path.stat().st_size < SIZE
    return path


@pytest.mark.timeout(400)
def test_no_process_grows_by_more_than_75_mib_over_100_mb(tmp_path):
    """Many lines are surveyed, and as many bytes in fewer lines go through all functions."""
    small = tmp_path / "small.jsonl"
    small.write_bytes(encoded(chat_lines(50, max_tokens=1)))
    many = write(tmp_path / "many.jsonl", LINES)
    long = write(tmp_path / "long.jsonl", LINES // 10)
    growth: dict[str, int] = {}

    with (
        simulator_process(kv_blocks=0) as url,
        up(tmp_path / "data", "--inference-url", url, LIMITS__START="64") as (platform, base_url),
        OpenAI(base_url=base_url, api_key="x") as client,
    ):
        run(client, small)
        before = {pid: memory(pid, "VmRSS") for pid in family(platform)}

        def look() -> None:
            """Before a function goes to zero."""
            for pid in family(platform):
                grown = memory(pid, "VmHWM") - before.get(pid, 100 * 1024)
                growth[name(pid)] = max(grown, growth.get(name(pid), 0))

        surveyed = run(client, many, dry_run=True)
        look()
        results = results_of(client, run(client, long))
        look()

    assert (surveyed.request_counts.total, results) == (LINES, LINES // 10)
    assert {"api", "planner", "executor", "assembler"} <= growth.keys()
    assert {who: grown for who, grown in growth.items() if grown > GROWTH_KIB} == {}
