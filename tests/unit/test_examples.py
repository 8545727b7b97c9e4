"""The example batches are what their script writes, and what the demo relies on."""

import importlib.util
import itertools
import json
from pathlib import Path
from types import ModuleType

from openai.types import Batch, BatchUsage
from rich.console import Console

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = ("support-tickets.jsonl", "reviews.jsonl")


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]


def loaded(name: str) -> ModuleType:
    """A script of examples/ as a module; it is not run."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_files_are_what_the_script_writes(tmp_path):
    loaded("make_examples").write(tmp_path)

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes()


def test_tickets_share_six_system_prompts_in_shuffled_order():
    bodies = [line["body"] for line in lines("support-tickets.jsonl")]
    prompts = [body["messages"][0]["content"] for body in bodies]

    assert len(bodies) == 1200
    assert len(set(prompts)) == 6
    assert sum(one != two for one, two in itertools.pairwise(prompts)) > 800
    assert len({body["messages"][1]["content"] for body in bodies}) == 1200
    assert {body["model"] for body in bodies} == {"sim-large"}


def test_reviews_go_to_the_other_model():
    assert {line["body"]["model"] for line in lines("reviews.jsonl")} == {"sim-small"}


def test_custom_ids_are_unique():
    for name in FILES:
        ids = [line["custom_id"] for line in lines(name)]
        assert len(ids) == len(set(ids))


def test_the_table_of_the_demo_fits_a_terminal_of_80_columns():
    usage = BatchUsage(
        input_tokens=2_742_810,
        input_tokens_details={"cached_tokens": 2_489_120},
        output_tokens=319_000,
        output_tokens_details={"reasoning_tokens": 0},
        total_tokens=3_061_810,
    )
    times = {"created_at": 0, "in_progress_at": 1, "finalizing_at": 200, "completed_at": 3000}
    batch = Batch.model_construct(**times, usage=usage)
    paths = [EXAMPLES / name for name in FILES]
    console = Console(width=80)

    with console.capture() as shown:
        console.print(loaded("demo").where_the_time_went([(path, batch) for path in paths]))

    rows = [line.split() for line in shown.get().splitlines() if "2,742,810" in line]
    names = [path.stem for path in paths]
    assert rows == [
        [name, "1", "199", "2800", "2,742,810", "2,489,120", "319,000"] for name in names
    ]
    assert max(len(line.rstrip()) for line in shown.get().splitlines()) <= 80
