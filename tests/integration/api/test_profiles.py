"""Profiles: kept for their owner only, and used after options and the environment."""

import json
import stat
from pathlib import Path

import pytest
from fixtures.api import SECRET
from typer.testing import CliRunner

from batch_gateway.cli.main import app
from batch_gateway.cli.profiles import load

HEADER = ("--header", f"x-gateway-secret={SECRET}")


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    for name in ("BATCH_GATEWAY_URL", "BATCH_GATEWAY_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "home" / "config.yaml"
    monkeypatch.setenv("BATCH_GATEWAY_CONFIG", str(path))
    return path


@pytest.fixture
def headers(tenant) -> tuple[str, ...]:
    return (*HEADER, "--header", f"x-gateway-tenant={tenant}")


def run(*words: str, stdin: str = "", code: int = 0):
    result = CliRunner().invoke(app, words, input=stdin)
    assert result.exit_code == code, result.output
    return result


def test_a_login_is_kept_with_its_headers_for_its_owner_only(server, headers, file):
    told = run("login", *headers, stdin=f"{server.url}\n\n").stderr
    words = ("--url", server.url, "--api-key", "", "--json")
    again = json.loads(run("login", *headers, *words).stdout)

    assert f"profile default: {server.url}/v1" in told
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert run("list", "--json").stdout == ""
    profile = json.loads(run("config", "list", "--json").stdout)
    assert (profile["profile"], profile["current"], profile["api_key"]) == ("default", True, False)
    assert again == profile
    assert SECRET not in run("config", "list").stdout


def test_a_service_that_refuses_is_not_kept(server, file):
    run("login", "--url", server.url, "--api-key", "wrong", code=1)

    assert not file.exists()


def test_profiles_are_chosen_by_name_and_deleted(server, headers, file):
    run("login", "--url", server.url, "--api-key", "", *headers)
    run("login", "--url", server.url, "--api-key", "-", "--profile", "b", *headers, stdin="key-b\n")

    current = [line.split()[:2] for line in run("config", "list").stdout.splitlines()[1:]]
    used = json.loads(run("config", "use", "default", "--json").stdout)
    run("list", "--profile", "b")
    deleted = json.loads(run("config", "delete", "b", "--json").stdout)
    gone = run("list", "--profile", "b", code=2).stderr

    assert current == [["default", f"{server.url}/v1"], ["*", "b"]]
    assert load().current == "default"
    assert (used["profile"], used["current"]) == ("default", True)
    assert deleted == {"profile": "b", "deleted": True}
    assert gone == "batch-gateway: there is no profile b; there are: default\n"
    assert run("config", "path").stdout.strip() == str(file)
    assert json.loads(run("config", "path", "--json").stdout) == {"path": str(file)}


def test_options_go_before_variables_and_these_before_profiles(server, headers, file, monkeypatch):
    run("login", "--url", server.url, "--api-key", "", *headers)
    run("list")

    monkeypatch.setenv("BATCH_GATEWAY_URL", "http://127.0.0.1:9")
    by_variable = run("list", code=3).stderr
    by_option = run("list", "--url", server.url, code=0)
    by_profile = run("list", "--profile", "default")
    monkeypatch.delenv("BATCH_GATEWAY_URL")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    run("list")

    assert "cannot reach http://127.0.0.1:9/v1" in by_variable
    assert (by_option.stdout, by_profile.stdout) == (by_profile.stdout, by_option.stdout)


def test_a_key_is_sent_to_its_profile_s_url_alone(server, headers, file):
    run("login", "--url", server.url, "--api-key", "", *headers)

    refused = run("list", "--url", f"{server.url}/other/v1", code=1).stderr

    assert "(404)" in refused or "(401)" in refused or "(403)" in refused


def test_a_file_that_others_may_read_is_refused(server, headers, file):
    run("login", "--url", server.url, "--api-key", "", *headers)
    file.chmod(0o644)

    told = run("list", code=2).stderr

    assert told == f"batch-gateway: others may read the keys in {file}: chmod 600 {file}\n"


@pytest.mark.parametrize("content", ["- a\n", "profiles: {a: {key: b}}\n", "{\n"])
def test_a_file_that_is_none_is_told(file, content):
    file.parent.mkdir()
    file.write_text(content)
    file.chmod(0o600)

    assert str(file) in run("list", code=2).stderr
