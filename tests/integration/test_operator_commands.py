"""Commands for operators of one machine, and completion; as processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from batch_gateway.adapters.sql import open_sql
from batch_gateway.settings import Settings

COMMAND = (sys.executable, "-m", "batch_gateway")


def run(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, env=variables)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
async def data(tmp_path) -> Path:
    """A folder as ``up --data`` leaves it."""
    folder = tmp_path / "data"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "signing-key").touch(mode=0o600)
    (folder / "lock").touch()
    url = f"sqlite+aiosqlite:///{folder}/metadata.db"
    await (await open_sql(url, pool_size=1, migrate=True)).close()
    return folder


def test_the_example_has_every_setting_with_its_default(tmp_path):
    lines = run("settings", "--example").stdout.splitlines()

    assert all(not line or line.startswith("#") for line in lines)
    fields = [re.sub(r"^# ", "", line) for line in lines if re.match(r"# ( {2})?[a-z_0-9]+:", line)]
    groups = yaml.safe_load("\n".join(fields))
    assert {group: set(found) for group, found in groups.items()} == {
        group: set(type(field.default).model_fields)
        for group, field in Settings.model_fields.items()
    }
    file = tmp_path / "settings.yaml"
    file.write_text("\n".join(fields))
    shown = run("settings", "--effective", "--config", str(file), "--json").stdout
    for line in map(json.loads, shown.splitlines()):
        group, name = line["setting"].split(".")
        default = getattr(Settings.model_fields[group].default, name)
        if isinstance(default, bool | int | float):
            assert line["value"] == default, line


def test_effective_values_come_with_their_origin_and_without_secrets(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("retry: {attempts: 7}\nauth: {secret: hush}\n")
    variables = {"BATCH_GATEWAY_API__MAX_LINES": "9", "BATCH_GATEWAY_INFERENCE__API_KEY": "hush"}

    shown = run("settings", "--effective", "--config", str(file), "--json", **variables).stdout

    found = {line["setting"]: line for line in map(json.loads, shown.splitlines())}
    assert (found["retry.attempts"]["value"], found["retry.attempts"]["origin"]) == (7, str(file))
    assert found["api.max_lines"]["origin"] == "BATCH_GATEWAY_API__MAX_LINES"
    assert found["api.max_file_bytes"]["origin"] == "default"
    assert found["auth.secret"]["value"] == found["inference.api_key"]["value"] == "(secret, set)"
    assert "hush" not in shown


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("BATCH_GATEWAY_RETRY__ATEMPTS", "did you mean retry.attempts? (BATCH_GATEWAY_RETRY__ATE"),
        ("BATCH_GATEWAY_INFERNCE__URL", "has no effect; did you mean inference.url?"),
    ],
)
def test_a_misspelt_setting_is_told_with_what_it_may_be(variable, told):
    code = 2 if "RETRY" in variable else 0

    assert told in run("settings", "--effective", code=code, **{variable: "1"}).stderr


def test_a_misspelt_group_of_a_file_is_told(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("inferense: {url: x}\n")

    told = run("settings", "--effective", "--config", str(file), code=2).stderr

    assert "there is no group of settings 'inferense'; did you mean inference?" in told


def test_the_doctor_looks_at_a_folder(data):
    good = run("doctor", "--data", str(data), "-v").stdout
    (data / "secrets" / "signing-key").chmod(0o644)
    warned = run("doctor", "--data", str(data), "--json").stdout
    absent = run("doctor", "--data", str(data / "absent"), code=2).stderr

    assert "answers and has this release's schema" in good
    assert f"no platform runs on {data}" in good
    assert "0 error, 0 warning" in good
    findings = [json.loads(line) for line in warned.splitlines()]
    (warning,) = [found for found in findings if found["severity"] == "warning"]
    assert warning["fix"] == f"chmod 600 {data}/secrets/signing-key"
    assert "is no folder of `batch-gateway up --data`" in absent
    assert not (data / "absent").exists()


def test_commands_and_options_are_completed_in_a_shell():
    script = run("completion", "bash").stdout

    def completed(line: str) -> set[str]:
        words = line.split(" ")
        asked = {
            "_BATCH_GATEWAY_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        command = Path(sys.executable).with_name("batch-gateway")
        done = subprocess.run(
            [command], capture_output=True, text=True, env={"PATH": os.environ["PATH"], **asked}
        )
        return set(done.stdout.split())

    assert "complete -o default -F" in script
    assert "_BATCH_GATEWAY_COMPLETE=complete_bash" in script
    assert completed("batch-gateway sub") == {"submit"}
    assert {"--window", "--wait"} <= completed("batch-gateway submit --w")
    assert completed("batch-gateway files up") == {"upload"}
    assert "no completion for csh" in run("completion", "csh", code=2).stderr


@pytest.mark.parametrize("words", [["status"], ["doctor"], ["logs"]], ids=" ".join)
def test_a_missing_cluster_is_told_with_the_folder_as_cure(words, tmp_path):
    told = run(*words, code=2, HOME=str(tmp_path)).stderr

    assert told.startswith("batch-gateway: no cluster: there is no kubeconfig")
    assert told.endswith("; name the folder of `batch-gateway up` with --data\n")


def test_a_service_on_this_machine_that_is_not_there_is_told_with_its_command():
    told = run("list", code=3, BATCH_GATEWAY_URL="http://127.0.0.1:9").stderr

    assert "`batch-gateway up` starts one, --url names another" in told
