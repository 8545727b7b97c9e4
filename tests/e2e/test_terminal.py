"""Commands on a terminal: every screen fits it, however wide it is."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fixtures.command import up
from fixtures.gateway import chat_lines, encoded
from fixtures.simulator import simulator_process
from fixtures.terminal import shown
from openai import OpenAI

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Running:
    url: str
    data: Path
    file: str  # of the batch's requests
    batch: str  # one that has ended, of whose six requests two have failed
    simulator: str

    @property
    def environment(self) -> dict[str, str]:
        return {"BATCH_GATEWAY_URL": self.url}


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    lines = chat_lines(6)
    for n in (1, 4):
        lines[n]["body"]["model"] = "absent"
    with (
        simulator_process(slots=4) as simulator,
        up(
            data := tmp_path_factory.mktemp("data"),
            "--inference-url",
            simulator,
            WEBHOOKS__ALLOW_PRIVATE="true",
            WEBHOOKS__ALLOW_HTTP="true",
        ) as (_, url),
    ):
        client = OpenAI(base_url=url, api_key="x")
        file = client.files.create(file=("in.jsonl", encoded(lines)), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        list(client.get(f"/batches/{batch.id}/results?follow=true", cast_to=httpx.Response).text)
        yield Running(url, data, file.id, batch.id, simulator)


async def test_screens_fit_80_columns(running):
    commands = (["list"], ["get", running.batch], ["progress", running.batch, "-f"], ["events"])

    screens = [await shown(*words, **running.environment) for words in commands]

    listed, got, _, events = screens
    assert [screen.code for screen in screens] == [0, 0, 0, 0]
    assert max(screen.width for screen in screens) <= 80
    head, row, below = listed.lines
    assert head.split() == ["ID", "STATUS", "DONE", "FAILED", "MODEL"]
    assert row.split() == [running.batch, "completed", "4/6", "2", "sim-large"]
    assert below.startswith("  created 20")
    assert "  expires 20" in below
    assert events.lines[-2].split()[-2:] == [running.batch, "completed"]
    assert events.lines[-1] == "  4 of 6 succeeded, 2 failed"
    page = got.lines[-1]
    assert page == f"{running.url.removesuffix('/v1')}/console/#/batches/{running.batch}"
    told = dict(line.split(maxsplit=1) for line in got.lines[:-1] if not line.startswith(" "))
    assert told["id"] == running.batch
    assert told["request_counts"] == "6 total, 4 completed, 2 failed"


async def test_the_page_of_each_new_batch_is_told(running, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_bytes(encoded(chat_lines(2)))

    words = ("run", str(file), "-o", str(tmp_path / "out"))
    screen = await shown(*words, columns=300, **running.environment)

    at = next(n for n, line in enumerate(screen.lines) if line.endswith(f" of {file}"))
    batch = screen.lines[at].split()[0]
    assert screen.lines[at + 1].endswith(f"/console/#/batches/{batch}")


async def test_every_command_fits_80_columns(running, tmp_path):
    """All that print something else than requests, results and names of files."""
    requests, broken = tmp_path / "requests.jsonl", tmp_path / "broken.jsonl"
    requests.write_bytes(encoded(chat_lines(4)))
    broken.write_bytes(b"not json\n" + encoded(chat_lines(2)) + encoded(chat_lines(1)))
    (running.data / "files/files/file-that-no-row-names").write_text("x" * 40)
    data = ("--data", str(running.data))
    hook = (
        "webhooks",
        "create",
        "https://127.0.0.1:9/a/rather/long/path/to/a/hook",
        "--name",
        "ours",
    )
    there = await asyncio.gather(
        shown(*hook, **running.environment),
        *(
            shown("keys", "create", "a-tenant-with-a-long-name", "--name", "of a laptop", *data)
            for _ in range(2)
        ),
    )
    commands = [
        ["usage"],
        ["models"],
        ["files", "list"],
        ["files", "get", running.file],
        ["report", running.batch],
        ["estimate", str(requests)],
        ["check", str(requests)],
        ["check", str(broken)],
        ["webhooks", "list"],
        ["webhooks", "event-types"],
        ["config", "list"],
        ["get", "batch_that_is_not_there_and_has_a_rather_long_name_so_that_the_line_is_long"],
        ["pause", running.batch],
        ["retry", running.batch, "--error", "500"],
        ["logs", *data],
        ["verify", *data],
        ["doctor", "-v", *data],
        ["status", *data],
        ["dead", "list", *data],
        ["keys", "list", *data],
        ["audit", *data],
        ["settings"],
        ["settings", "--effective"],
    ]

    screens = [await shown(*words, **running.environment) for words in commands]

    assert [screen.code for screen in there] == [0] * 3
    wide = [
        f"{words[0]}: {line}"
        for words, screen in zip(commands, screens, strict=True)
        for line in screen.lines
        if len(line) > 80
    ]
    silent = [words for words, screen in zip(commands, screens, strict=True) if not screen.lines]
    assert wide == []
    assert silent == []


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_progress_fits_any_width_and_tells_rate_and_time(running, tmp_path, columns):
    file = tmp_path / "in.jsonl"
    file.write_bytes(encoded(chat_lines(24)))
    async with httpx.AsyncClient(base_url=running.simulator) as http:
        (await http.post("/_sim/config", json={"ttft_ms": 400})).raise_for_status()

        screen = await shown(
            *("submit", str(file), "--wait"), columns=columns, **running.environment
        )

        (await http.post("/_sim/config", json={"ttft_ms": 0})).raise_for_status()
    assert screen.code == 0, screen.raw
    assert screen.width <= columns
    assert any(line.startswith("batch_") for line in screen.lines)
    assert any("ETA 0:0" in line and "/24" in line for line in screen.lines)
    assert any("/s" in line for line in screen.lines) or columns == 40
    assert any("completed" in line and "24/24" in line for line in screen.lines)


async def test_no_color_turns_colours_off(running):
    commands = (["list", "-h"], ["list"], ["progress", running.batch, "-f"], ["get"])

    coloured = [await shown(*words, **running.environment) for words in commands]
    plain = [await shown(*words, NO_COLOR="1", **running.environment) for words in commands]

    assert any(screen.coloured for screen in coloured)
    assert [screen.coloured for screen in plain] == [False] * len(commands)


async def test_a_retry_of_an_error_that_did_not_occur_is_refused(running):
    words = ("retry", running.batch, "--error")

    wrong = await shown(*words, "model_not_fuond", columns=300, **running.environment)
    right = await shown(*words, "model_not_found", "--json", **running.environment)

    assert wrong.code == 2
    (told,) = wrong.lines
    refused = f"batch-gateway: no request of {running.batch} failed with model_not_fuond; there are"
    assert told.startswith(refused)
    assert "model_not_found (2)" in told
    assert json.loads("".join(right.lines))["retry_of"] == running.batch


async def test_errors_are_counted_by_class(running):
    words = ("results", running.batch, "-o", "/dev/null")

    screen = await shown(*words, columns=200, **running.environment)
    quiet = await shown(*words, "-q", **running.environment)

    assert screen.lines == [
        f"{running.batch} is completed: 4 of 6 requests succeeded, 2 failed; --errors prints those "
        "without an answer",
        "  2  404 model_not_found",
    ]
    assert quiet.lines == []


async def test_every_help_fits_80_columns():
    async def screen(*words: str):
        return await shown(*words, "-h")

    whole = await screen()
    names = {line.split()[1] for line in whole.lines if line.startswith("│ ")}
    some = await asyncio.gather(*map(screen, sorted(names & {"run", "convert", "check", "dead"})))

    assert {"run", "submit", "check", "convert", "up", "deploy"} <= names
    assert max(each.width for each in (whole, *some)) <= 80
