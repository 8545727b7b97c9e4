"""Installing, deploying again, mixing with kubectl and kn, and going back, on a strict server."""

import base64
import copy
import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.kube import Kube
from fixtures.kube.knative import BINDER, inject
from fixtures.kube.people import kn_service_update, kubectl_apply, kubectl_edit
from fixtures.kube.refusals import Refused
from manifests.kustomize import ROOT, build
from typer.testing import CliRunner

from batch_gateway.cli.cluster import apply, rollout
from batch_gateway.cli.cluster.dry_run import DryRun
from batch_gateway.cli.cluster.kube import ClusterApiError
from batch_gateway.cli.cluster.options import ClusterOptions
from batch_gateway.cli.main import app

SERVING, EVENTING = "serving.knative.dev", "eventing.knative.dev"
CLAIMS = "networking.internal.knative.dev"
FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/main.py"))
SENDERS = [name for name in FUNCTIONS if name != "deadletter"]
SETTINGS = ("ConfigMap", "batch-gateway-settings")
MAX_SCALE = "autoscaling.knative.dev/max-scale"
SCALE_FIELD = f".spec.template.metadata.annotations.{MAX_SCALE}"
INSTALLED = {
    "trial": ["--overlay", "trial"],
    "laptop": ["--overlay", "laptop"],
    "minimal-mt": ["--overlay", "minimal", "--broker", "mt"],
    "minimal-kafka": ["--overlay", "minimal", "--broker", "kafka"],
    "minimal-rabbitmq": ["--overlay", "minimal", "--broker", "rabbitmq"],
    "production": ["--overlay", "production"],
    "production-kafka": ["--overlay", "production-kafka"],
    "production-mt": ["--overlay", "production-mt"],
}


#: Overlays that are applied as they stand, one of each class of Broker among production's.
WHOLE = ["trial", "minimal", "production", "production-kafka", "production-mt"]


@pytest.fixture
def command(kube, monkeypatch):
    monkeypatch.setattr(rollout, "PAUSE_S", 0.01)
    monkeypatch.setattr(rollout, "LASTING_S", 0.05)
    monkeypatch.setattr(apply, "ADDRESS_S", 10)
    monkeypatch.setattr(apply, "PAUSE_S", 0.01)
    for class_ in ("Kafka", "RabbitMQBroker"):
        kube.install_broker(class_)

    def run(*words: str, code: int = 0):
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, result.output
        return result

    return run


def prepare(kube: Kube) -> None:
    """The Secrets of managed stores."""
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    for name in ("batch-gateway-secrets", "batch-gateway-postgresql", "batch-gateway-redis"):
        metadata = {"name": name, "namespace": "batch-gateway"}
        kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}})


def applied(kube: Kube, overlay: str = "minimal", **options) -> None:
    prepare(kube)
    objects = build(ROOT / "knative" / "overlays" / overlay)
    kubectl_apply(kube, [obj for obj in objects if obj["kind"] != "Namespace"], **options)
    kube.settle()


def started(kube: Kube) -> dict[str, int]:
    return {name: kube.revisions_of(name) for name in FUNCTIONS}


def unready(kube: Kube) -> list[str]:
    return [
        f"{key[0]} {key[2]}"
        for (_, key), obj in kube.objects.items()
        for condition in (obj.get("status") or {}).get("conditions") or ()
        if condition["type"] == "Ready" and condition["status"] != "True"
    ]


def service(kube: Kube, name: str) -> dict:
    return kube.find("Service", name, group=SERVING)


def settings(kube: Kube) -> dict[str, str]:
    return kube.find("ConfigMap", "batch-gateway-settings")["data"]


# -- installing --------------------------------------------------------------------------------


def test_the_server_makes_a_circle_of_functions_that_need_the_broker_to_start(kube, command):
    kube.need_sink = set(FUNCTIONS)

    applied(kube, "trial")

    assert "Broker batch-gateway" in unready(kube)
    assert {f"Service {name}" for name in FUNCTIONS} <= set(unready(kube))


@pytest.mark.parametrize("words", INSTALLED.values(), ids=INSTALLED)
def test_a_first_installation_starts_every_function_once(kube, command, words):
    prepare(kube)
    kube.need_sink = set(SENDERS)

    told = command("deploy", *words)

    assert told.stdout.splitlines()[-1].startswith("Batch Gateway is ready: http://api.")
    kube.settle()
    assert unready(kube) == []
    assert started(kube) == dict.fromkeys(FUNCTIONS, 1)
    broker = kube.find("Broker", "batch-gateway", group=EVENTING)
    assert settings(kube)["BATCH_GATEWAY_EVENTS__SINK"] == broker["status"]["address"]["url"]
    assert kube.names("SinkBinding", group="sources.knative.dev") == []


@pytest.mark.parametrize("words", INSTALLED.values(), ids=INSTALLED)
def test_the_same_again_changes_nothing_and_starts_nothing(kube, command, words):
    prepare(kube)
    command("deploy", *words)
    before = started(kube)
    gradual = service(kube, "api")["metadata"]["annotations"]

    told = command("deploy", *words).stdout.splitlines()[:-1]

    changed = {line for line in told if line.split()[-1] not in ("unchanged", "kept")}
    # A gradual rollout is asked for once there is a revision to come from.
    expected = {"Service.serving.knative.dev api configured"} if "production" in words[1] else set()
    assert changed - {"Job.batch migrate replaced"} == expected
    assert "serving.knative.dev/rollout-duration" not in gradual
    assert started(kube) == before


def test_a_broker_without_an_address_leaves_it_to_a_sink_binding(kube, command, monkeypatch):
    monkeypatch.setattr(apply, "ADDRESS_S", 0.2)
    kube.crashing["deadletter"] = "OperationalError: no such host"

    command("deploy", "--overlay", "minimal", "--timeout", "1", code=4)
    kube.crashing.clear()
    kube.settle()

    assert unready(kube) == []
    assert kube.names("SinkBinding", group="sources.knative.dev") == ["batch-gateway"]
    assert set(started(kube).values()) == {2}


def test_without_waiting_a_sink_binding_tells_the_functions(kube, command):
    command("deploy", "--overlay", "minimal", "--no-wait")
    kube.settle()

    assert unready(kube) == []
    assert kube.names("SinkBinding", group="sources.knative.dev") == ["batch-gateway"]


@pytest.mark.parametrize("overlay", WHOLE)
def test_kubectl_alone_converges(kube, command, overlay):
    applied(kube, overlay)

    assert unready(kube) == []


# -- again, by others, and back ------------------------------------------------------------------


def test_deploying_after_kubectl_takes_no_field_from_the_binding(kube, command):
    applied(kube, "trial")

    command("deploy", "--overlay", "trial")
    before = started(kube)
    told = command("deploy", "--overlay", "trial").stdout
    kube.settle()

    env = service(kube, "executor")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [e["name"] for e in env] == ["K_SINK", "K_CE_OVERRIDES"]
    assert "Service.serving.knative.dev executor unchanged" in told
    assert started(kube) == before
    assert unready(kube) == []


def test_where_a_binding_is_it_alone_tells_functions_of_a_new_broker(kube, command):
    """While there is no address, a SinkBinding takes away what it has injected."""
    applied(kube, "minimal")
    command("deploy", "--overlay", "minimal")
    before = started(kube)
    assert "BATCH_GATEWAY_EVENTS__SINK" not in settings(kube)
    kube.delete(EVENTING, ("Broker", "batch-gateway", "batch-gateway"))
    kube.settle()
    assert environment_of(kube, "planner") == []
    assert started(kube) == {name: count + 1 for name, count in before.items()}

    command("deploy")
    kube.settle()

    assert environment_of(kube, "planner") == ["K_SINK", "K_CE_OVERRIDES"]
    assert started(kube) == {name: count + 2 for name, count in before.items()}
    assert unready(kube) == []


def environment_of(kube: Kube, name: str) -> list[str]:
    (container,) = service(kube, name)["spec"]["template"]["spec"]["containers"]
    return [variable["name"] for variable in container.get("env", ())]


def test_deploying_while_the_binding_is_at_work_loses_no_race(kube, command):
    """The binding gets its address between the judging of a Service and its application."""
    prepare(kube)
    objects = build(ROOT / "knative" / "overlays" / "minimal")
    kubectl_apply(kube, [obj for obj in objects if obj["kind"] != "Namespace"])
    original, bound = kube.apply, []

    def apply_after_binding(group, key, body, manager, *, force, dry):
        if (key[0], dry, bound) == ("ConfigMap", False, []):
            bound.append(key)
            kube.settle()
        return original(group, key, body, manager, force=force, dry=dry)

    kube.apply = apply_after_binding

    command("deploy", "--overlay", "minimal")
    kube.settle()

    assert bound
    assert unready(kube) == []
    env = service(kube, "planner")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [e["name"] for e in env] == ["K_SINK", "K_CE_OVERRIDES"]


def test_a_field_taken_since_the_judging_is_judged_anew(kube, command):
    command("deploy", "--overlay", "minimal")
    cluster = ClusterOptions().cluster()
    objects = build(ROOT / "knative" / "overlays" / "minimal")
    planner, executor = (
        next(o for o in objects if (o["kind"], o["metadata"]["name"]) == ("Service", name))
        for name in ("planner", "executor")
    )
    judge = DryRun(cluster, force=False, last=objects)
    verdicts = [judge.judge(planner), judge.judge(executor)]
    bound = copy.deepcopy(service(kube, "planner"))
    inject(bound, "http://broker")
    kube.update(SERVING, ("Service", "batch-gateway", "planner"), bound, BINDER)
    kn_service_update(kube, "executor", annotations={MAX_SCALE: "16"})

    judge.apply(verdicts[0])
    with pytest.raises(ClusterApiError, match="kn has set"):
        judge.apply(verdicts[1])

    assert [verdict.force for verdict in verdicts] == [False, False]


@pytest.mark.parametrize("overlay", WHOLE)
def test_kubectl_and_deploy_take_turns(kube, command, overlay):
    prepare(kube)
    objects = build(ROOT / "knative" / "overlays" / overlay)
    command("deploy", "--overlay", overlay)

    for _ in range(2):
        kubectl_apply(kube, [o for o in objects if o["kind"] not in ("Secret", "Job")])
        kube.settle()
        command("deploy", "--overlay", overlay, "--image", "registry/gateway:2")
        kube.settle()

        assert unready(kube) == []
    (container,) = service(kube, "planner")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry/gateway:2"


def test_kubectl_on_the_server_s_side_is_taken_over_too(kube, command):
    applied(kube, "minimal", server_side=True)

    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:2")

    assert unready(kube) == []


def test_another_image_and_another_setting_are_deployed(kube, command):
    command("deploy", "--overlay", "minimal")

    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:2")
    command("deploy", "--set", "limits.ceiling=9")

    assert started(kube) == dict.fromkeys(FUNCTIONS, 2) | {"api": 3, "executor": 3, "janitor": 3}


def test_what_kn_has_decided_is_named_before_anything_is_applied(kube, command):
    command("deploy", "--overlay", "minimal")
    kn_service_update(kube, "executor", annotations={MAX_SCALE: "16"})
    before = json.dumps(settings(kube))

    told = command("deploy", "--overlay", "minimal", "--set", "limits.ceiling=9", code=1).stderr

    assert told.splitlines()[-1] == (
        "batch-gateway: nothing was changed: Service.serving.knative.dev executor: kn has set"
        f' {SCALE_FIELD} to "16", this deployment sets "8": write "16" into your overlay, or take'
        " it back with --force"
    )
    assert json.dumps(settings(kube)) == before
    command("deploy", "--overlay", "minimal", "--force")
    annotations = service(kube, "executor")["spec"]["template"]["metadata"]["annotations"]
    assert annotations[MAX_SCALE] == "8"


def test_a_pinned_image_is_no_decision(kube, command):
    command("deploy", "--overlay", "minimal")
    kn_service_update(kube, "executor", annotations={"team": "red"})

    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:2")

    template = service(kube, "executor")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "registry/gateway:2"
    assert template["metadata"]["annotations"]["team"] == "red"


@pytest.mark.parametrize(
    ("update", "field"),
    [
        ({"env": {"PYTHONASYNCIODEBUG": "1"}}, 'containers[name="executor"].env'),
        ({"image": "registry/own:1"}, 'containers[name="executor"].image'),
    ],
)
def test_what_kn_has_put_into_a_container_is_a_decision(kube, command, update, field):
    command("deploy", "--overlay", "minimal")
    kn_service_update(kube, "executor", **update)

    told = command("deploy", "--overlay", "minimal", code=1).stderr

    assert f"kn has set .spec.template.spec.{field}" in told


def test_an_edited_setting_is_a_decision_unless_the_command_line_names_it(kube, command):
    command("deploy", "--overlay", "minimal")
    name = "BATCH_GATEWAY_INFERENCE__URL"
    kubectl_edit(kube, "ConfigMap", "batch-gateway-settings", {"data": {name: "http://by-hand"}})

    told = command("deploy", "--overlay", "minimal", code=1).stderr
    command("deploy", "--overlay", "minimal", "--set", "inference.url=http://said")

    assert f'kubectl-edit has set .data.{name} to "http://by-hand"' in told
    assert settings(kube)[name] == "http://said"


def test_a_refusal_of_one_object_keeps_the_others_from_being_applied(kube, command):
    kube.refused["Service", "planner"] = "must not set the field(s): spec.template.spec.nodeName"
    kube.refused["Trigger", "executor"] = "no"

    told = command("deploy", "--overlay", "minimal", code=1).stderr

    assert "planner: admission webhook" in told
    assert "executor: admission webhook" in told
    assert kube.left() == {}


def test_a_namespace_that_is_being_deleted_is_waited_for(kube, command):
    kube.add_leaving("batch-gateway", looks=3)

    told = command("deploy", "--overlay", "minimal").stdout

    assert "Namespace batch-gateway is being deleted: waiting until it is gone" in told
    assert unready(kube) == []


def test_a_dry_run_tells_that_the_namespace_is_being_deleted(kube, command):
    """A finalizer keeps it: nothing can be judged in it, nor is it waited for."""
    kube.add_leaving("batch-gateway", looks=10**6)
    before = copy.deepcopy(kube.objects)

    told = command("deploy", "--overlay", "minimal", "--dry-run").stdout.splitlines()

    assert told[0] == "Namespace batch-gateway is being deleted: would be created when it is gone"
    judged = [line for line in told[1:-1] if not line.endswith(" would be created, not judged")]
    assert judged == []
    assert told[-1] == (
        f"nothing was changed: --dry-run; {len(told) - 2} objects are not judged: the namespace"
        " batch-gateway is being deleted"
    )
    assert kube.objects == before
    assert "deletionTimestamp" in kube.find("Namespace", "batch-gateway")["metadata"]


def test_a_namespace_that_is_not_going_is_named(kube, command, monkeypatch):
    monkeypatch.setattr(apply, "_GONE_S", 0.1)
    kube.add_leaving("batch-gateway", looks=10**6)

    told = command("deploy", "--overlay", "minimal", code=1).stderr

    assert "the namespace batch-gateway is still being deleted" in told
    assert "kubectl describe namespace batch-gateway" in told


def test_a_field_that_a_kind_does_not_have_is_a_refusal_and_no_outage(kube, command, tmp_path):
    """kube-apiserver answers 500."""
    patch = {"op": "add", "path": "/spec/template/spec/containerConcurency", "value": 1}
    overlay = with_patch(tmp_path, patch, {"group": SERVING, "kind": "Service", "name": "api"})

    told = command("deploy", "--overlay", overlay, code=1).stderr

    assert ".spec.template.spec.containerConcurency: field not declared in schema" in told
    assert kube.left() == {}


# -- settings and secrets ------------------------------------------------------------------------


def test_a_changed_secret_makes_new_revisions_and_shows_nothing_of_itself(kube, command):
    command("deploy", "--overlay", "trial")
    key = "a-new-and-long-signing-key"

    command("deploy", "--overlay", "trial", "--set", f"events.signing_keys={key}")

    assert started(kube) == dict.fromkeys(FUNCTIONS, 2)
    assert key not in json.dumps([o for o in kube.objects.values() if o["kind"] != "Secret"])


def test_only_those_that_read_a_secret_are_started_anew(kube, command, tmp_path):
    """An overlay that gives one function a Secret of its own."""
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    metadata = {"name": "mine", "namespace": "batch-gateway"}
    data = {"HTTPS_PROXY": "b25l", "UNKNOWN": "b25l"}
    kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    source = {"secretRef": {"name": "mine"}}
    path = "/spec/template/spec/containers/0/envFrom/-"
    target = {"group": SERVING, "kind": "Service", "name": "notifier"}
    overlay = with_patch(tmp_path, {"op": "add", "path": path, "value": source}, target)
    command("deploy", "--overlay", overlay)
    kube.find("Secret", "mine")["data"]["UNKNOWN"] = "dHdv"
    command("deploy", "--overlay", overlay)
    assert started(kube) == dict.fromkeys(FUNCTIONS, 1)
    kube.find("Secret", "mine")["data"]["HTTPS_PROXY"] = "dHdv"

    command("deploy", "--overlay", overlay)

    assert started(kube) == dict.fromkeys(FUNCTIONS, 1) | {"notifier": 2}


def test_what_another_container_is_given_is_read_by_it(kube, command, tmp_path):
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    metadata = {"name": "mine", "namespace": "batch-gateway"}
    data = {"UNKNOWN": "b25l"}
    kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    beside = {"name": "proxy", "image": "p:1", "envFrom": [{"secretRef": {"name": "mine"}}]}
    patch = {"op": "add", "path": "/spec/template/spec/containers/-", "value": beside}
    target = {"group": SERVING, "kind": "Service", "name": "notifier"}
    overlay = with_patch(tmp_path, patch, target)
    command("deploy", "--overlay", overlay)
    kube.find("Secret", "mine")["data"]["UNKNOWN"] = "dHdv"

    command("deploy", "--overlay", overlay)

    assert started(kube) == dict.fromkeys(FUNCTIONS, 1) | {"notifier": 2}


ROUTES = "/etc/batch-gateway-routes/routes.yaml"


@pytest.fixture
def with_routes(tmp_path):
    """An overlay whose routing file names an API key, in ``where``."""

    def overlay(where: str) -> str:
        text = "endpoints: {a: {url: 'http://a', api_key_env: ENGINE_KEY}}\ndefault: a\n"
        data = {
            "batch-gateway-routes": {"routes.yaml": text},
            "batch-gateway-settings": {"BATCH_GATEWAY_INFERENCE__ROUTES": where},
        }
        patches = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": values}
            for name, values in data.items()
        ]
        calendar = ROOT / "knative/components/gpu-night-calendar"
        content = {
            "resources": [os.path.relpath(ROOT / "knative/overlays/minimal", tmp_path)],
            "components": [os.path.relpath(calendar, tmp_path)],
            "patches": [{"patch": json.dumps(patch)} for patch in patches],
        }
        (tmp_path / "kustomization.yaml").write_text(json.dumps(content))
        return str(tmp_path)

    return overlay


def test_an_engine_s_key_is_read_by_those_that_send_requests(kube, command, with_routes):
    names = ("ENGINE_KEY", "UNKNOWN", "BATCH_GATEWAY_RETRY__ATTEMPTS")
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    metadata = {"name": "batch-gateway-secrets", "namespace": "batch-gateway"}
    data = dict.fromkeys(names, "Mw==")
    kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    command("deploy", "--overlay", with_routes(ROUTES))

    def changed(variable: str, value: str) -> set[str]:
        kube.find("Secret", "batch-gateway-secrets")["data"][variable] = value
        return started_by(kube, command, "deploy")

    assert {name: changed(name, "NA==") for name in names} == {
        "ENGINE_KEY": {"api", "executor"},
        "UNKNOWN": set(),
        "BATCH_GATEWAY_RETRY__ATTEMPTS": {"executor"},
    }
    # A routing file of the image: any variable may be a key.
    command("deploy", "--overlay", with_routes("/srv/routes.yaml"))
    assert changed("UNKNOWN", "NQ==") == {"api", "executor"}


def test_a_routing_file_that_changes_starts_nothing_anew(kube, command, with_routes):
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    command("deploy", "--overlay", with_routes(ROUTES))
    routes = kube.find("ConfigMap", "batch-gateway-routes")["data"]["routes.yaml"]
    kubectl_edit(
        kube,
        "ConfigMap",
        "batch-gateway-routes",
        {"data": {"routes.yaml": routes.replace("http://a", "http://b")}},
    )

    command("deploy", "--force")

    assert started(kube) == dict.fromkeys(FUNCTIONS, 1)


READERS = {
    "planning.shard_lines=100": {"planner"},
    "retry.attempts=2": {"executor"},
    "execution.assembly_run_bytes=1000000": {"assembler"},
    "sweep.every_s=30": {"janitor"},
    "webhooks.backoff_s=1": {"notifier"},
    "webhooks.encryption_keys=a-key-that-seals": {"api", "notifier"},
    "inference.header_keys=a-key-that-seals": {"api", "executor", "intake"},
    "inference.api_key=the-key-of-the-engine": {"api", "executor"},
    "intake.s3_region=eu-central-1": {"intake"},
    "dead_letters.most=5": {"deadletter"},
    "log.level=debug": set(FUNCTIONS),
}


def started_by(kube: Kube, command, *words: str) -> set[str]:
    """The functions of which a command makes a new revision."""
    before = started(kube)
    command(*words)
    return {name for name, revisions in started(kube).items() if revisions == before[name] + 1}


def test_a_changed_setting_starts_the_functions_that_read_it_anew(kube, command):
    command("deploy", "--overlay", "minimal")

    found = {setting: started_by(kube, command, "deploy", "--set", setting) for setting in READERS}

    assert found == READERS
    assert started_by(kube, command, "rollback") == READERS["log.level=debug"]
    back = READERS["dead_letters.most=5"] | READERS["intake.s3_region=eu-central-1"]
    assert started_by(kube, command, "rollback", "--to", "9") == back


def test_wrong_settings_are_told_all_at_once_before_anything_is_applied(kube, command, tmp_path):
    """Of whatever function, in the ConfigMap, in a Secret, or written into one container."""
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    metadata = {"name": "batch-gateway-secrets", "namespace": "batch-gateway"}
    data = {"BATCH_GATEWAY_INTAKE__SOURCES": base64.b64encode(b"s3cret").decode()}
    kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    values = {"BATCH_GATEWAY_RETRY__ATTEMPTS": "many", "BATCH_GATEWAY_PLANNING__NEWS": "1"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SETTINGS[1]}}
    variable = {"name": "BATCH_GATEWAY_SWEEP__EVERY_S", "value": "0"}
    path = "/spec/template/spec/containers/0/env"
    content = {
        "resources": [os.path.relpath(ROOT / "knative/overlays/minimal", tmp_path)],
        "patches": [
            {"patch": json.dumps(config | {"data": values})},
            {
                "patch": json.dumps([{"op": "add", "path": path, "value": [variable]}]),
                "target": {"group": SERVING, "kind": "Service", "name": "janitor"},
            },
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(content))
    before = copy.deepcopy(kube.objects)

    told = command("deploy", "--overlay", str(tmp_path), code=1).stderr
    rehearsed = command("deploy", "--overlay", str(tmp_path), "--dry-run", code=1).stderr

    assert told == rehearsed
    lines = [line.partition("setting ")[2] for line in told.splitlines()]
    assert sorted(line.partition(":")[0] for line in lines) == [
        "intake.sources",
        "planning.news",
        "retry.attempts",
        "sweep.every_s",
    ]
    assert "s3cret" not in told
    assert kube.objects == before
    words = ("--overlay", str(tmp_path), "-n", "other", "--dry-run")
    elsewhere = command("deploy", *words, code=1).stderr
    assert set(elsewhere.splitlines()[1:]) < set(told.splitlines())


def test_going_back_takes_settings_that_this_release_does_not_know(kube, command):
    """A release is deployed as it was: its image has started with its settings."""
    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:1")
    releases = kube.find("Secret", "batch-gateway-releases")["data"]
    release = json.loads(gzip.decompress(base64.b64decode(releases["1"])))
    (config,) = [o for o in release["objects"] if (o["kind"], o["metadata"]["name"]) == SETTINGS]
    config["data"]["BATCH_GATEWAY_RETRY__OLD"] = "1"
    releases["1"] = base64.b64encode(gzip.compress(json.dumps(release).encode())).decode()
    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:2")

    command("rollback")

    assert settings(kube)["BATCH_GATEWAY_RETRY__OLD"] == "1"


def test_a_setting_that_kubectl_has_changed_starts_its_readers_anew(kube, command):
    command("deploy", "--overlay", "minimal")
    objects = build(ROOT / "knative" / "overlays" / "minimal")
    (config,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == SETTINGS]
    config["data"]["BATCH_GATEWAY_PLANNING__SHARD_LINES"] = "100"
    kubectl_apply(kube, [o for o in objects if o["kind"] not in ("Secret", "Job")])
    kube.settle()
    before = started(kube)

    command("deploy", "--set", "planning.shard_lines=100")

    after = started(kube)
    assert {name for name in FUNCTIONS if after[name] > before[name]} == {"planner"}


def test_one_key_of_a_secret_is_read_by_whom_it_is_given_to(kube, command, tmp_path):
    """Another key of that Secret may change without starting anything."""
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})
    metadata = {"name": "mine", "namespace": "batch-gateway"}
    data = {"url": "b25l", "other": "b25l"}
    kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    variable = {
        "name": "BATCH_GATEWAY_INTAKE__S3_ENDPOINT",
        "valueFrom": {"secretKeyRef": {"name": "mine", "key": "url"}},
    }
    overlay = with_patch(
        tmp_path,
        {"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [variable]},
        {"group": SERVING, "kind": "Service"},
    )
    command("deploy", "--overlay", overlay)
    kube.find("Secret", "mine")["data"]["other"] = "dHdv"
    command("deploy")
    assert started(kube) == dict.fromkeys(FUNCTIONS, 1)
    kube.find("Secret", "mine")["data"]["url"] = "dHdv"

    command("deploy")

    assert started(kube) == dict.fromkeys(FUNCTIONS, 1) | {"intake": 2}


def with_patch(folder, patch: dict, target: dict) -> str:
    """An overlay of its own: minimal with one patch."""
    base = os.path.relpath(ROOT / "knative/overlays/minimal", folder)
    patches = [{"target": target, "patch": json.dumps([patch])}]
    content = {"resources": [base], "patches": patches}
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    return str(folder)


def test_digests_of_two_clusters_with_the_same_settings_differ(kube, command):
    prepare(kube)
    command("deploy", "--overlay", "minimal")
    name = "batchgateway.dev/settings"
    one = service(kube, "api")["spec"]["template"]["metadata"]["annotations"][name]
    kube.find("Secret", "batch-gateway-releases")["data"].pop("salt")

    command("deploy", "--overlay", "minimal")

    assert service(kube, "api")["spec"]["template"]["metadata"]["annotations"][name] != one


def test_going_back_restores_image_settings_secrets_and_objects(kube, command):
    """After a deployment that does not become ready."""
    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:1")
    before = secret(kube)
    kube.absent_images.add("registry/gateway:2")
    words = ("--set", "limits.ceiling=9", "--set", "inference.api_key=k3y")
    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:2", *words, code=4)

    told = command("rollback").stdout.splitlines()

    (container,) = service(kube, "planner")["spec"]["template"]["spec"]["containers"]
    assert told[0].startswith("back to release 1 of ")
    assert told[-1].startswith("Batch Gateway is ready")
    assert container["image"] == "registry/gateway:1"
    assert "BATCH_GATEWAY_LIMITS__CEILING" not in settings(kube)
    assert secret(kube) == before
    assert unready(kube) == []


def test_a_deployment_that_was_interrupted_is_repeated_and_rolled_back(kube, command, monkeypatch):
    """What it replaced in Secrets is known, and it is no release to go back to."""
    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:1")
    before = secret(kube)
    original = kube.apply

    def apply_until_the_planner(group, key, body, manager, *, force, dry):
        if key[2] == "planner" and key[0] == "Service" and not dry:
            raise Refused(403, "Forbidden", "the credentials have expired")
        return original(group, key, body, manager, force=force, dry=dry)

    def interrupted(*words: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(kube, "apply", apply_until_the_planner)
            assert "the credentials have expired" in command(*words, code=1).stderr

    interrupted("deploy", "--image", "registry/gateway:2", "--set", "inference.api_key=k3y")
    assert secret(kube) != before
    command("deploy")
    assert images(kube) == {"registry/gateway:2"}
    interrupted("rollback")
    told = command("rollback").stdout.splitlines()

    assert told[0].startswith("back to release 1 of ")
    assert secret(kube) == before
    assert images(kube) == {"registry/gateway:1"}


def images(kube: Kube) -> set[str]:
    pods = (service(kube, name)["spec"]["template"]["spec"] for name in FUNCTIONS)
    return {container["image"] for pod in pods for container in pod["containers"]}


def test_going_forth_again_is_a_rollback_too(kube, command):
    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:1")
    command("deploy", "--overlay", "minimal", "--image", "registry/gateway:2")
    command("rollback")

    command("rollback", "--to", "2")

    (container,) = service(kube, "planner")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry/gateway:2"
    assert "known: 1, 2, 3, 4" in command("rollback", "--to", "9", code=2).stderr


def test_there_is_nothing_to_go_back_to_at_first(kube, command):
    assert "there is no earlier release" in command("rollback", code=1).stderr


def secret(kube: Kube) -> dict[str, bytes]:
    data = kube.find("Secret", "batch-gateway-secrets")["data"]
    return {name: base64.b64decode(value) for name, value in data.items()}


# -- domains -------------------------------------------------------------------------------------


@pytest.fixture
def with_domain(tmp_path):
    """An overlay with a domain of its own."""
    content = {
        "namespace": "batch-gateway",
        "resources": [os.path.relpath(ROOT / "knative/overlays/minimal", tmp_path)],
        "components": [os.path.relpath(ROOT / "knative/components/domain-mapping", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(content))
    return str(tmp_path)


def test_a_domain_moves_with_the_namespace_and_goes_with_it(kube, command, with_domain):
    command("deploy", "--overlay", with_domain, "-n", "other")
    claim = kube.find("ClusterDomainClaim", "batches.example.com", group=CLAIMS)
    kube.settle()

    assert claim["spec"]["namespace"] == "other"
    assert unready(kube) == []
    command("uninstall", "-n", "other", "--purge", "--yes")
    assert kube.left() == {}


def test_kubectl_alone_moves_a_domain_with_the_namespace(kube, command, with_domain):
    overlay = Path(with_domain)
    content = json.loads((overlay / "kustomization.yaml").read_text())
    (overlay / "kustomization.yaml").write_text(json.dumps(content | {"namespace": "other"}))

    objects = build(overlay)
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    for name in ("batch-gateway-secrets", "batch-gateway-postgresql", "batch-gateway-redis"):
        metadata = {"name": name, "namespace": "other"}
        kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}})
    kubectl_apply(kube, [obj for obj in objects if obj["kind"] != "Namespace"])
    kube.settle()

    assert unready(kube) == []


# -- tokens, and Secrets that come later --------------------------------------------------


def test_the_first_deployment_asks_a_person_for_the_overlay(kube, command):
    """On a terminal; elsewhere it is a refusal that names the overlays."""
    ours, theirs = pty.openpty()
    os.write(ours, b"minimal\n")
    words = [sys.executable, "-m", "batch_gateway", "deploy", "--no-wait"]
    done = subprocess.run(
        words, stdin=theirs, capture_output=True, text=True, timeout=120, check=False
    )
    os.close(ours)
    os.close(theirs)

    assert done.returncode == 0, done.stderr
    overlays = "laptop, minimal, production, production-kafka, production-mt, trial"
    assert f"Which overlay ({overlays}; " in done.stderr
    assert "Service.serving.knative.dev api created" in done.stdout
    assert "which overlay?" in command("deploy", "-n", "another", code=2).stderr


def test_functions_get_a_token_where_the_broker_asks_for_one(kube, command, tmp_path):
    components = ["eventing/components/oidc"]
    content = {
        "resources": [os.path.relpath(ROOT / "knative/overlays/minimal", tmp_path)],
        "components": [os.path.relpath(ROOT / name, tmp_path) for name in components],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(content))

    command("deploy", "--overlay", str(tmp_path), "-n", "other", "--timeout", "20")
    kube.settle()

    policy = kube.find("EventPolicy", "batch-gateway", group=EVENTING)
    (sender,) = policy["spec"]["from"]
    assert sender["ref"]["namespace"] == "other"
    assert kube.names("SinkBinding", group="sources.knative.dev") == ["batch-gateway"]
    env = service(kube, "planner")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert "K_SINK" in {variable["name"] for variable in env}
    assert unready(kube) == []


def test_secrets_may_come_later_where_nobody_waits(kube, command):
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})

    told = command("deploy", "--overlay", "production", code=1).stderr
    command("deploy", "--overlay", "production", "--no-wait")
    missing = command("deploy", code=1).stderr
    for name in ("batch-gateway-postgresql", "batch-gateway-redis"):
        assert f"kubectl -n batch-gateway create secret generic {name} " in missing
        metadata = {"name": name, "namespace": "batch-gateway"}
        kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}})
    command("deploy")

    assert "the Secret batch-gateway-postgresql is not there" in told
    assert unready(kube) == []


def test_a_domain_of_another_namespace_is_told_with_the_way_out(kube, command, with_domain):
    command("deploy", "--overlay", with_domain)

    told = command("deploy", "--overlay", with_domain, "-n", "other", code=1).stderr
    command("uninstall", "-n", "batch-gateway", "--yes")
    command("deploy", "--overlay", with_domain, "-n", "other")

    assert "belongs to the namespace batch-gateway" in told
    assert "kubectl delete clusterdomainclaim batches.example.com" in told


def test_deploying_without_an_overlay_repeats_the_last_time(kube, command):
    command(
        "deploy",
        "--overlay",
        "minimal",
        "--image",
        "registry/gateway:2",
        "--set",
        "limits.ceiling=9",
    )

    command("deploy", "--set", "limits.start=3")

    (container,) = service(kube, "planner")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry/gateway:2"
    assert settings(kube)["BATCH_GATEWAY_LIMITS__CEILING"] == "9"
    assert settings(kube)["BATCH_GATEWAY_LIMITS__START"] == "3"
