"""The commands for users, against the API on a real server; what executors do is played."""

import io
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures.api import SECRET
from fixtures.gateway import CHAT, chat_lines, encoded
from typer.testing import CliRunner

from batch_gateway.cli.batches import progress_view, service
from batch_gateway.cli.main import app
from batch_gateway.settings import ApiSettings, AuthSettings, QuotaSettings

HEADERS = ("--header", f"x-gateway-secret={SECRET}")


@pytest.fixture
def command(server, tenant, monkeypatch):
    """Runs ``batch-gateway`` as the test's tenant."""
    monkeypatch.setenv("BATCH_GATEWAY_URL", server.url)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def run(*words: str, stdin: bytes = b"", code: int = 0):
        headers = (*HEADERS, "--header", f"x-gateway-tenant={tenant}")
        result = CliRunner().invoke(app, [*words, *headers], input=stdin)
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def requests(tmp_path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(encoded(chat_lines(3)))
    return path


def submitted(command, requests: Path, *words: str) -> str:
    return command("submit", str(requests), *words).stdout.strip()


def test_a_submitted_file_becomes_a_batch_whose_id_alone_is_printed(command, requests):
    batch = submitted(command, requests, "--window", "2h", "--metadata", "team=red")

    found = json.loads(command("get", batch, "--json").stdout)
    assert found["id"] == batch
    assert (found["endpoint"], found["completion_window"]) == (CHAT, "2h")
    assert found["metadata"] == {"team": "red"}


def test_the_page_of_a_batch_is_told_on_a_terminal_and_in_json(
    command, requests, server, monkeypatch
):
    piped = command("submit", str(requests))
    batch = piped.stdout.strip()
    page = f"{server.url}/console/#/batches/{batch}"
    shown = command("get", batch)
    found = json.loads(command("get", batch, "--json").stdout)
    made = json.loads(command("submit", str(requests), "--json").stdout)
    stderr = SimpleNamespace(isatty=lambda: True)
    at_terminal = SimpleNamespace(stderr=stderr)
    monkeypatch.setattr("batch_gateway.cli.batches.console_page.sys", at_terminal)
    told = command("submit", str(requests))
    quiet = command("submit", str(requests), "--quiet")
    described = command("get", batch)

    assert "console" not in piped.output + shown.output + quiet.output
    assert found["console_url"] == page
    assert made["console_url"].endswith(f"/console/#/batches/{made['id']}")
    assert told.stderr == f"{server.url}/console/#/batches/{told.stdout.strip()}\n"
    assert described.stderr == f"{page}\n"
    assert described.stdout == shown.stdout


def test_a_service_without_console_tells_no_page(serve_api, tenant, requests, monkeypatch):
    with serve_api(ApiSettings(console=False)) as other:
        monkeypatch.setenv("BATCH_GATEWAY_URL", other.url)
        words = (*HEADERS, "--header", f"x-gateway-tenant={tenant}", "--json")
        result = CliRunner().invoke(app, ["submit", str(requests), *words])

    assert result.exit_code == 0
    assert "console_url" not in json.loads(result.stdout)


def test_requests_come_from_standard_input_too_and_say_where_they_go(command):
    line = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {}}\n'

    batch = command("submit", "-", stdin=line * 40_000).stdout.strip()

    assert json.loads(command("get", batch, "--json").stdout)["endpoint"] == "/v1/embeddings"


def test_any_field_of_the_request_can_be_given(command, requests):
    fields = ("--field", "priority=0", "--field", "on_invalid_line=skip", "--field", "dry_run=true")

    answer = json.loads(command("submit", str(requests), "--json", *fields).stdout)

    assert (answer["priority"], answer["on_invalid_line"], answer["dry_run"]) == (0, "skip", True)


def test_a_listing_goes_on_over_pages_and_keeps_to_what_is_asked(command, requests, monkeypatch):
    batches = [submitted(command, requests, "--metadata", f"n={n}") for n in range(5)]
    monkeypatch.setattr("batch_gateway.cli.batches.commands._PAGE", 2)

    every = [json.loads(line)["id"] for line in command("list", "--json").stdout.splitlines()]
    newest = command("list", "--limit", "3").stdout.splitlines()
    one = command("list", "--metadata", "n=3", "--status", "validating").stdout.splitlines()
    none = command("list", "--model", "absent").stdout.splitlines()

    assert every == batches[::-1]
    assert [line.split()[0] for line in newest] == ["ID", *batches[:1:-1]]
    assert [line.split()[0] for line in one] == ["ID", batches[3]]
    assert len(none) == 1


def test_a_batch_is_described_without_what_is_not_known(command, requests):
    batch = submitted(command, requests)

    lines = command("get", batch).stdout.splitlines()

    told = dict(line.split(maxsplit=1) for line in lines)
    assert told["id"] == batch
    assert told["status"] == "validating"
    assert told["created_at"].endswith("Z")
    assert "output_file_id" not in told


def test_a_batch_is_steered(command, requests):
    batch = submitted(command, requests)

    told = [command(verb, batch).stdout for verb in ("pause", "resume", "cancel", "progress")]

    assert [line.split() for line in told] == [
        [batch, "validating", "paused"],
        [batch, "validating"],
        [batch, "cancelling"],
        [batch, "cancelling"],
    ]


def test_a_batch_that_has_not_ended_cannot_be_retried(command, requests):
    batch = submitted(command, requests)

    told = command("retry", batch, "--error", "batch_expired", "--window", "1h", code=1).stderr

    assert "(409)" in told


def test_results_of_a_batch_that_has_not_ended_are_not_there_yet(command, requests):
    batch = submitted(command, requests)

    told = command("results", batch, code=1).stderr

    assert (
        told == f"batch-gateway: not there yet: {batch}  validating; wait with --wait or --follow\n"
    )


@pytest.mark.parametrize("words", [["get"], ["cancel"], ["results"], ["progress", "--follow"]])
def test_an_unknown_batch_is_told_in_one_line(command, words):
    told = command(*words, "batch_unknown", code=1).stderr

    assert told.startswith("batch-gateway: ")
    assert "batch_unknown" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["submit", "absent.jsonl"], "cannot read absent.jsonl: No such file or directory"),
        (["submit", "."], "cannot read .: Is a directory"),
        (["get", "../files"], "not the id of a batch"),
        (["list", "--metadata", "nothing"], "--metadata takes NAME=VALUE, not nothing"),
        (["list", "--url", "localhost:80"], "it begins with http:// or https://"),
    ],
)
def test_a_wrong_command_line_ends_with_2(command, words, hint):
    told = command(*words, code=2).stderr

    assert hint in " ".join(told.replace("│", " ").split())


def test_a_refused_file_makes_no_batch(command, tmp_path):
    other = tmp_path / "latin-1.jsonl"
    other.write_bytes(b'{"custom_id":"donn\xe9es"}')

    told = command("submit", str(other), code=1).stderr

    assert told == "batch-gateway: Invalid file for Batch API. Must be utf-8 encoded (400)\n"
    assert command("list", "--json").stdout == ""


def test_a_service_that_is_not_there_ends_with_3(command, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"

        told = command("list", "--url", url, code=3).stderr

    assert told.startswith(f"batch-gateway: cannot reach {url}/v1: ")


def test_a_missing_key_is_asked_for(serve_api, monkeypatch):
    with serve_api(auth=AuthSettings(kind="api-key")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.delenv("BATCH_GATEWAY_URL", raising=False)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)

        result = CliRunner().invoke(app, ["list"])

    assert result.exit_code == 1
    assert "give the key as BATCH_GATEWAY_API_KEY or --api-key" in result.stderr


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({"OPENAI_BASE_URL": "here", "OPENAI_API_KEY": "theirs"}, "theirs"),
        ({"BATCH_GATEWAY_URL": "here", "OPENAI_API_KEY": "theirs"}, None),
        (
            {
                "BATCH_GATEWAY_URL": "here",
                "OPENAI_BASE_URL": "https://api.example.org/v1",
                "OPENAI_API_KEY": "theirs",
            },
            None,
        ),
        (
            {"OPENAI_BASE_URL": "here", "OPENAI_API_KEY": "x", "BATCH_GATEWAY_API_KEY": "ours"},
            "ours",
        ),
    ],
)
def test_openai_s_key_is_sent_to_openai_s_url_alone(variables, sent, monkeypatch):
    for name in ("BATCH_GATEWAY_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "BATCH_GATEWAY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    seen = []

    class Listening(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": [], "has_more": false}')

        def log_message(self, *_) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Listening)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        for name, value in variables.items():
            here = f"http://127.0.0.1:{server.server_port}"
            monkeypatch.setenv(name, here if value == "here" else value)
        told = CliRunner().invoke(app, ["list"])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert told.exit_code == 0, told.output
    assert seen == [None if sent is None else f"Bearer {sent}"]


def test_a_limit_is_waited_for_as_long_as_it_says_but_not_for_ever(
    serve_api, requests, monkeypatch
):
    pauses = []
    monkeypatch.setattr(service, "time", SimpleNamespace(sleep=pauses.append))
    quota = QuotaSettings(batches_per_hour=0, uploads_per_minute=4)
    with serve_api(ApiSettings(), auth=AuthSettings(kind="none"), quota=quota) as server:
        monkeypatch.setenv("BATCH_GATEWAY_URL", server.url)

        results = [CliRunner().invoke(app, ["submit", str(requests)]) for _ in range(5)]

    assert [result.exit_code for result in results] == [0] * 4 + [1]
    assert "(429)" in results[-1].stderr
    assert len(pauses) == 3
    assert pauses[0] > 1


def test_following_shows_each_change_once_and_ctrl_c_leaves_the_batch_alone(
    command, requests, monkeypatch
):
    batch = submitted(command, requests)
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            command("pause", batch)
        if len(pauses) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        progress_view, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    )
    told = command("progress", batch, "--follow", code=130).stderr.splitlines()

    assert told == [
        f"{batch}  validating",
        f"{batch}  validating  paused",
        f"batch-gateway: {batch} continues; see it with `get`, end it with `cancel`",
    ]
    assert json.loads(command("get", batch, "--json").stdout)["status"] == "validating"


def test_a_terminal_gets_a_bar(command, requests, monkeypatch):
    batch = submitted(command, requests)
    monkeypatch.setattr(
        progress_view,
        "time",
        SimpleNamespace(sleep=lambda _s: interrupt(), monotonic=time.monotonic),
    )
    monkeypatch.setattr(progress_view.sys, "stderr", Terminal())

    with progress_view.view_of() as view:
        view.show(json.loads(command("get", batch, "--json").stdout))

    assert batch in progress_view.sys.stderr.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def interrupt() -> None:
    raise KeyboardInterrupt


def test_help_needs_neither_the_http_client_nor_the_cluster_s(monkeypatch):
    import subprocess

    code = (
        "import sys; from batch_gateway.cli.main import app; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(app, ['submit', '--help']).exit_code == 0;"
        "print([m for m in ('httpx', 'kubernetes', 'sqlalchemy') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


class Breaking(BaseHTTPRequestHandler):
    """A service whose streams break: each answer is the next of ``answers``, cut off if asked."""

    answers: list[tuple[bytes, bool]] = []  # noqa: RUF012 - one class per test
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        if "/results" not in self.path:
            content = json.dumps(ENDED).encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        content, cut = self.answers.pop(0)
        self.send_header("Content-Length", str(len(content) + cut))
        self.end_headers()
        self.wfile.write(content)
        if cut:
            self.close_connection = True

    def log_message(self, *_) -> None:
        """Log nothing."""


ENDED = {
    "id": "batch_1",
    "status": "completed",
    "request_counts": {"total": 3, "completed": 3, "failed": 0},
    "error_file_id": None,
    "output_file_id": "file-1",
}


def test_results_that_are_followed_come_once_although_the_connection_breaks(monkeypatch):
    odd = '{"id": "2", "text": "\u2028 ends no line"}\n'.encode()
    Breaking.answers = [
        (b'{"id": "1"}\n{"cursor":"c1","status":"in_progress"}\n' + odd, True),
        (odd + b'{"id": "3"}\n{"cursor":"c2","status":"in_progress"}\n', False),
        (b'{"cursor":"c3","status":"completed"}\n', False),
    ]
    Breaking.asked = []
    monkeypatch.setattr(service, "time", SimpleNamespace(sleep=lambda _s: None))
    server = HTTPServer(("127.0.0.1", 0), Breaking)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        told = CliRunner().invoke(app, ["results", "batch_1", "--follow", "--url", url])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert told.exit_code == 0, told.output
    assert told.stdout_bytes == b'{"id": "1"}\n' + odd + b'{"id": "3"}\n'
    follows = [path for path in Breaking.asked if "/results" in path]
    assert [path.partition("after=")[2] for path in follows] == ["", "c1", "c2"]
