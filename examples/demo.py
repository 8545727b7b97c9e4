"""The main job, shown: two real batches through all functions, with the OpenAI SDK.

Starts the embedded platform with the model simulator, uploads JSONL files, creates a batch of
1,200 chat requests and, while it runs, a small one for another model; shows their progress; proves
the results (counts, order, one line per custom_id) and says where the time went. Run by
``make demo``.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI
from openai.types import Batch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

HERE = Path(__file__).parent
LARGE = HERE / "support-tickets.jsonl"
SMALL = HERE / "reviews.jsonl"
READY = "Batch Gateway is ready: "
TERMINAL = {"completed", "failed", "expired", "cancelled"}

console = Console()


@contextmanager
def platform(data: Path) -> Iterator[str]:
    """The embedded platform with the simulator; yields the API's base URL."""
    command = [sys.executable, "-m", "batch_gateway", "up", "--simulator", "--port", "0"]
    process = subprocess.Popen([*command, "--data", str(data)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(READY):
                yield line.removeprefix(READY).strip()
                return
            console.print(line.rstrip())
        raise SystemExit("the platform did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def submit(client: OpenAI, path: Path, endpoint: str) -> Batch:
    with path.open("rb") as lines:
        file = client.files.create(file=lines, purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")


def run(client: OpenAI) -> list[tuple[Path, Batch]]:
    """Submit both files and follow them to the end."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]:<12}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        running = {LARGE: submit(client, LARGE, "/v1/chat/completions")}
        bars = {LARGE: progress.add_task(LARGE.name, total=None, status="validating")}
        while (
            not all(batch.status in TERMINAL for batch in running.values()) or SMALL not in running
        ):
            if SMALL not in running and running[LARGE].status == "in_progress":
                running[SMALL] = submit(client, SMALL, "/v1/embeddings")
                bars[SMALL] = progress.add_task(SMALL.name, total=None, status="validating")
            for path, batch in running.items():
                running[path] = batch = client.batches.retrieve(batch.id)
                counts = batch.request_counts
                assert counts is not None
                progress.update(
                    bars[path],
                    completed=counts.completed + counts.failed,
                    total=counts.total or None,
                    status=batch.status,
                )
            time.sleep(0.2)
    return list(running.items())


def prove(client: OpenAI, path: Path, batch: Batch) -> None:
    """Every custom_id of the input has exactly one result, in input order."""
    wanted = [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]
    got: list[str] = []
    for file in (batch.output_file_id, batch.error_file_id):
        if file is not None:
            text = client.files.content(file).text
            got += [json.loads(line)["custom_id"] for line in text.splitlines()]
    counts = batch.request_counts
    assert batch.status == "completed", batch
    assert counts is not None
    assert counts.total == len(wanted) == counts.completed + counts.failed, counts
    assert got == wanted, "results are missing, double or out of order"
    console.print(
        f"[green]✓[/] {path.name}: {len(got)} results, each custom_id once, in input order"
    )


def where_the_time_went(batches: list[tuple[Path, Batch]]) -> Table:
    """At most 80 columns wide."""
    title = "Where the time went (seconds), and tokens"
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    for name in ("batch", "validating", "running", "merging", "input", "cached", "output"):
        table.add_column(name, justify="left" if name == "batch" else "right", no_wrap=True)
    for path, batch in batches:
        assert batch.in_progress_at
        assert batch.finalizing_at
        assert batch.completed_at
        assert batch.usage
        table.add_row(
            path.stem,
            str(batch.in_progress_at - batch.created_at),
            str(batch.finalizing_at - batch.in_progress_at),
            str(batch.completed_at - batch.finalizing_at),
            f"{batch.usage.input_tokens:,}",
            f"{batch.usage.input_tokens_details.cached_tokens:,}",
            f"{batch.usage.output_tokens:,}",
        )
    return table


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batch-gateway-demo-") as data:
        console.print("Starting the functions' platform and a model simulator ...")
        with platform(Path(data)) as base_url, OpenAI(base_url=base_url, api_key="demo") as client:
            console.print(f"Ready at {base_url} after {time.monotonic() - began:.1f} s")
            batches = run(client)
            for path, batch in batches:
                prove(client, path, batch)
            console.print(where_the_time_went(batches))
    console.print(f"Everything is stopped. {time.monotonic() - began:.1f} s in all.")


if __name__ == "__main__":
    main()
