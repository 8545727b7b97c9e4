"""What ``make bench`` and ``make compare`` tell of what they have measured."""

import hashlib
import json
import re
from collections import Counter

import pytest
from benchmarks import compare, figure, report, surroundings
from benchmarks.compared_systems import Outcome, Work, judged
from benchmarks.figure import Figure, combined


def measured(p99_ms: float, *, met: bool = True) -> Figure:
    return Figure(
        name="F0",
        title="a figure",
        values={"p99_ms": p99_ms, "rounds": "1, 2", "yes": True},
        mark={"p99_ms": "<= 30"},
        met=met,
    )


def test_several_runs_make_medians_and_ranges():
    found = combined([measured(10.0), measured(40.0, met=False), measured(20.0)])

    assert found.values == {"p99_ms": 20.0, "rounds": "1, 2", "yes": True}
    assert found.met
    assert found.range_of("p99_ms") == "10 to 40"
    assert (found.range_of("rounds"), found.range_of("yes")) == ("", "")
    assert [run["p99_ms"] for run in found.content()["runs"]] == [10.0, 40.0, 20.0]


def test_a_mark_that_half_of_the_runs_miss_is_missed():
    assert not combined([measured(10.0), measured(40.0, met=False)]).met


def test_one_run_is_told_as_it_is():
    assert combined([measured(10.0)]) == measured(10.0)


async def test_one_table_has_machine_versions_and_all_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "RESULTS", tmp_path)
    monkeypatch.delenv("METADATA_URL", raising=False)

    path = await report.keep([measured(10.0), measured(40.0, met=False)], surroundings.machine())

    text, content = path.read_text(), json.loads((tmp_path / "table.json").read_text())
    assert "| | p99_ms | 40 |  | <= 30 | |" in text
    assert "**not met**" in text
    assert {"CPU", "cores", "memory", "kernel", "load average"} == content["machine"].keys()
    assert content["versions"].keys() > {"Python", "project", "Valkey", "PostgreSQL", "redis"}
    assert all(value and f"| {value} |" in text for value in content["versions"].values())
    assert [one["met"] for one in content["figures"]] == [True, False]


def results(*names: str, status: int = 200) -> bytes:
    lines = [{"custom_id": name, "response": {"status_code": status}} for name in names]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def seen(work: Work, *again: int) -> dict[str, object]:
    bodies = [hashlib.sha256(body).hexdigest() for _, body in work.requests()]
    lines = Counter([*range(1, work.lines + 1), *again])
    return {"first_at": 10.5, "lines": lines, "bodies": bodies}


def test_a_batch_that_is_well_is_judged_so():
    work = Work(lines=3)

    files = [results("line-1", "line-3"), results("line-2", status=500)]

    assert judged(work, files, seen(work), 10.0) == Outcome(
        makespan_s=0.0, first_request_s=0.5, bytes_kept=1.0, in_order=True, failed=1
    )


def test_what_is_wrong_with_a_batch_is_found():
    work = Work(lines=4)
    bodies = [json.dumps(json.loads(body)).encode() for _, body in work.requests()]
    changed = [hashlib.sha256(body).hexdigest() for body in bodies]
    files = [results("line-3", "line-1", "line-1"), results("line-4", status=500)]

    found = judged(work, files, {**seen(work, 2, 2), "bodies": changed}, 10.0)

    assert (found.lost, found.doubled, found.failed, found.sent_again) == (1, 1, 1, 2)
    assert (found.bytes_kept, found.in_order) == (0.0, False)
    assert not compare.sound({"one": [found]})
    assert not compare.sound({"one": ["it did not answer"]})


def test_the_table_of_a_comparison_has_medians_ranges_and_reasons():
    lines = compare.table(
        {
            "here": [Outcome(makespan_s=seconds, in_order=True) for seconds in (1.0, 3.0, 2.0)],
            "rival": [Outcome(makespan_s=4.0, cpu_s_per_1000=0.5), "TimeoutError: too late"],
        }
    )

    assert lines[0] == "| | here | rival |"
    assert "| create until completed, s | 2 (1 to 3) | 4 |" in lines
    assert "| CPU seconds per 1,000 lines |  | 0.5 |" in lines
    assert "| output in input order | yes | no |" in lines
    assert "\nrival failed: TimeoutError: too late" in lines


def test_rivals_are_named_by_their_urls_and_processes():
    (one, other) = compare.rivals("a=http://h:1/v1 b=http://h:2/v1/", "a=12,13", "key")

    assert (one.name, one.base_url, one.pids, one.api_key) == (
        "a",
        "http://h:1/v1/",
        [12, 13],
        "key",
    )
    assert (other.base_url, other.pids) == ("http://h:2/v1/", ())


def test_the_page_compare_md_names_all_variables_of_its_command():
    page = (surroundings.ROOT / "docs/compare.md").read_text()
    makefile = (surroundings.ROOT / "Makefile").read_text()
    block = makefile[makefile.index("COMPARED =") : makefile.index("\nimage:")]

    given = set(re.findall(r"\$\(([A-Z_]+)\)", block)) - {"BIN", "VENV", "COMPARED"}
    assert given == set(re.findall(r"`([A-Z_]+)`", page.split("## How to set up")[0])) - {
        "METADATA_URL",
        "RIVAL_API_KEY",
    }
    typed = set(re.findall(r"([A-Z_]+)=", page.split("```")[1]))
    assert typed <= given


@pytest.mark.parametrize(
    ("named", "pids"), [("http://h:1/v1", ""), ("a=http://h:1/v1", "b=12"), ("a=", "")]
)
def test_rivals_that_cannot_be_read_are_refused(named, pids):
    with pytest.raises(ValueError, match=r"NAME=VALUE|no rival"):
        compare.rivals(named, pids, "any")
