"""``batch-gateway doctor``: what is wrong is found, what is right left alone."""

import asyncio
import errno
import json
import os

import pytest
from fixtures.kube import troubles
from fixtures.redis import valkey_server
from fixtures.s3 import S3Server
from pydantic import SecretStr
from redis.asyncio import Redis
from typer.testing import CliRunner

from batch_gateway.cli.doctor.stores import check_stores
from batch_gateway.cli.main import app
from batch_gateway.settings import (
    CoordinationSettings,
    FileSettings,
    InferenceSettings,
    MetadataSettings,
    Settings,
)


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["doctor", *words])
    assert result.exit_code == code, result.output
    return result.output


def test_a_healthy_cluster_has_nothing_wrong(healthy):
    told = run("--verbose")

    assert "error " not in told.replace("0 error", "")
    assert "ok       knative-serving is 1.23.0" in told
    assert "ok       the Broker is of class Kafka" in told
    assert told.splitlines()[-1].startswith("0 error, 0 warning, ")


@pytest.mark.parametrize(
    ("trouble", "severity", "what"),
    [
        (troubles.old_kubernetes, "warning", "Kubernetes is v1.29.4"),
        (troubles.fast_clock, "warning", "the cluster's clock is +"),
        (troubles.no_eventing, "error", "knative-eventing/eventing-controller is not there"),
        (troubles.tired_activator, "error", "knative-serving/activator: 0 of 1 pods are ready"),
        (troubles.old_knative, "warning", "knative-serving is 1.12.0, older than 1.17"),
        (
            troubles.volume_without_its_feature,
            "error",
            "kubernetes.podspec-persistent-volume-claim",
        ),
        (troubles.never_at_zero, "warning", "enable-scale-to-zero is false"),
        (troubles.broken_trigger, "error", "Trigger planner: BrokerDoesNotExist: no broker"),
        (troubles.channel_based, "error", "messaging.knative.dev/async-handler is not true"),
        (troubles.no_timer, "error", "there is no PingSource"),
        (troubles.public_key, "error", "events.signing_keys is missing, short or public"),
        (troubles.no_metrics_token, "warning", "metrics.token is not set"),
        (troubles.open_to_all, "error", "auth.kind is none"),
        (
            troubles.unreadable_setting,
            "error",
            "functions that read it will not start: setting limits.ceiling",
        ),
        (troubles.too_many_activations, "error", "execution.max_activations is 20, but only 8 fit"),
        (troubles.too_long_a_budget, "error", "execution.hard_budget_s is 600"),
        (
            troubles.a_longer_request_than_the_cluster_allows,
            "error",
            "max-revision-timeout-seconds is 600",
        ),
        (
            troubles.a_longer_call_than_an_activation,
            "error",
            "540 s are less than the longest timeout_s",
        ),
    ],
)
def test_what_is_wrong_is_found_with_what_helps(healthy, trouble, severity, what):
    trouble(healthy)

    told = run(code=4 if severity == "error" else 0).splitlines()

    found = [n for n, line in enumerate(told) if line.startswith(severity) and what in line]
    assert found, told
    assert told[found[0] + 1].strip().startswith("->")


def test_what_may_not_be_looked_at_is_a_note(healthy):
    healthy.forbidden.add(("GET", "deployments"))

    told = 'knative-serving cannot be looked at: deployments.apps "controller" is forbidden'
    assert f"note     {told}" in run()


def test_a_cluster_without_a_gateway_is_told_so(kube):
    told = run(code=4)

    assert "there is no Batch Gateway in the namespace batch-gateway" in told


def test_stores_are_looked_at_from_inside_by_a_job_that_goes_away(healthy):
    created = []
    original = healthy.create

    def create(group, key, body, **how):
        if key[0] == "Job":
            created.append(body)
            name = body["metadata"]["name"]
            labels = {"batch.kubernetes.io/job-name": name}
            metadata = {"name": f"{name}-pod", "namespace": "batch-gateway", "labels": labels}
            healthy.add({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
            found = {"severity": "error", "what": "no bucket", "fix": "make one"}
            healthy.logs[f"{name}-pod"] = f"a line\n{json.dumps(found)}\n"
        return original(group, key, body, **how)

    healthy.create = create

    told = run("--inside", code=4)

    (job,) = created
    (container,) = job["spec"]["template"]["spec"]["containers"]
    executor = troubles.service(healthy)
    assert "error    no bucket\n         -> make one" in told
    assert container["args"] == ["doctor", "--stores", "--json"]
    assert container["envFrom"] == executor["spec"]["containers"][0]["envFrom"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert executor["metadata"]["labels"].items() <= labels.items()
    assert healthy.names("Job", group="batch") == ["migrate"]


# -- stores --------------------------------------------------------------------------------------


def stores_of(tmp_path, valkey_url: str, simulator_url: str, **changes) -> Settings:
    groups = {
        "metadata": MetadataSettings(url=f"sqlite+aiosqlite:///{tmp_path}/m.db", migrate=True),
        "scratch": CoordinationSettings(url=valkey_url),
        "files": FileSettings(url=f"file://{tmp_path}/files"),
        "inference": InferenceSettings(url=simulator_url),
    }
    return Settings(**(groups | changes))


async def told_of(settings: Settings) -> list[str]:
    return [f"{f.severity.name}: {f.what}" for f in await check_stores(settings)]


async def test_stores_that_are_as_they_should_be(tmp_path, valkey_url, start_simulator):
    simulator = await start_simulator()
    (tmp_path / "m.db").touch()

    told = await told_of(stores_of(tmp_path, valkey_url, simulator.url))

    assert [line.split(":")[0] for line in told] == ["OK", "NOTE", "OK", "OK", "OK"]


async def test_a_database_of_another_release_wants_a_migration(tmp_path, valkey_url):
    (tmp_path / "m.db").touch()
    database = MetadataSettings(url=f"sqlite+aiosqlite:///{tmp_path}/m.db", migrate=False)

    found = await check_stores(
        stores_of(tmp_path, valkey_url, "http://127.0.0.1:9", metadata=database)
    )

    (schema,) = [f for f in found if f.severity.name == "ERROR"]
    assert "schema" in schema.what
    assert schema.fix == "batch-gateway migrate"
    assert any("the model endpoint does not answer" in f.what for f in found)


SCRATCH_OF_OTHERS = """
from batch_gateway.core.errors import Unavailable

class Store:
    def __init__(self, url):
        self.url = url

    async def check(self):
        if "away" in self.url:
            raise Unavailable("nothing listens at " + self.url)

    async def close(self):
        self.url = None

def open_store(settings):
    return Store(settings.scratch.url.get_secret_value())
"""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("toy://here", "OK: the coordination store (toy) answers"),
        ("toy://away", "ERROR: scratch: nothing listens at toy://away"),
        ("other://here", "ERROR: scratch: scratch.url: no plug-in for other:// is installed"),
    ],
)
async def test_a_third_party_scratch_store_is_asked_whether_it_answers(
    tmp_path, monkeypatch, url, said
):
    installed = tmp_path / "installed"
    (folder := installed / "toy_scratch-1.0.dist-info").mkdir(parents=True)
    (installed / "toy_scratch.py").write_text(SCRATCH_OF_OTHERS)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: toy_scratch\nVersion: 1.0\n")
    entry = "[batch_gateway.scratch_stores]\ntoy = toy_scratch\n"
    (folder / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(installed)
    (tmp_path / "m.db").touch()

    told = await told_of(stores_of(tmp_path, url, "http://127.0.0.1:9"))

    assert sum(line.startswith(said) for line in told) == 1


async def test_servers_that_are_away_are_each_told(tmp_path):
    told = await told_of(
        stores_of(
            tmp_path,
            "redis://127.0.0.1:9/0",
            "http://127.0.0.1:9",
            metadata=MetadataSettings(url="postgresql+asyncpg://nobody@127.0.0.1:9/none"),
        )
    )

    assert sum(line.startswith("ERROR: metadata") for line in told) == 1
    assert sum(line.startswith("ERROR: scratch") for line in told) == 1


@pytest.mark.redis
async def test_stores_that_are_full_are_named_as_such(tmp_path, monkeypatch):
    def write(_fd, _content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with valkey_server(tmp_path / "valkey") as url:
        async with Redis.from_url(url) as client:
            await client.config_set("maxmemory", "1")
        monkeypatch.setattr("batch_gateway.adapters.local_files.store.os.write", write)

        found = await check_stores(stores_of(tmp_path, url, "http://127.0.0.1:9"))
        monkeypatch.undo()

    told = {f.what.split(" (")[0]: f.fix for f in found if f.severity.name == "ERROR"}
    assert told["the coordination store is full"] == "give it more memory"
    (files,) = [what for what in told if what.startswith("files: ")]
    assert "No space left on device" in files
    assert "room" in told[files]


@pytest.mark.redis
async def test_one_redis_for_both_is_an_error_and_so_is_one_that_forgets(tmp_path, valkey_url):
    url = valkey_url.replace("valkey://", "redis://")

    told = await told_of(
        stores_of(tmp_path, url, "http://127.0.0.1:9", metadata=MetadataSettings(url=url))
    )

    assert any("appendfsync" in line or "are one Redis" in line for line in told)


@pytest.mark.s3
async def test_what_may_not_be_written_is_told_with_what_is_needed(
    tmp_path, valkey_url, s3_server: S3Server
):
    there = FileSettings(
        url=f"s3://{s3_server.bucket}/{s3_server.prefix}",
        s3_endpoint=s3_server.endpoint,
        s3_access_key_id=s3_server.access_key_id,
        s3_secret_access_key=SecretStr(s3_server.secret_access_key),
    )
    stranger = there.model_copy(update={"s3_secret_access_key": SecretStr("wrong")})

    good = await told_of(stores_of(tmp_path, valkey_url, "http://127.0.0.1:9", files=there))
    bad = await told_of(stores_of(tmp_path, valkey_url, "http://127.0.0.1:9", files=stranger))

    assert any("can be put, read, listed and deleted" in line for line in good)
    assert any(line.startswith("ERROR: files: cannot put an object") for line in bad)


async def test_the_command_takes_the_stores_of_its_environment(monkeypatch, tmp_path, valkey_url):
    (tmp_path / "m.db").touch()
    database = f"sqlite+aiosqlite:///{tmp_path}/m.db"
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", database)
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__MIGRATE", "true")
    monkeypatch.setenv("BATCH_GATEWAY_SCRATCH__URL", valkey_url)
    monkeypatch.setenv("BATCH_GATEWAY_FILES__URL", f"file://{tmp_path}/files")

    told = await asyncio.to_thread(run, "--stores", "--json")

    severities = [json.loads(line)["severity"] for line in told.splitlines()]
    assert severities == sorted(severities, key=["warning", "note", "ok"].index)


def test_dead_events_of_a_cluster_are_listed_by_a_job_there(healthy, monkeypatch):
    words = []
    original = healthy.create

    def create(group, key, body, **how):
        if key[0] == "Job":
            words.extend(body["spec"]["template"]["spec"]["containers"][0]["args"])
            name = body["metadata"]["name"]
            labels = {"batch.kubernetes.io/job-name": name}
            metadata = {"name": f"{name}-pod", "namespace": "batch-gateway", "labels": labels}
            healthy.add({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
            healthy.logs[f"{name}-pod"] = "dead_1\t2026-07-01T12:00:00Z\n"
        return original(group, key, body, **how)

    healthy.create = create

    told = CliRunner().invoke(app, ["dead", "list", "--limit", "9", "--inside"])

    assert told.exit_code == 0, told.output
    assert told.stdout == "dead_1\t2026-07-01T12:00:00Z\n"
    assert words == ["dead", "list", "--limit=9"]
    assert healthy.names("Job", group="batch") == ["migrate"]


def test_a_deployment_is_verified_by_a_job_there(healthy):
    original = healthy.create
    words = []

    def create(group, key, body, **how):
        if key[0] == "Job":
            words.extend(body["spec"]["template"]["spec"]["containers"][0]["args"])
            name = body["metadata"]["name"]
            labels = {"batch.kubernetes.io/job-name": name}
            metadata = {"name": f"{name}-pod", "namespace": "batch-gateway", "labels": labels}
            healthy.add({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
            healthy.logs[f"{name}-pod"] = '{"summary":{"damaged":0}}\n'
        return original(group, key, body, **how)

    healthy.create = create

    told = CliRunner().invoke(app, ["verify", "--json", "--inside"])

    assert told.exit_code == 0, told.output
    assert told.stdout == '{"summary":{"damaged":0}}\n'
    assert words == ["verify", "--json"]
    assert healthy.names("Job", group="batch") == ["migrate"]
