"""Commands for users that are not about one batch's run: files, models, webhooks, reports, logs."""

import json
import re
import subprocess
import sys

import pytest
from fixtures.gateway import chat_lines, encoded
from fixtures.terminal import shown

pytestmark = pytest.mark.e2e


def test_files_are_uploaded_listed_fetched_and_deleted(service, tmp_path):
    content = encoded(chat_lines(2))
    source = tmp_path / "mine.jsonl"
    source.write_bytes(content)

    name = service.run("files", "upload", str(source)).stdout.strip()
    listed = service.run("files", "list", "--purpose", "batch", "--limit", "500").stdout
    told = service.run("files", "get", name).stdout
    fetched = service.run("files", "content", name).stdout
    refused = service.run("files", "delete", name, stdin=b"n\n", code=1)
    deleted = service.run("files", "delete", name, "--yes", "--json").stdout
    gone = service.run("files", "get", name, code=1).stderr

    (row,) = [line for line in listed.splitlines() if line.startswith(name)]
    assert (row.split()[1], row.split()[-1]) == (str(len(content)), "mine.jsonl")
    assert re.search(r"^filename +mine.jsonl$", told, re.MULTILINE)
    assert fetched.encode() == content
    assert "nothing was deleted" in refused.stderr
    assert json.loads(deleted) == {"id": name, "deleted": True}
    assert name in gone


def test_models_are_listed(service):
    names = service.run("models").stdout.split()
    found = [json.loads(line) for line in service.run("models", "--json").stdout.splitlines()]

    assert "sim-large" in names
    assert [model["id"] for model in found] == names


def test_webhook_endpoints_are_made_tested_and_deleted(service, receiver_url):
    made = service.run("webhooks", "create", receiver_url, "--name", "mine")
    secret = made.stdout.strip()
    name = made.stderr.split(";")[0]
    listed = service.run("webhooks", "list").stdout
    tested = service.run("webhooks", "test", name).stdout
    changed = service.run("webhooks", "update", name, "--event", "batch.failed", "--json").stdout
    rotated = service.run("webhooks", "rotate", name, "--keep").stdout.strip()
    log = service.run("webhooks", "deliveries", name, "--json").stdout
    types = service.run("webhooks", "event-types").stdout.split()
    listed_types = service.run("webhooks", "event-types", "--json").stdout
    deleted = service.run("webhooks", "delete", name, "--json").stdout
    gone = service.run("webhooks", "get", name, code=1).stderr

    assert secret.startswith("whsec_")
    assert rotated.startswith("whsec_")
    assert rotated != secret
    assert [line.split()[:3] for line in listed.splitlines()[1:]] == [[name, "active", "mine"]]
    assert tested == f"{name} answered 200\n"
    assert json.loads(changed)["event_types"] == ["batch.failed"]
    assert log == ""
    assert "batch.completed" in types
    assert json.loads(listed_types)["data"] == types
    assert json.loads(deleted) == {"id": name, "deleted": True}
    assert name in gone


@pytest.fixture
def receiver_url():
    """Answers 200 to everything."""
    code = (
        "from http.server import *\n"
        "class R(BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        self.rfile.read(int(self.headers['content-length']))\n"
        "        self.send_response(200); self.end_headers()\n"
        "    def log_message(self, *_): pass\n"
        "s = HTTPServer(('127.0.0.1', 0), R)\n"
        "print(s.server_port, flush=True)\n"
        "s.serve_forever()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
    process.kill()
    process.wait()
    process.stdout.close()


def test_an_estimate_leaves_neither_file_nor_batch(service, tmp_path):
    source = tmp_path / "estimated.jsonl"
    source.write_bytes(encoded(chat_lines(5)))
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"custom_id": "1"}\n')

    told = service.run("estimate", str(source)).stdout
    failed = service.run("estimate", str(bad), code=4).stderr

    assert told.splitlines()[0] == "requests  5"
    assert re.search(r"^model     sim-large: about \d+ tokens$", told, re.MULTILINE)
    assert "line 1: Missing required parameter: 'method'." in failed
    names = [file.filename for file in service.client.files.list(limit=1000)]
    assert not {"estimated.jsonl", "bad.jsonl"} & set(names)
    dry = [batch for batch in service.client.batches.list() if batch.model_extra["dry_run"]]
    assert dry == []


def test_the_doctor_finds_a_running_platform_in_order(service):
    told = service.run("doctor", "--data", str(service.data), "-v").stdout

    assert "answers and serves sim-large" in told
    assert told.splitlines()[-1].startswith("0 error, 0 warning, 0 note")


def test_a_batch_is_changed_and_removed_with_its_files(service):
    with service.slowed(ttft_ms=15_000):
        batch = service.submitted(encoded(chat_lines(40)))
        service.run("pause", batch.id)
    updated = json.loads(
        service.run("update", batch.id, "--priority", "1", "--window", "7d", "--json").stdout
    )
    nothing = service.run("update", batch.id, code=2).stderr
    early = service.run("delete", batch.id, "--yes", code=1).stderr
    service.run("resume", batch.id)
    ended = service.ended(batch.id)
    deleted = service.run("delete", batch.id, "--yes", "--files").stdout

    assert (updated["priority"], updated["completion_window"]) == (1, "7d")
    assert "--priority or --window" in " ".join(nothing.replace("│", " ").split())
    assert "(409)" in early
    assert deleted.splitlines() == [
        f"{batch.id} deleted",
        f"{batch.input_file_id} deleted",
        f"{ended.output_file_id} deleted",
    ]


def test_events_of_a_batch_are_told_in_order_and_followed_to_its_end(service):
    batch = service.submitted(encoded(chat_lines(3)))

    followed = service.run("events", batch.id, "--follow", "--json").stdout
    printed = service.run("events", batch.id).stdout
    every = service.run("events", "--limit", "1000").stdout

    found = [json.loads(line) for line in followed.splitlines()]
    assert [event["event"] for event in found] == [
        "created",
        "in_progress",
        "finalizing",
        "completed",
    ]
    assert found[-1]["remark"] == "3 of 3 succeeded, 0 failed"
    assert [line.split()[3] for line in printed.splitlines()] == [e["event"] for e in found]
    assert f"{batch.id}  completed" in every


def test_logs_are_those_of_a_batch_if_asked(service):
    batch = service.submitted(encoded(chat_lines(2)))
    other = service.submitted(encoded(chat_lines(2)))
    service.ended(batch.id)
    service.ended(other.id)
    folder = ("--data", str(service.data))

    everything = service.run("logs", *folder, "--tail", "100000").stdout
    mine = service.run("logs", *folder, "--batch", batch.id, "--tail", "100000").stdout
    planner = service.run("logs", "planner", *folder, "--batch", batch.id).stdout
    for_programs = service.run("logs", "planner", *folder, "--batch", batch.id, "--json").stdout
    absent = service.run("logs", "absent", *folder, code=2).stderr
    wrong = service.run("logs", "--data", str(service.data.parent), code=2).stderr

    assert batch.id in everything
    assert other.id in everything
    assert other.id not in mine
    assert all(batch.id in line for line in mine.splitlines() if re.match(r"\d\d:", line))
    assert "Planned 2 lines" in planner
    told = [json.loads(line) for line in for_programs.splitlines()]
    assert {each["function"] for each in told} == {"planner"}
    assert [each["record"] for each in told] == planner.splitlines()
    assert "no log of absent; there are: api," in absent
    assert "is no folder of `batch-gateway up --data`" in wrong


async def test_a_report_tells_phases_throughput_and_tokens(service, tmp_path):
    lines = chat_lines(30)
    lines[3]["body"]["model"] = "<absent>"
    batch = service.submitted(encoded(lines))
    service.ended(batch.id)
    page = tmp_path / "report.html"

    text = await shown("report", batch.id, **service.environment)
    told = json.loads(service.run("report", batch.id, "--json").stdout)
    both = service.run("report", batch.id, "--json", "--format", "html", code=2).stderr
    service.run("report", batch.id, "-o", str(page))

    assert text.code == 0
    assert text.width <= 80
    assert text.lines[:2] == [batch.id, "completed: 29 of 30 requests succeeded, 1 failed"]
    assert {"Phases", "Throughput", "Tokens"} <= set(text.lines)
    assert [phase["name"] for phase in told["phases"]] == [
        "validating",
        "in_progress",
        "finalizing",
    ]
    assert told["batch"]["id"] == batch.id
    assert "exclude each other" in " ".join(both.replace("│", " ").split())
    html = page.read_text()
    assert html.startswith("<!doctype html>")
    assert "<h2>Phases</h2>" in html
    assert "<absent>" not in html
    assert "http" not in html
