"""A new user's way through the pages: their commands, typed as they stand, in a clean folder."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from fixtures.command import up
from fixtures.redis import free_port
from openai import OpenAI

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
HERE = "http://127.0.0.1:8080"
SOME_BATCH = "batch_b9b94f15ed9d3855a62cd249f0223a88"  # that the pages show
PROGRAM = f"{shlex.quote(sys.executable)} -m batch_gateway"


def blocks(page: str, kind: str) -> list[str]:
    text = (ROOT / page).read_text()
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(content) for _, each, content in found if each == kind]


class Shell:
    """A terminal beside a running service."""

    def __init__(self, folder: Path, data: Path, url: str) -> None:
        self.folder, self.data, self.url = folder, data, url
        self.batch = SOME_BATCH
        self.said = ""  # by the last command, on standard error

    def type(self, command: str) -> str:
        """What it prints; every command of a page has to succeed."""
        service = self.url.removesuffix("/v1")
        for shown, meant in {
            "~/batches": str(self.data),
            "/var/lib/batches": str(self.data),
            HERE: service,
            "localhost:8080": service.removeprefix("http://"),
            SOME_BATCH: self.batch,
            ".venv/bin/batch-gateway": PROGRAM,
            "examples/": f"{ROOT}/examples/",
        }.items():
            command = command.replace(shown, meant)
        command = re.sub(r"(^|\n|\()(?:sudo -u \w+ \S+/)?batch-gateway ", rf"\1{PROGRAM} ", command)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env={**os.environ, "BATCH_GATEWAY_URL": service, "BATCH": self.batch},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        self.said = done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def ports():
    """Of the broker, and of the subscriber that docs/events.md starts."""
    return free_port(), free_port()


@pytest.fixture(scope="module")
def service(tmp_path_factory, ports):
    data = tmp_path_factory.mktemp("data")
    trigger = tmp_path_factory.mktemp("trigger") / "heard.yaml"
    (text,) = [block for block in blocks("docs/events.md", "yaml") if "heard.yaml" in block]
    trigger.write_text(text.replace("9000", str(ports[1])))
    (start,) = [block for block in blocks("docs/events.md", "sh") if "up --simulator" in block]
    sources = re.search(r"BATCH_GATEWAY_INTAKE__SOURCES='(.*)'", start)[1]
    words = start.replace("8090", str(ports[0])).replace("heard.yaml", str(trigger)).split()
    words = words[words.index("--simulator") :]
    with up(data, *words, INTAKE__SOURCES=sources) as (_, url):
        yield data, url


@pytest.fixture
def shell(service, tmp_path):
    return Shell(tmp_path, *service)


def test_the_readme_s_quick_start(shell):
    typed = [block for block in blocks("README.md", "") if block.startswith(".venv/bin/batch-")]
    start, submit, results = typed[:3]

    shown = shell.type(submit)
    states = shell.said
    shell.batch = shown.split()[-1]
    shell.type(results)

    assert start == ".venv/bin/batch-gateway up --simulator\n"
    (expected,) = blocks("README.md", "text")
    assert shown.splitlines()[-1] == shell.batch
    assert expected.splitlines()[-2].split()[1:] == ["completed", "60/60"]
    assert re.search(rf"^{shell.batch} +completed .*60/60", states, re.MULTILINE), states
    assert len((shell.folder / "results.jsonl").read_text().splitlines()) == 60


def test_the_quick_start_page(shell):
    (lines,) = blocks("docs/quickstart.md", "json")
    (shell.folder / "requests.jsonl").write_text(lines)
    start, submit, results, run, look = blocks("docs/quickstart.md", "")

    assert start == ".venv/bin/batch-gateway up --simulator --data ~/batches\n"
    shell.batch = shell.type(submit).split()[-1]
    assert len(shell.type(results).splitlines()) == 2
    shell.type(run)
    assert len((shell.folder / "results.jsonl").read_text().splitlines()) == 2
    assert shell.batch in shell.type(look)


@pytest.mark.parametrize(
    ("page", "starts"),
    [
        ("docs/quickstart.md", ".venv/bin/batch-gateway list"),
        ("docs/operate-one-machine.md", "batch-gateway status"),
        ("docs/operate-one-machine.md", "batch-gateway doctor"),
        ("docs/operate-one-machine.md", "sudo -u batches"),
        ("docs/operate-one-machine.md", "batch-gateway dead list"),
        ("docs/operate-one-machine.md", "batch-gateway keys create"),
        ("docs/tenants.md", "batch-gateway keys create"),
        ("docs/tenants.md", "batch-gateway keys list"),
        ("docs/audit.md", "batch-gateway audit --tenant"),
        ("docs/audit.md", "batch-gateway audit --json"),
        ("docs/analytics.md", "curl -s 'localhost:8080/v1/usage?start_time"),
        ("docs/analytics.md", "batch-gateway usage"),
    ],
)
def test_an_operator_s_command_of_a_page(shell, page, starts):
    lines = [
        line for kind in ("", "sh") for block in blocks(page, kind) for line in block.splitlines()
    ]

    shell.type(next(line for line in lines if line.startswith(starts)))


def test_what_is_stored_can_be_verified(shell):
    get, verify = blocks("docs/troubleshooting.md", "")
    (shell.folder / "requests.jsonl").write_text(blocks("docs/quickstart.md", "json")[0])
    batch = shell.type("batch-gateway submit requests.jsonl --wait").split()[-1]

    assert "completed" in shell.type(get.replace("BATCH", batch))
    shell.type(verify.replace("DIR", str(shell.data)))


def test_an_event_producer_s_walk(shell, ports):
    """docs/events.md on one machine: a batch is asked for by curl, and its end is heard."""
    (shell.folder / "requests.jsonl").write_text(blocks("docs/quickstart.md", "json")[0])
    (heard,) = [block for block in blocks("docs/events.md", "python") if "# heard.py" in block]
    names, recipe = (
        next(block for block in blocks("docs/events.md", "sh") if block.startswith(first))
        for first in ("FILE=", "data=")
    )
    subscriber = subprocess.Popen(
        [sys.executable, "-c", heard.replace("9000", str(ports[1]))],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        shell.type(names.replace("8090", str(ports[0])) + recipe)
        told = json.loads(shell.type("batch-gateway list --limit 1 --json"))["id"]
        for line in subscriber.stdout:
            type_, batch, _ = line.split(maxsplit=2)
            if batch == told:
                break
    finally:
        subscriber.kill()
        subscriber.wait()
        subscriber.stdout.close()

    assert (type_, batch) == ("dev.batchgateway.batch.completed.v1", told)


def test_the_api_page_s_snippets(shell):
    upload, follow = blocks("docs/api.md", "python")
    (shell.folder / "requests.jsonl").write_text(blocks("docs/quickstart.md", "json")[0])
    script = f"""
from openai import OpenAI
client = OpenAI(base_url="{shell.url}", api_key="unused")
{upload.replace("client.batches.create", "batch = client.batches.create", 1)}
seen = []
{follow.replace("...", "seen.append(line)", 1)}
print(len(seen), client.batches.retrieve(batch.id).status)
"""
    (shell.folder / "snippets.py").write_text(script)

    assert shell.type(f"{shlex.quote(sys.executable)} snippets.py") == "2 completed\n"


def test_the_webhook_page_s_snippets(shell, service):
    create, unwrap = blocks("docs/webhooks.md", "python")
    client = OpenAI(base_url=service[1], api_key="unused")
    names = {"client": client}
    exec(create.replace("https://reports.example.com/hook", "http://127.0.0.1:9/hook"), names)

    assert names["endpoint"].signing_secret.startswith("whsec_")
    assert "client.webhooks.unwrap(body, headers, secret=secret)" in unwrap
