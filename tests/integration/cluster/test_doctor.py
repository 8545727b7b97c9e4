"""``batch-gateway doctor``: what is wrong is found, what is right left alone."""

import asyncio
import base64
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.kube import failing
from fixtures.redis import valkey_server
from fixtures.s3 import S3Server
from pydantic import SecretStr
from redis.asyncio import Redis
from typer.testing import CliRunner

from batch_gateway.cli.cluster import pod_jobs, rollout
from batch_gateway.cli.doctor.stores import check_stores
from batch_gateway.cli.main import app
from batch_gateway.settings import Files, Inference, Metadata, Scratch, Settings

SERVING, EVENTING = "serving.knative.dev", "eventing.knative.dev"
CLASS = "eventing.knative.dev/broker.class"
DEPLOYMENTS = {
    "knative-serving": ("controller", "activator", "autoscaler", "webhook"),
    "knative-eventing": ("eventing-controller", "eventing-webhook"),
}


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["doctor", *words])
    assert result.exit_code == code, result.output
    return result.output


def add(kube, kind: str, name: str, namespace: str, *, version: str = "v1", **fields):
    labels = {"app.kubernetes.io/version": "1.23.0"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return kube.add({"apiVersion": version, "kind": kind, "metadata": metadata, **fields})


@pytest.fixture
def healthy(kube, monkeypatch):
    """A cluster with Knative and a Batch Gateway to which nothing is wrong."""
    monkeypatch.setattr(rollout, "PAUSE_S", 0.01)
    monkeypatch.setattr(pod_jobs, "PAUSE_S", 0.01)
    for namespace, names in DEPLOYMENTS.items():
        kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        for name in names:
            add(kube, "Deployment", name, namespace, version="apps/v1", spec={"replicas": 1})
            kube.play("Deployment", name, {"readyReplicas": 1})
    add(kube, "ConfigMap", "config-features", "knative-serving", data={})
    add(kube, "ConfigMap", "config-autoscaler", "knative-serving", data={"_example": ""})
    add(kube, "ConfigMap", "config-br-defaults", "knative-eventing", data={})
    words = ["deploy", "--overlay", "minimal", "--set", "auth.kind=api-key"]
    kube.install_broker("Kafka")
    assert CliRunner().invoke(app, [*words, "--broker", "kafka"]).exit_code == 0
    return kube


def service(kube, name: str = "executor") -> dict:
    return kube.find("Service", name, group=SERVING)["spec"]["template"]


def test_a_healthy_cluster_has_nothing_wrong(healthy):
    told = run("--verbose")

    assert "error " not in told.replace("0 error", "")
    assert "ok       knative-serving is 1.23.0" in told
    assert "ok       the Broker is of class Kafka" in told
    assert told.splitlines()[-1].startswith("0 error, 0 warning, ")


def old_kubernetes(kube):
    kube.version = "v1.29.4"


def fast_clock(kube):
    kube.skew_s = 90


def no_eventing(kube):
    kube.objects.pop(("apps", ("Deployment", "knative-eventing", "eventing-controller")))


def tired_activator(kube):
    kube.play("Deployment", "activator", {"readyReplicas": 0})


def old_knative(kube):
    for name in DEPLOYMENTS["knative-serving"]:
        found = kube.find("Deployment", name, group="apps")
        found["metadata"]["labels"]["app.kubernetes.io/version"] = "1.12.0"


def volume_without_its_feature(kube):
    claim = {"name": "files", "persistentVolumeClaim": {"claimName": "files"}}
    service(kube)["spec"]["volumes"].append(claim)


def never_at_zero(kube):
    kube.find("ConfigMap", "config-autoscaler")["data"] = {"enable-scale-to-zero": "false"}


def broken_trigger(kube):
    kube.play("Trigger", "planner", {"conditions": failing("BrokerDoesNotExist", "no broker")})


def channel_based(kube):
    broker = kube.find("Broker", "batch-gateway", group=EVENTING)
    broker["metadata"]["annotations"] = {CLASS: "MTChannelBasedBroker"}


def no_timer(kube):
    kube.objects.pop(("sources.knative.dev", ("PingSource", "batch-gateway", "janitor")))


def public_key(kube):
    secret(kube)["BATCH_GATEWAY_EVENTS__SIGNING_KEYS"] = encoded("for-trials-only")


def no_metrics_token(kube):
    secret(kube).pop("BATCH_GATEWAY_METRICS__TOKEN")


def open_to_all(kube):
    settings(kube)["BATCH_GATEWAY_AUTH__KIND"] = "none"


def unreadable_setting(kube):
    settings(kube)["BATCH_GATEWAY_LIMITS__CEILING"] = "many"


def too_many_activations(kube):
    settings(kube)["BATCH_GATEWAY_EXECUTION__MAX_ACTIVATIONS"] = "20"


def a_longer_request_than_the_cluster_allows(kube):
    spec = kube.find("Service", "executor", group="serving.knative.dev")["spec"]["template"]["spec"]
    spec["timeoutSeconds"] = 2100


def a_longer_call_than_an_activation(kube):
    data = kube.find("ConfigMap", "batch-gateway-settings")["data"]
    data["BATCH_GATEWAY_INFERENCE__TIMEOUT_S"] = "900"


def too_long_a_budget(kube):
    settings(kube)["BATCH_GATEWAY_EXECUTION__HARD_BUDGET_S"] = "600"


def secret(kube) -> dict[str, str]:
    return kube.find("Secret", "batch-gateway-secrets")["data"]


def settings(kube) -> dict[str, str]:
    return kube.find("ConfigMap", "batch-gateway-settings")["data"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("trouble", "severity", "what"),
    [
        (old_kubernetes, "warning", "Kubernetes is v1.29.4"),
        (fast_clock, "warning", "the cluster's clock is +"),
        (no_eventing, "error", "knative-eventing/eventing-controller is not there"),
        (tired_activator, "error", "knative-serving/activator: 0 of 1 pods are ready"),
        (old_knative, "warning", "knative-serving is 1.12.0, older than 1.17"),
        (volume_without_its_feature, "error", "kubernetes.podspec-persistent-volume-claim"),
        (never_at_zero, "warning", "enable-scale-to-zero is false"),
        (broken_trigger, "error", "Trigger planner: BrokerDoesNotExist: no broker"),
        (channel_based, "error", "messaging.knative.dev/async-handler is not true"),
        (no_timer, "error", "there is no PingSource"),
        (public_key, "error", "events.signing_keys is missing, short or public"),
        (no_metrics_token, "warning", "metrics.token is not set"),
        (open_to_all, "error", "auth.kind is none"),
        (unreadable_setting, "error", "the functions will not start: setting limits.ceiling"),
        (too_many_activations, "error", "execution.max_activations is 20, but only 8 fit"),
        (too_long_a_budget, "error", "execution.hard_budget_s is 600"),
        (a_longer_request_than_the_cluster_allows, "error", "max-revision-timeout-seconds is 600"),
        (a_longer_call_than_an_activation, "error", "540 s are less than the longest timeout_s"),
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
    executor = service(healthy)
    assert "error    no bucket\n         -> make one" in told
    assert container["args"] == ["doctor", "--stores", "--json"]
    assert container["envFrom"] == executor["spec"]["containers"][0]["envFrom"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert executor["metadata"]["labels"].items() <= labels.items()
    assert healthy.names("Job", group="batch") == ["migrate"]


# -- stores --------------------------------------------------------------------------------------


def stores_of(tmp_path, valkey_url: str, simulator_url: str, **changes) -> Settings:
    groups = {
        "metadata": Metadata(url=f"sqlite+aiosqlite:///{tmp_path}/m.db", migrate=True),
        "scratch": Scratch(url=valkey_url),
        "files": Files(url=f"file://{tmp_path}/files"),
        "inference": Inference(url=simulator_url),
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
    database = Metadata(url=f"sqlite+aiosqlite:///{tmp_path}/m.db", migrate=False)

    found = await check_stores(
        stores_of(tmp_path, valkey_url, "http://127.0.0.1:9", metadata=database)
    )

    (schema,) = [f for f in found if f.severity.name == "ERROR"]
    assert "schema" in schema.what
    assert schema.fix == "batch-gateway migrate"
    assert any("the model endpoint does not answer" in f.what for f in found)


async def test_servers_that_are_away_are_each_told(tmp_path):
    told = await told_of(
        stores_of(
            tmp_path,
            "redis://127.0.0.1:9/0",
            "http://127.0.0.1:9",
            metadata=Metadata(url="postgresql+asyncpg://nobody@127.0.0.1:9/none"),
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
        monkeypatch.setattr("batch_gateway.adapters.local_files.os.write", write)

        found = await check_stores(stores_of(tmp_path, url, "http://127.0.0.1:9"))
        monkeypatch.undo()

    told = {f.what.split(" (")[0]: f.fix for f in found if f.severity.name == "ERROR"}
    assert told["the scratch server is full"] == "give it more memory"
    (files,) = [what for what in told if what.startswith("files: ")]
    assert "No space left on device" in files
    assert "room" in told[files]


@pytest.mark.redis
async def test_one_redis_for_both_is_an_error_and_so_is_one_that_forgets(tmp_path, valkey_url):
    url = valkey_url.replace("valkey://", "redis://")

    told = await told_of(stores_of(tmp_path, url, "http://127.0.0.1:9", metadata=Metadata(url=url)))

    assert any("appendfsync" in line or "are one Redis" in line for line in told)


@pytest.mark.s3
async def test_what_may_not_be_written_is_told_with_what_is_needed(
    tmp_path, valkey_url, s3_server: S3Server
):
    there = Files(
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


# -- fixes ---------------------------------------------------------------------------------------


def broken_mapping(kube):
    metadata = {"name": "batches.example.com", "namespace": "batch-gateway"}
    ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "api"}
    mapping = {"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping"}
    kube.add(mapping | {"metadata": metadata, "spec": {"ref": ref}})


def broken_service(kube):
    kube.play("Service", "api", {"conditions": failing("RevisionFailed", "no such image")})


def broken_broker(kube):
    kube.play("Broker", "batch-gateway", {"conditions": failing("NotFound", "no topic")})


def address_of_another_broker(kube):
    settings(kube)["BATCH_GATEWAY_EVENTS__SINK"] = "http://elsewhere"


@pytest.mark.parametrize(
    ("trouble", "what", "helps"),
    [
        (broken_service, "Service api: RevisionFailed: no such image", False),
        (broken_mapping, "DomainMapping batches.example.com: DomainClaimNotOwned", False),
        (broken_trigger, "Trigger planner: ", False),
        (broken_broker, "Broker batch-gateway: ", False),
        (channel_based, "messaging.knative.dev/async-handler is not true", True),
        (never_at_zero, "enable-scale-to-zero is false", True),
        (volume_without_its_feature, "kubernetes.podspec-persistent-volume-claim", True),
        (no_timer, "there is no PingSource", True),
        (public_key, "events.signing_keys is missing, short or public", True),
        (no_metrics_token, "metrics.token is not set", True),
        (open_to_all, "auth.kind is none", True),
        (too_many_activations, "execution.max_activations is 20", True),
        (too_long_a_budget, "execution.hard_budget_s is 600", True),
        (address_of_another_broker, "the functions send events to http://elsewhere", True),
    ],
)
def test_a_fix_is_a_command_that_works_as_printed(healthy, trouble, what, helps):
    trouble(healthy)

    fix = next(f["fix"] for f in map(json.loads, told_as_json()) if what in f["what"])
    done = subprocess.run(
        ["bash", "-ec", fix],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, fix + done.stderr
    left = [
        found
        for found in map(json.loads, told_as_json())
        if what in found["what"] and found["severity"] != "ok"
    ]
    assert (left == []) is helps, left


def told_as_json() -> list[str]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    return [line for line in result.stdout.splitlines() if line.startswith("{")]


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
