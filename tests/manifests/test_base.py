"""The base manifests: they parse, fit together, and mean what the functions are built for."""

import ast
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from batch_gateway.core.cron import parse_cron
from batch_gateway.core.events import EventType
from batch_gateway.local.manifests import deployment_root, load
from batch_gateway.settings import Settings, SweepSettings

ROOT = deployment_root()
DEPLOYMENT = load(ROOT)
FILES = sorted([*ROOT.glob("knative/**/*.yaml"), *ROOT.glob("eventing/**/*.yaml")])
BASE = sorted([*ROOT.glob("knative/base/**/*.yaml"), *ROOT.glob("eventing/base/**/*.yaml")])
RESOURCES = [file for file in BASE if file.name != "kustomization.yaml"]
DOCUMENTS = [yaml.safe_load(file.read_text()) for file in RESOURCES]
SERVICES = {
    document["metadata"]["name"]: document
    for document in DOCUMENTS
    if document["apiVersion"] == "serving.knative.dev/v1"
}
HEARD_BY = {
    EventType.BATCH_CREATED: "planner",
    EventType.WORK_AVAILABLE: "executor",
    EventType.BATCH_EXECUTED: "assembler",
    EventType.BATCH_CANCELLING: "assembler",
    EventType.BATCH_EXPIRING: "assembler",
    EventType.WEBHOOK_DUE: "notifier",
    EventType.UPKEEP_DUE: "janitor",
    EventType.BATCH_REQUESTED: "intake",
}

every_service = pytest.mark.parametrize("name", SERVICES)


def container(name: str) -> dict:
    (only,) = SERVICES[name]["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("file", RESOURCES, ids=lambda file: file.stem)
def test_every_file_holds_one_resource_and_is_part_of_its_base(file):
    (document,) = yaml.safe_load_all(file.read_text())
    kustomization = yaml.safe_load((file.parent / "kustomization.yaml").read_text())

    assert document["metadata"]["name"]
    assert file.name in kustomization["resources"]


def test_every_function_has_a_service_and_every_service_a_function():
    functions = {main.parent.name for main in ROOT.glob("functions/*/main.py")}

    assert set(SERVICES) == functions


@every_service
def test_a_service_runs_its_function(name):
    source = ROOT / "functions" / name / "main.py"
    targets = [
        target.id
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]

    assert name in targets
    assert container(name)["command"] == ["python", "-m", "batch_gateway.web.serve"]
    assert container(name)["args"] == [name]


@every_service
def test_only_the_api_is_public(name):
    (service,) = (service for service in DEPLOYMENT.services if service.name == name)

    assert service.public == (name == "api")


@every_service
def test_both_time_limits_are_given_and_allowed(name):
    spec = SERVICES[name]["spec"]["template"]["spec"]

    assert spec["timeoutSeconds"] <= 600  # max-revision-timeout-seconds
    assert spec["responseStartTimeoutSeconds"] == spec["timeoutSeconds"]


@every_service
def test_annotations_are_on_the_template_and_are_text(name):
    annotations = SERVICES[name]["spec"]["template"]["metadata"]["annotations"]

    own = SERVICES[name]["metadata"].get("annotations", {})
    assert not any("knative" in key for key in own)
    assert all(isinstance(value, str) for value in annotations.values())
    assert annotations["autoscaling.knative.dev/min-scale"] == "0"
    assert int(annotations["autoscaling.knative.dev/max-scale"]) > 0


@every_service
def test_one_request_per_pod_means_one_pod_per_request(name):
    (service,) = (service for service in DEPLOYMENT.services if service.name == name)

    if service.concurrency == 1:
        assert service.scaling.target == 1


@every_service
def test_a_pod_can_do_nothing_but_its_work(name):
    spec = SERVICES[name]["spec"]["template"]["spec"]

    assert spec["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert [mount["mountPath"] for mount in container(name)["volumeMounts"]] == ["/tmp"]
    assert all(volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"])


@every_service
def test_probes_name_a_path_only(name):
    assert container(name)["readinessProbe"] == {"httpGet": {"path": "/readyz"}}
    assert container(name)["livenessProbe"] == {
        "httpGet": {"path": "/healthz"},
        "timeoutSeconds": 5,  # a busy pod answers late
    }


def test_every_event_type_that_somebody_works_on_has_one_trigger():
    triggers = {
        trigger.filters[0]["attributes"]["type"]: trigger.subscriber.name
        for trigger in DEPLOYMENT.triggers
    }

    assert triggers == {str(type_): name for type_, name in HEARD_BY.items()}
    assert len(DEPLOYMENT.triggers) == len(HEARD_BY)
    assert set(HEARD_BY.values()) <= set(SERVICES)


def test_triggers_of_rabbitmq_deliver_as_many_events_as_there_may_be_pods():
    for trigger in (document for document in DOCUMENTS if document["kind"] == "Trigger"):
        name = trigger["spec"]["subscriber"]["ref"]["name"]
        template = SERVICES[name]["spec"]["template"]
        scale = int(template["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"])
        parallelism = int(
            trigger["metadata"]["annotations"]["rabbitmq.eventing.knative.dev/parallelism"]
        )
        assert scale <= parallelism <= scale * template["spec"]["containerConcurrency"]


def test_the_broker_answers_at_once_and_retries_with_patience():
    broker = yaml.safe_load((ROOT / "eventing/base/broker.yaml").read_text())

    assert broker["metadata"]["annotations"]["messaging.knative.dev/async-handler"] == "true"
    for trigger in DEPLOYMENT.triggers:
        delivery = trigger.delivery
        assert (delivery.retry, delivery.exponential, delivery.backoff_s) == (7, True, 0.5)


def test_the_janitor_is_called_without_the_broker_before_anything_is_missed():
    (ping,) = DEPLOYMENT.pings
    (janitor,) = (service for service in DEPLOYMENT.services if service.name == "janitor")
    ticks = [datetime(2026, 1, 1, tzinfo=UTC)]
    while len(ticks) < 200:
        ticks.append(parse_cron(ping.schedule).next(ticks[-1]))
    longest_s = max((after - before).total_seconds() for before, after in pairwise(ticks))

    assert (ping.sink.kind, ping.sink.name) == ("Service", "janitor")
    assert longest_s < SweepSettings().absence_s
    assert SweepSettings().budget_s + SweepSettings().every_s <= longest_s <= janitor.timeout_s


def test_who_calls_a_janitor_that_goes_round_does_not_wait_for_him():
    (janitor,) = (service for service in DEPLOYMENT.services if service.name == "janitor")

    assert janitor.concurrency > 1


def test_every_function_finds_the_broker_by_the_sink_binding():
    (binding,) = DEPLOYMENT.bindings

    assert all(binding.selects(service) for service in DEPLOYMENT.services)
    assert (binding.sink.kind, binding.sink.name) == ("Broker", DEPLOYMENT.brokers[0].name)


def test_every_setting_of_the_manifests_exists():
    text = "\n".join(file.read_text() for file in FILES)
    named = set(re.findall(r"BATCH_GATEWAY_([A-Z0-9_]+?)__([A-Z0-9_]+)", text))

    assert named
    for group, field in named:
        fields = type(Settings.model_fields[group.lower()].default).model_fields
        assert field.lower() in fields


def test_the_executor_may_have_as_many_pods_as_there_are_activations():
    annotations = SERVICES["executor"]["spec"]["template"]["metadata"]["annotations"]

    most = DEPLOYMENT.settings["BATCH_GATEWAY_EXECUTION__MAX_ACTIVATIONS"]
    assert annotations["autoscaling.knative.dev/max-scale"] == most


def test_the_wheel_carries_what_the_platform_reads():
    pyproject = Path(ROOT / "pyproject.toml").read_text()

    for folder in ("knative", "eventing", "functions"):
        assert f'"{folder}" = "batch_gateway/_deployment/{folder}"' in pyproject
