"""``batch-gateway deploy`` and ``uninstall``, by the kubernetes client on a server with state."""

import asyncio
import base64
import json
import os

import pytest
import yaml
from fixtures.kube import READY, WAITING, Kube, failing
from typer.testing import CliRunner

from batch_gateway.adapters.sql import open_sql
from batch_gateway.cli.cluster import apply, rollout
from batch_gateway.cli.cluster import kube as kube_client
from batch_gateway.cli.cluster.recording import record_change
from batch_gateway.cli.main import app
from batch_gateway.core.audit import AuditOutcome
from batch_gateway.local.manifests import deployment_root

SERVING = "serving.knative.dev"
EVENTING = "eventing.knative.dev"
FUNCTIONS = ["api", "assembler", "executor", "janitor", "planner"]


@pytest.fixture
def command(kube, monkeypatch):
    monkeypatch.setattr(rollout, "PAUSE_S", 0.01)
    monkeypatch.setattr(rollout, "LASTING_S", 0.05)
    monkeypatch.setattr(apply, "ADDRESS_S", 2)

    def run(*words: str, code: int = 0, stdin: str | None = None):
        if words[0] == "deploy" and "--overlay" not in words:
            words = (*words, "--overlay", "minimal")
        result = CliRunner().invoke(app, list(words), input=stdin)
        assert result.exit_code == code, result.output
        return result

    return run


def secret(kube: Kube, name: str = "batch-gateway-secrets") -> dict[str, str]:
    data = kube.find("Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_a_webhook_that_does_not_answer_for_a_moment_is_waited_for(kube, command, monkeypatch):
    monkeypatch.setattr(kube_client, "ATTEMPTS_S", (0.01, 0.01, 0.01))
    kube.unjudged["Service"] = 2

    command("deploy")

    assert kube.unjudged["Service"] == 0
    assert set(FUNCTIONS) <= set(kube.names("Service", group=SERVING))


def test_a_webhook_that_stays_away_is_named(kube, command, monkeypatch):
    monkeypatch.setattr(kube_client, "ATTEMPTS_S", (0.01, 0.01))
    kube.unjudged["Service"] = 1000

    told = command("deploy", code=3)

    assert 'failed calling webhook "webhook.serving.knative.dev"' in told.stderr


def test_everything_is_applied_and_waited_for(kube, command):
    url = {"conditions": READY, "url": "http://api.batch-gateway.example.com"}
    kube.play("Service", "api", {"conditions": WAITING}, {"conditions": WAITING}, url)

    told = command("deploy")

    assert told.stdout.splitlines()[0] == "Namespace batch-gateway created"
    assert told.stdout.splitlines()[-1] == (
        "Batch Gateway is ready: http://api.batch-gateway.example.com/v1"
    )
    assert "Service api: Deploying: not yet" in told.stderr
    assert set(FUNCTIONS) <= set(kube.names("Service", group=SERVING))
    assert kube.names("Broker", group=EVENTING) == ["batch-gateway"]
    assert kube.names("Job", group="batch") == ["migrate"]
    home = kube.find("Namespace", "batch-gateway")
    assert home["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "batch-gateway"


def test_a_second_time_changes_nothing(kube, command):
    command("deploy")
    before = {key: obj["metadata"]["generation"] for key, obj in kube.objects.items()}
    secrets = secret(kube)

    told = command("deploy").stdout.splitlines()[:-1]

    assert {line.rsplit(maxsplit=1)[1] for line in told} == {"unchanged", "kept", "replaced"}
    assert [line for line in told if line.endswith("replaced")] == ["Job.batch migrate replaced"]
    assert {key: o["metadata"]["generation"] for key, o in kube.objects.items()} == before
    assert secret(kube) == secrets


def test_programs_read_each_step_as_a_line_of_json(kube, command):
    url = {"conditions": READY, "url": "http://api.batch-gateway.example.com"}
    kube.play("Service", "api", url)

    printed = [
        json.loads(line) for line in command("deploy", "--print", "--json").stdout.splitlines()
    ]
    judged = [
        json.loads(line) for line in command("deploy", "--dry-run", "--json").stdout.splitlines()
    ]
    *steps, end = map(json.loads, command("deploy", "--json").stdout.splitlines())
    *back, again = map(json.loads, command("rollback", "--to", "1", "--json").stdout.splitlines())
    gone = [
        json.loads(line) for line in command("uninstall", "--yes", "--json").stdout.splitlines()
    ]

    assert {obj["kind"] for obj in printed} >= {"Namespace", "Service", "Broker"}
    assert judged[-1]["dry_run"] is True
    assert judged[-1]["not_judged"] > 10
    home = {"apiVersion": "v1", "kind": "Namespace", "name": "batch-gateway"}
    assert steps[0] == home | {"result": "created"}
    assert end == {"ready": True, "url": "http://api.batch-gateway.example.com/v1"}
    assert again == end
    assert {step["result"] for step in back} <= {"unchanged", "kept", "replaced"}
    assert {step["result"] for step in gone} == {"deleted"}
    assert "Service" in {step["kind"] for step in gone}


def test_secrets_are_made_once_and_completed_but_never_overwritten(kube, command):
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    mine = {"BATCH_GATEWAY_EVENTS__SIGNING_KEYS": "bWluZQ==", "OTHER": "eA=="}
    metadata = {"name": "batch-gateway-secrets", "namespace": "batch-gateway"}
    kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": mine})

    told = command("deploy", "--overlay", "trial", "--set", "metadata.url=postgresql+asyncpg://h/d")

    values = secret(kube)
    assert "Secret batch-gateway-secrets completed" in told.stdout
    assert values["BATCH_GATEWAY_EVENTS__SIGNING_KEYS"] == "mine"
    assert values["OTHER"] == "x"
    assert values["BATCH_GATEWAY_METADATA__URL"] == "postgresql+asyncpg://h/d"
    assert len(values["BATCH_GATEWAY_METRICS__TOKEN"]) == 64
    assert "POSTGRES_PASSWORD" in secret(kube, "batch-gateway-postgresql")


def test_what_holds_secrets_goes_where_secrets_are(kube, command):
    sources = '{"/shop": {"tenant": "shop", "keys": ["0123456789abcdef"]}}'
    fields = ("inference.api_key=k3y", f"intake.sources={sources}", "api.mode=strict")

    command("deploy", *(word for field in fields for word in ("--set", field)))

    values = secret(kube)
    settings = kube.find("ConfigMap", "batch-gateway-settings")["data"]
    assert values["BATCH_GATEWAY_INFERENCE__API_KEY"] == "k3y"
    assert values["BATCH_GATEWAY_INTAKE__SOURCES"] == sources
    assert settings["BATCH_GATEWAY_API__MODE"] == "strict"
    assert "BATCH_GATEWAY_INTAKE__SOURCES" not in settings


def test_a_trial_has_a_signing_key_that_nobody_else_knows(kube, command):
    command("deploy", "--overlay", "trial")

    assert secret(kube)["BATCH_GATEWAY_EVENTS__SIGNING_KEYS"] != "for-trials-only"


def test_settings_go_into_the_config_map_and_make_a_new_revision(kube, command):
    command("deploy")
    before = kube.find("Service", "executor", group=SERVING)["metadata"]["generation"]

    command("deploy", "--set", "inference.url=http://models", "--set", "limits.ceiling=9")

    data = kube.find("ConfigMap", "batch-gateway-settings")["data"]
    assert data["BATCH_GATEWAY_INFERENCE__URL"] == "http://models"
    assert data["BATCH_GATEWAY_LIMITS__CEILING"] == "9"
    assert kube.find("Service", "executor", group=SERVING)["metadata"]["generation"] == before + 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--set", "inference.speed=9"], "there is no setting inference.speed"),
        (["--set", "limits.ceiling=many"], "setting limits.ceiling: Input should be a valid"),
        (["--overlay", "absent"], "there is no overlay absent: a folder, or one of laptop,"),
        (["--image", "registry/batch-gateway"], "--image needs a tag or a digest"),
        (
            ["--overlay", "production", "--broker", "kafka"],
            "has a broker already (RabbitMQBroker): leave out --broker kafka, or use the overlay"
            " production-kafka",
        ),
        (["--overlay", "trial", "--broker", "kafka"], "or use the overlay minimal"),
        (["--context", "absent"], "no cluster: "),
    ],
)
def test_a_wrong_command_line_changes_nothing(kube, command, words, hint):
    told = command("deploy", *words, code=2)

    assert hint in " ".join(told.output.replace("│", " ").split())
    assert kube.left() == {}


@pytest.mark.parametrize(("broker", "class_"), [("kafka", "Kafka"), ("mt", "MTChannelBasedBroker")])
def test_the_broker_s_class_is_a_choice(kube, command, broker, class_):
    kube.install_broker("Kafka")

    command("deploy", "--broker", broker)

    found = kube.find("Broker", "batch-gateway", group=EVENTING)
    assert found["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == class_


def test_an_image_and_a_namespace_are_put_everywhere(kube, command):
    image = "registry.example.com:5000/team/gateway@sha256:" + "ab" * 32

    command("deploy", "--image", image, "--namespace", "team-a")

    service = kube.find("Service", "api", group=SERVING, namespace="team-a")
    job = kube.find("Job", "migrate", group="batch", namespace="team-a")
    assert service["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert {key[1] for _, key in kube.objects} == {"", "team-a"}


def test_an_overlay_of_the_user_s_is_deployed(kube, command, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    base = deployment_root() / "knative" / "overlays" / "minimal"
    content = {
        "resources": [os.path.relpath(base, mine)],
        "labels": [{"pairs": {"team": "red"}}],
    }
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(content))

    command("deploy", "--overlay", str(mine))

    assert kube.find("Service", "api", group=SERVING)["metadata"]["labels"]["team"] == "red"


def test_a_dry_run_has_the_cluster_judge_and_changes_nothing(kube, command):
    command("deploy")
    before = dict(kube.objects)
    kube.refused["Service", "planner"] = "must not set the field(s): spec.template.spec.nodeName"

    refused = command("deploy", "--dry-run", "--set", "limits.ceiling=9", code=1)
    kube.refused.clear()
    told = command("deploy", "--dry-run", "--set", "limits.ceiling=9").stdout.splitlines()

    assert "Service.serving.knative.dev planner: admission webhook" in refused.stderr
    assert "must not set the field(s): spec.template.spec.nodeName" in refused.stderr
    assert "ConfigMap batch-gateway-settings configured" in told
    assert "Broker.eventing.knative.dev batch-gateway unchanged" in told
    assert told[-1] == "nothing was changed: --dry-run"
    assert kube.objects.keys() == before.keys()
    assert (
        "BATCH_GATEWAY_LIMITS__CEILING"
        not in kube.find("ConfigMap", "batch-gateway-settings")["data"]
    )


def test_a_dry_run_on_an_empty_cluster_says_what_would_be_created(kube, command):
    told = command("deploy", "--dry-run").stdout.splitlines()

    assert told[0] == "Namespace batch-gateway created"
    assert "Service.serving.knative.dev api would be created, not judged" in told
    assert told[-1] == (
        f"nothing was changed: --dry-run; {len(told) - 2} objects are not judged: there is no"
        " namespace batch-gateway yet"
    )
    assert kube.left() == {}


def test_a_dry_run_judges_services_whose_account_is_not_there_yet(kube, command):
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})

    told = command("deploy", "--dry-run").stdout.splitlines()

    assert "Service.serving.knative.dev api created" in told
    assert told[-1] == "nothing was changed: --dry-run"
    assert [key[0] for _, key in kube.objects] == ["Namespace"]


def test_a_dry_run_tells_that_the_broker_s_class_is_not_installed(kube, command):
    told = command("deploy", "--dry-run", "--broker", "kafka", code=1).stderr

    assert "Brokers of class Kafka (install the Knative Broker for Apache Kafka)" in told


def test_printing_needs_no_cluster_and_shows_no_secret(command, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")

    objects = list(yaml.safe_load_all(command("deploy", "--print", "--overlay", "trial").stdout))

    kinds = {obj["kind"] for obj in objects}
    assert {"Namespace", "Service", "Broker", "Trigger"} <= kinds
    assert "Secret" not in kinds


def test_a_cluster_without_knative_is_told_what_to_install(kube, command):
    del kube.kinds["serving.knative.dev/v1"]
    del kube.kinds["sources.knative.dev/v1"]

    told = command("deploy", code=1).stderr
    rehearsed = command("deploy", "--dry-run", code=1).stderr

    assert "Service of serving.knative.dev/v1 (install Knative Serving)" in told
    assert "PingSource of sources.knative.dev/v1 (install Knative Eventing)" in told
    assert rehearsed == told
    assert kube.left() == {}


def test_a_failure_that_lasts_is_told_with_what_the_pods_say(kube, command):
    kube.play("Service", "planner", {"conditions": failing("RevisionFailed", "it does not start")})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "planner-00001-x",
            "namespace": "batch-gateway",
            "labels": {"serving.knative.dev/service": "planner"},
        },
        "status": {
            "containerStatuses": [
                {
                    "name": "planner",
                    "state": {
                        "waiting": {"reason": "ImagePullBackOff", "message": "no such image"}
                    },
                }
            ]
        },
    }
    kube.add(pod)

    told = command("deploy", code=4).stderr.splitlines()[-2:]

    assert told == [
        "batch-gateway: failed: ImagePullBackOff: no such image (Service planner)",
        "  waiting for that: Trigger planner",
    ]


def test_a_failure_that_passes_is_waited_for(kube, command, monkeypatch):
    monkeypatch.setattr(rollout, "LASTING_S", 60)
    broken = {"conditions": failing("SubscriberNotFound", "no such service")}
    kube.play("Trigger", "planner", broken, broken, broken, {"conditions": READY})

    assert "Batch Gateway is ready" in command("deploy").stdout


def test_a_migration_that_fails_is_final(kube, command, monkeypatch):
    monkeypatch.setattr(rollout, "LASTING_S", 60)
    over = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    kube.play("Job", "migrate", {"failed": 1}, {"failed": 26, "conditions": [over]})

    told = command("deploy", code=4).stderr

    assert "failed: BackoffLimitExceeded (Job migrate)\n  waiting for that: Broker" in told


def test_what_is_not_ready_in_time_is_told(kube, command):
    kube.play("Broker", "batch-gateway", {"conditions": WAITING})

    told = command("deploy", "--timeout", "1", code=4).stderr

    assert "not ready after 1 s: Deploying: not yet (Broker batch-gateway)\n" in told


def test_what_may_not_be_done_is_told_in_one_line(kube, command):
    kube.forbidden.add(("PATCH", "brokers"))

    told = command("deploy", code=1).stderr

    assert told.splitlines()[-1].startswith(
        "batch-gateway: nothing was changed: Broker.eventing.knative.dev batch-gateway:"
        ' brokers.eventing.knative.dev "batch-gateway" is forbidden: User "developer" cannot patch'
    )
    assert kube.left() == {}


def test_a_broker_of_another_class_cannot_be_made_of_one(kube, command):
    kube.install_broker("Kafka")
    command("deploy", "--broker", "mt")
    before = dict(kube.objects)

    told = command("deploy", "--broker", "kafka", code=1).stderr

    assert "is of class MTChannelBasedBroker and cannot become Kafka" in told
    assert "kubectl -n batch-gateway delete broker batch-gateway" in told
    assert kube.objects.keys() == before.keys()


def test_without_an_overlay_the_last_one_is_taken_and_the_first_time_asked_for(kube, command):
    run = CliRunner().invoke
    asked = run(app, ["deploy"])
    command("deploy", "--broker", "mt")

    again = run(app, ["deploy"])

    assert asked.exit_code == 2
    assert "which overlay? --overlay trial brings its own stores" in asked.stderr
    assert again.exit_code == 0, again.output
    assert "Broker.eventing.knative.dev batch-gateway unchanged" in again.stdout


def test_a_secret_that_is_not_there_is_asked_for_before_anything_is_applied(kube, command):
    told = command("deploy", "--overlay", "production", "--dry-run", code=1).stderr

    assert "kubectl -n batch-gateway create secret generic batch-gateway-postgresql" in told
    assert kube.left() == {}


def test_a_cluster_that_does_not_answer_ends_with_3(kube, command, tmp_path):
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    (tmp_path / "elsewhere").write_text(yaml.safe_dump(config))

    told = command("deploy", "--kubeconfig", str(tmp_path / "elsewhere"), code=3).stderr

    assert told.startswith("batch-gateway: the cluster does not answer: ")


def test_uninstalling_keeps_secrets_and_what_is_not_ours(kube, command):
    command("deploy", "--overlay", "trial")
    metadata = {"name": "theirs", "namespace": "batch-gateway"}
    kube.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})

    asked = command("uninstall", stdin="n\n", code=1)
    before = len(kube.objects)
    told = command("uninstall", "--yes").stdout.splitlines()

    assert "Delete " in asked.stderr
    assert "nothing was removed" in asked.stderr
    assert before > 20
    assert told[0] == "PingSource janitor deleted"
    assert told[-1] == "secrets and volumes of the namespace batch-gateway are kept"
    assert {key[0] for _, key in kube.objects} == {"Namespace", "Secret", "ConfigMap"}
    assert kube.names("ConfigMap") == ["theirs"]


def test_purging_leaves_nothing(kube, command):
    command("deploy", "--overlay", "trial")

    command("uninstall", "--purge", stdin="y\n")

    assert kube.left() == {}
    assert "there is no Batch Gateway" in command("uninstall", code=1).stderr


def migrated(folder) -> str:
    """The URL of a metadata store."""
    url = f"sqlite+aiosqlite:///{folder}/metadata.db"

    async def open_and_close() -> None:
        await (await open_sql(url, pool_size=1, migrate=True)).close()

    asyncio.run(open_and_close())
    return url


def test_changes_are_in_the_audit_log_of_the_database_that_the_operator_names(
    command, monkeypatch, tmp_path
):
    command("deploy")
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", migrated(tmp_path))
    command("deploy", "--set", "api.mode=strict", "--set", "inference.api_key=k3y")
    command("deploy", "--dry-run")
    command("rollback")
    command("uninstall", "--yes")

    log = [json.loads(line) for line in command("audit", "--json").stdout.splitlines()]
    assert [(e["action"], e["target"], e["outcome"], e["operator"]) for e in log] == [
        ("deployment.uninstall", "batch-gateway", "ok", True),
        ("deployment.rollback", "batch-gateway", "ok", True),
        ("settings.change", "BATCH_GATEWAY_INFERENCE__API_KEY", "ok", True),
        ("settings.change", "BATCH_GATEWAY_API__MODE", "ok", True),
        ("deployment.deploy", "batch-gateway", "ok", True),
    ]
    assert "k3y" not in json.dumps(log)


def test_a_deployment_that_fails_is_recorded_as_failed(kube, command, monkeypatch, tmp_path):
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", migrated(tmp_path))
    kube.play("Service", "planner", {"conditions": WAITING})

    command("deploy", "--timeout", "1", code=4)

    (entry,) = map(json.loads, command("audit", "--json").stdout.splitlines())
    assert (entry["action"], entry["outcome"]) == ("deployment.deploy", "failed")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://u:p@127.0.0.1:9/db",
        "sqlite+aiosqlite:////nowhere/metadata.db",
        "sqlite+aiosqlite:///{folder}/text.db",
        "sqlite+aiosqlite:///{folder}/empty.db",
        "redis+sentinel://127.0.0.1:9/primary/0",
        "nothing://of-the-kind",
        "not a URL",
    ],
)
def test_what_cannot_be_recorded_is_told_and_raises_nothing(url, monkeypatch, tmp_path, capsys):
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "empty.db").touch()
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", url.format(folder=tmp_path))

    record_change("deployment.uninstall", "batch-gateway", AuditOutcome.OK, ["api.mode"])

    told = capsys.readouterr().err
    assert told.startswith("deployment.uninstall is not in the audit log: ")
    assert "Traceback" not in told


def test_a_database_that_is_away_stops_no_deployment(command, monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", "redis://127.0.0.1:9/0")

    told = command("deploy")

    assert "deployment.deploy is not in the audit log" in told.stderr
    assert "Batch Gateway is ready" in told.stdout
