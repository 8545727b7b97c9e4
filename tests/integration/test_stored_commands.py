"""Commands that open a metadata store: they never make one, and speak JSON."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_gateway.adapters.sql import open_sql
from batch_gateway.adapters.sql.schema import REVISION
from batch_gateway.cli.main import app
from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.services.dead_letters import DeadLetterService
from batch_gateway.wiring.runtime import SystemClock

COMMANDS = (
    ["keys", "create", "alice"],
    ["keys", "list"],
    ["keys", "revoke", "key_1"],
    ["dead", "list"],
    ["dead", "show", "dead_1"],
    ["dead", "drop", "--all"],
    ["verify"],
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
async def data(tmp_path) -> Path:
    """A folder with a database, as ``up --data`` makes it."""
    folder = tmp_path / "data"
    folder.mkdir()
    url = f"sqlite+aiosqlite:///{folder}/metadata.db"
    await (await open_sql(url, pool_size=1, migrate=True)).close()
    return folder


def run(*words: str, code: int = 0):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_folder_is_told_and_left_as_it_is(words, tmp_path, elsewhere):
    wrong = tmp_path / "wrong"
    wrong.mkdir()

    there = run(*words, "--data", str(wrong), code=2).stderr
    absent = run(*words, "--data", str(tmp_path / "absent"), code=2).stderr
    nowhere = run(*words, code=2).stderr

    told = "is no folder of `batch-gateway up --data`: it has no metadata.db\n"
    assert there == f"batch-gateway: {wrong} {told}"
    assert absent == f"batch-gateway: {tmp_path / 'absent'} {told}"
    assert "name the folder of `batch-gateway up` with --data" in nowhere
    assert (list(wrong.iterdir()), list(elsewhere.iterdir())) == ([], [])
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("words", [["status", "--stores"], ["doctor", "--stores"]], ids=" ".join)
def test_a_store_that_is_not_there_is_not_made_by_looking(words, elsewhere):
    result = CliRunner().invoke(app, words)

    assert result.exit_code in (2, 4)
    assert "there is no database batch-gateway.db" in result.output
    assert "--data" in result.output
    assert list(elsewhere.iterdir()) == []


def test_a_migration_is_told_to_people_and_to_programs(tmp_path, monkeypatch):
    url = f"sqlite+aiosqlite:///{tmp_path / 'new.db'}"
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", url)

    first = json.loads(run("migrate", "--json").stdout)
    told = run("migrate").stdout

    assert first == {"result": f"the metadata database went from schema version none to {REVISION}"}
    assert told == f"the metadata database is at schema version {REVISION} already\n"


def test_keys_are_json_for_programs(data):
    store = ("--json", "--data", str(data))

    made = json.loads(run("keys", "create", "alice", "--name", "laptop", *store).stdout)
    listed = run("keys", "list", *store).stdout
    revoked = json.loads(run("keys", "revoke", made["id"], *store).stdout)
    shown = run("keys", "list", "--data", str(data)).stdout.splitlines()

    assert made["secret"].startswith("sk-bg-")
    (key,) = map(json.loads, listed.splitlines())
    assert key == {name: value for name, value in made.items() if name != "secret"}
    assert (key["tenant"], key["name"], key["state"]) == ("alice", "laptop", "valid")
    assert (revoked["state"], revoked["id"]) == ("revoked", made["id"])
    assert shown[0].split() == ["ID", "TENANT", "STATE", "SCOPES", "LAST", "USED", "NAME"]
    assert shown[1].split()[:3] == [made["id"], "alice", "revoked"]


async def test_the_reason_of_a_dead_event_is_listed_as_text(data):
    """Knative's brokers tell it in base64."""
    told = "planner: no batch batch_1"
    attributes = {
        "id": "1",
        "source": "/s",
        "type": "of.a.test",
        "knativeerrorcode": "400",
        "knativeerrordata": base64.b64encode(told.encode()).decode(),
    }
    event = ExternalEvent(attributes=attributes, data=b"")
    store = await open_sql(f"sqlite+aiosqlite:///{data}/metadata.db", pool_size=1, migrate=False)
    letters = store.dead_letters
    await DeadLetterService(letters, SystemClock(), most=9).bury(event)
    await store.close()

    listed = await asyncio.to_thread(run, "dead", "list", "--data", str(data))
    shown = await asyncio.to_thread(run, "dead", "list", "--json", "--data", str(data))

    assert told in " ".join(listed.stdout.split())
    assert json.loads(shown.stdout)["reason"] == told


def test_dead_events_are_json_for_programs(data):
    assert run("dead", "list", "--json", "--data", str(data)).stdout == ""
    dropped = run("dead", "drop", "--all", "--json", "--data", str(data)).stdout
    assert json.loads(dropped) == {"dropped": 0}
