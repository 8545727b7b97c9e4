"""Memory does not grow with the input: a file of the largest size that OpenAI takes."""

import json
from pathlib import Path

import pytest
from fixtures.command import up
from fixtures.gateway import TERMINAL, chat_lines, encoded
from openai import OpenAI

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LINES = 50_000
SIZE = 200 * 1024 * 1024
GROWTH_KIB = 150 * 1024


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


def run(client: OpenAI, path: Path) -> int:
    """Run the file as a batch; the number of its results."""
    with path.open("rb") as lines:
        file = client.files.create(file=lines, purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while batch.status not in TERMINAL:
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed", batch
    with client.files.with_streaming_response.content(batch.output_file_id) as response:
        return sum(1 for _ in response.iter_lines())


@pytest.mark.timeout(400)
def test_no_process_grows_by_more_than_150_mib_over_50000_lines_of_200_mb(tmp_path):
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    small.write_bytes(encoded(chat_lines(50, max_tokens=1)))
    text = "x" * (SIZE // LINES - 300)
    with large.open("w") as lines:
        for line in chat_lines(LINES, max_tokens=1):
            line["body"]["messages"] = [{"role": "user", "content": line["custom_id"] + text}]
            lines.write(json.dumps(line) + "\n")
    assert SIZE * 0.97 < large.stat().st_size < SIZE

    with (
        up(tmp_path / "data", "--simulator", LIMITS__START="64") as (pid, base_url),
        OpenAI(base_url=base_url, api_key="x") as client,
    ):
        run(client, small)
        before = {pid: memory(pid, "VmRSS") for pid in family(pid)}
        count = run(client, large)
        growth = {
            name(pid): memory(pid, "VmHWM") - before.get(pid, 100 * 1024) for pid in family(pid)
        }

    growth = {who: grown for who, grown in growth.items() if "simulator" not in who}
    assert count == LINES
    assert {who: grown for who, grown in growth.items() if grown > GROWTH_KIB} == {}
    print(growth)
