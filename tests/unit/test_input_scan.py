"""What a survey notes of each line, for all that planning does afterwards."""

import json
from dataclasses import replace

import pytest

from batch_gateway.adapters.sqlite_line_index import SqliteLineIndexes
from batch_gateway.core.lines import custom_id_hash
from batch_gateway.core.validation import LineValidator
from batch_gateway.services.plan.input_scan import InputRules, scan_lines
from batch_gateway.settings import PlanningSettings

RULES = InputRules(
    planning=PlanningSettings(), max_lines=100, max_file_bytes=1_000_000, strict=False
)
BODY = {"model": "m", "input": "x"}


def line(name, **body):
    url = "/v1/embeddings"
    return {"custom_id": name, "method": "POST", "url": url, "body": BODY | body}


@pytest.mark.parametrize("twins", [True, False])
def test_each_line_is_noted_with_its_place_its_name_and_its_twin(tmp_path, twins):
    lines = [json.dumps(line(name, **body)).encode() for name, body in NAMED]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(lines))
    validator = LineValidator("/v1/embeddings", models=frozenset(), strict=False, twins=twins)

    with SqliteLineIndexes(tmp_path).open() as index:
        scan = scan_lines(path, index, validator, RULES)
        refs = list(index.ordered())

    content = path.read_bytes()
    assert scan.total == len(refs) == 3
    assert [content[ref.offset :][: ref.length] for ref in refs] == lines
    assert [ref.custom_id_hash for ref in refs] == [custom_id_hash(name) for name, _ in NAMED]
    assert len({ref.twin for ref in refs}) == (2 if twins else 1)
    assert all(bool(ref.twin) is twins for ref in refs)


NAMED = [("a", {}), ("b", {"user": "u"}), ("c", {})]


def test_a_batch_may_not_name_any_number_of_models(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(json.dumps(line(f"r{n}", model=f"m{n % 4}")) for n in range(20)))
    validator = LineValidator("/v1/embeddings", models=frozenset(), strict=False)

    def errors(most):
        rules = replace(RULES, planning=PlanningSettings(max_models=most))
        with SqliteLineIndexes(tmp_path).open() as index:
            return scan_lines(path, index, validator, rules).errors

    assert errors(4) == []
    (error,) = errors(3)
    assert error.code == "too_many_models"
    assert "more than 3 different models" in error.message
