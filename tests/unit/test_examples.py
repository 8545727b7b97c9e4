"""The example batches are what their script writes, and what the demo relies on."""

import importlib.util
import itertools
import json
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = ("support-tickets.jsonl", "reviews.jsonl")


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]


def test_the_files_are_what_the_script_writes(tmp_path):
    spec = importlib.util.spec_from_file_location("make_examples", EXAMPLES / "make_examples.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    script.write(tmp_path)

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
