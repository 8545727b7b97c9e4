"""The snippets of README and docs/extensions.md do what they say, on a running service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.command import up
from openai import OpenAI

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
HERE = "http://127.0.0.1:8080/v1"

#: jq, as far as the pages use it: the raw value of one field.
JQ = f"""#!{sys.executable}
import json, sys
flag, path = sys.argv[1:]
assert flag == "-r" and path[0] == ".", sys.argv
value = json.load(sys.stdin)[path[1:]]
print("null" if value is None else value)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with up(tmp_path_factory.mktemp("data"), "--simulator") as (_, url):
        yield url


@pytest.fixture
def folder(tmp_path):
    """Where the snippets run: with the README's request line as file, and a jq."""
    line, _ = snippets("README.md", "json")
    (tmp_path / "requests.jsonl").write_text(line)
    jq = tmp_path / "bin" / "jq"
    jq.parent.mkdir()
    jq.write_text(JQ)
    jq.chmod(0o755)
    return tmp_path


def snippets(page: str, kind: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(folder: Path, url: str, *command: str, script: str, **environment: str) -> str:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        input=script.replace(HERE, url),
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_s_python_prints_the_result(service, folder):
    (script,) = snippets("README.md", "python")

    shown = run(folder, service, sys.executable, "-", script=script)

    assert '"custom_id":"ticket-1"' in shown
    assert '"status_code":200' in shown


def test_the_readme_s_curl_prints_the_result(service, folder):
    (script,) = snippets("README.md", "sh")

    shown = run(folder, service, "bash", "-euo", "pipefail", script=script)

    assert '"custom_id":"ticket-1"' in shown


def test_each_extension_works_in_python(service, folder):
    script = "\n".join(snippets("docs/extensions.md", "python"))
    checks = """
assert sorted(line["custom_id"] for line in results) == ["line-0", "line-1", "line-2"]
assert found["status"] == "completed"
assert estimated["sim-large"] > 0
assert (careful.request_counts.completed, careful.request_counts.failed) == (3, 1)
assert again.model_extra["retry_of"] == careful.id
assert after.model_extra["after"] == batch.id
assert (paused.model_extra["paused"], resumed.model_extra["paused"]) == (True, False)
assert (updated.model_extra["priority"], updated.completion_window) == (1, "7d")
assert removed["deleted"] is True
assert ended(after).status == "completed"
"""

    run(folder, service, sys.executable, "-", script=script + checks)


def test_each_extension_works_with_curl(service, folder):
    script = "\n".join(snippets("docs/extensions.md", "sh"))

    shown = run(folder, service, "bash", "-euo", "pipefail", script=script + "\necho; echo $BATCH")

    batch = OpenAI(base_url=service, api_key="x").batches.retrieve(shown.split()[-1])
    assert batch.status == "completed"


def test_the_client_page_s_snippets_run(service, folder):
    script = "\n".join(snippets("docs/client.md", "python"))

    shown = run(
        folder, service, sys.executable, "-", script=script, BATCH_GATEWAY_URL=service
    ).splitlines()

    assert [line.split()[0] for line in shown[:100]] == [f"request-{n}" for n in range(100)]
    assert shown[100] == "hello True"
    assert shown[102] == "completed"
    assert int(shown[-1]) > 1
