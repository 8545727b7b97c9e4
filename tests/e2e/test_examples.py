"""The scripts of examples/, and the cells of its notebook, on a running service."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.service import SOURCE, SOURCE_KEY

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(service, folder: Path, script: str, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *words],
        cwd=folder,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_data_set_is_labelled_and_a_second_run_makes_no_batch(service, tmp_path):
    rows = [("id", "text"), *((f"r{n}", f'Review "{n}", fine') for n in range(15))]
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)

    shown = run(service, tmp_path, "label_dataset.py", "reviews.csv", "labels.csv")
    batches = len(list(service.client.batches.list(limit=100)))
    again = run(service, tmp_path, "label_dataset.py", "reviews.csv", "labels.csv")

    with (tmp_path / "labels.csv").open(newline="") as file:
        labels = list(csv.DictReader(file))
    assert shown == again == "labels in labels.csv; 0 rows have none\n"
    assert [row["id"] for row in labels] == [f"r{n}" for n in range(15)]
    assert all(row["label"] for row in labels)
    assert len(list(service.client.batches.list(limit=100))) == batches


def test_a_corpus_is_embedded(service, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("# One\n\nHow do I back up?\n\nTwo\n")

    shown = run(service, tmp_path, "embed_corpus.py", "texts", "How do I back up?")

    vectors = json.loads((tmp_path / "embeddings.json").read_text())
    assert list(vectors) == ["a.md#0", "a.md#1", "a.md#2"]
    assert shown.splitlines()[1].split() == ["1.000", "a.md#1"]


def test_a_model_is_evaluated(service, tmp_path):
    shown = run(service, tmp_path, "evaluate.py")

    assert shown.startswith("64 of 64 questions were answered, ")


def test_an_evaluation_retries_what_has_failed(service, tmp_path):
    shown = run(service, tmp_path, "evaluate.py", "absent")

    assert shown == "0 of 64 questions were answered, 0 of them rightly\n"
    retries = [b for b in service.client.batches.list(limit=100) if b.model_extra["retry_of"]]
    assert len(retries) >= 3


def test_a_nightly_job_is_asked_for_by_an_event_once_a_day(service, tmp_path):
    words = ("nightly_event.py", service.broker_url, SOURCE, SOURCE_KEY)

    first = run(service, tmp_path, *words)
    second = run(service, tmp_path, *words)

    assert first.endswith(" is completed: 20 answers\n")
    assert second == first


def test_chained_batches_judge_each_answer(service, tmp_path):
    shown = run(service, tmp_path, "chained_batches.py")

    names = sorted(line.partition(": ")[0] for line in shown.splitlines())
    assert names == sorted(f"complaint-{n}" for n in range(12))


def test_the_cells_of_the_notebook_run(service, monkeypatch):
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    names: dict[str, object] = {}

    for cell in cells:
        exec(compile(cell, "notebook", "exec"), names)
    names["batches"].close()

    assert len(names["answers"]) == 20
    assert (names["found"].status, names["batch"].status) == ("completed", "completed")
    assert all(c.get("outputs", []) == [] for c in notebook["cells"])
