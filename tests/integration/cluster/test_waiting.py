"""What a deployment waits for, when it fails, and the reasons that it prints."""

import threading

import pytest
from fixtures.kube import READY, WAITING, condition, failing
from typer.testing import CliRunner

from batch_gateway.cli.cluster import apply, rollout
from batch_gateway.cli.cluster.object_status import ObjectReadiness, object_status
from batch_gateway.cli.main import app

TRACEBACK = """Traceback (most recent call last):
  File "/app/serve.py", line 12, in <module>
    main()
ValueError: setting auth.secret: missing"""


@pytest.fixture
def command(kube, monkeypatch):
    monkeypatch.setattr(rollout, "PAUSE_S", 0.01)
    monkeypatch.setattr(rollout, "LASTING_S", 0.05)
    monkeypatch.setattr(apply, "ADDRESS_S", 10)

    def run(*words: str, code: int = 0):
        result = CliRunner().invoke(app, ["deploy", *words])
        assert result.exit_code == code, result.output
        return result

    return run


def pod(service: str, **state) -> dict:
    labels = {"serving.knative.dev/service": service}
    metadata = {"name": f"{service}-1", "namespace": "batch-gateway", "labels": labels}
    status = {"containerStatuses": [{"name": service, **state}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}


def test_a_database_that_starts_is_waited_for_although_services_fail_meanwhile(kube, command):
    failed = {"conditions": failing("RevisionMissing", "Initial scale was never achieved")}
    kube.play("Service", "notifier", *[failed] * 40, {"conditions": READY, "address": {"url": "n"}})
    starting = [{"replicas": 1}] * 40
    kube.play("StatefulSet", "postgresql", *starting, {"replicas": 1, "readyReplicas": 1})

    told = command("--overlay", "trial")

    assert "StatefulSet postgresql: 0 of 1 pods are ready" in told.stderr
    assert kube.scripts["Service", "notifier"] == [{"conditions": READY, "address": {"url": "n"}}]
    assert told.stdout.splitlines()[-1].startswith("Batch Gateway is ready")


def test_an_image_that_does_not_exist_is_told_first_once_and_soon(kube, command):
    kube.absent_images.add("registry/gateway:9")

    told = command("--overlay", "minimal", "--image", "registry/gateway:9", code=4).stderr

    lines = told.rpartition("\nbatch-gateway: ")[2].splitlines()
    assert lines[0].startswith('failed: RevisionFailed: Unable to fetch image "registry/gateway:9"')
    assert lines[0].endswith("404 Not Found (8 Services)")
    assert lines[1] == (
        "  waiting for that: Broker batch-gateway; 8 Triggers; PingSource janitor;"
        " SinkBinding batch-gateway"
    )
    assert len(lines) == 2


def test_a_crash_is_told_with_the_last_line_of_its_traceback(kube, command):
    kube.crashing["planner"] = "exit code 1"
    command("--overlay", "minimal", "--no-wait")
    ended = {"terminated": {"exitCode": 1, "message": TRACEBACK}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
    kube.add(pod("planner", state=waiting, lastState=ended))

    told = command("--overlay", "minimal", code=4).stderr.rpartition("\nbatch-gateway: ")[2]

    assert told.splitlines() == [
        "failed: CrashLoopBackOff: ended with exit code 1: ValueError: setting auth.secret: missing"
        " (Service planner)",
        "  waiting for that: Trigger planner",
    ]


IMAGE = 'failed to resolve reference "registry/gateway:9": not found'
ENDED = {"terminated": {"exitCode": 1, "message": TRACEBACK}}


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (
            [
                {"state": {"waiting": {"reason": "ErrImagePull", "message": IMAGE}}},
                {"state": {"waiting": {"reason": "ImagePullBackOff", "message": f"back: {IMAGE}"}}},
            ],
            f"ErrImagePull: {IMAGE}",
        ),
        (
            [
                {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ENDED},
                {"state": {"running": {}}, "lastState": ENDED},
            ],
            "CrashLoopBackOff: ended with exit code 1: ValueError: setting auth.secret: missing",
        ),
    ],
    ids=["image", "crash"],
)
def test_what_cannot_pass_ends_the_wait_though_the_kubelet_s_words_change(
    kube, command, states, told
):
    kube.crashing["planner"] = "exit code 1"
    command("--overlay", "minimal", "--no-wait")
    kube.add(pod("planner"))
    statuses = [{"containerStatuses": [{"name": "planner", **state}]} for state in states]
    kube.play("Pod", "planner-1", *statuses * 500)

    failed = command("--overlay", "minimal", code=4).stderr.rpartition("\nbatch-gateway: ")[2]

    said = failed.splitlines()[0]
    assert said.startswith("failed: ")
    assert told.partition(": ")[2] in said
    assert said.endswith(" (Service planner)")


def test_a_condition_that_flaps_is_not_taken_for_ready(kube, command):
    """All objects are ready at one time when the command says so."""
    kube.play("Broker", "batch-gateway", *[{"conditions": WAITING}] * 20, broker_at("http://b"))
    away = {"conditions": failing("BrokerNotReady", "the Broker is not ready")}
    kube.play("Trigger", "planner", {"conditions": READY}, *[away] * 60, {"conditions": READY})

    told = command("--overlay", "minimal")

    assert kube.scripts["Trigger", "planner"] == [{"conditions": READY}]
    assert told.stdout.splitlines()[-1].startswith("Batch Gateway is ready")


def broker_at(url: str) -> dict:
    return {"conditions": READY, "address": {"url": url}}


def test_a_namespace_s_claim_is_no_matter_of_time(kube, command):
    """A condition that says so ends the wait, whatever the pods do."""
    said = condition("Ready", "False", "DomainAlreadyClaimed", "owned by x")
    kube.play("PingSource", "janitor", {"conditions": [said]})

    told = command("--overlay", "minimal", code=4).stderr

    assert "failed: DomainAlreadyClaimed: owned by x (PingSource janitor)" in told


def service(*conditions: dict) -> dict:
    status = {"conditions": list(conditions), "observedGeneration": 1}
    metadata = {"name": "api", "generation": 1}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": metadata,
        "status": status,
    }


def test_the_cause_of_a_service_is_that_of_its_configuration():
    image = 'Revision "api-00001" failed with message: Unable to fetch image "x".'
    routes = 'Configuration "api" does not have any ready Revision.'

    found = object_status(
        service(
            condition("ConfigurationsReady", "False", "RevisionFailed", image),
            condition("Ready", "False", "RevisionMissing", routes),
            condition("RoutesReady", "False", "RevisionMissing", routes),
        )
    )

    assert found.reason == 'RevisionFailed: Unable to fetch image "x"'


def test_a_gradual_rollout_is_not_waited_for():
    said = "A gradual rollout of the latest revision(s) is in progress."

    found = object_status(
        service(
            condition("ConfigurationsReady", "True"),
            condition("Ready", "Unknown", "RolloutInProgress", said),
            condition("RoutesReady", "Unknown", "RolloutInProgress", said),
        )
    )

    assert found.state is ObjectReadiness.READY


def test_what_becomes_ready_while_somebody_waits_is_seen(kube, command):
    kube.play("Broker", "batch-gateway", {"conditions": WAITING})
    url = {"url": "http://broker"}
    ready = {"conditions": READY, "address": url}
    later = threading.Timer(0.5, kube.play, ("Broker", "batch-gateway", ready))
    later.start()

    told = command("--overlay", "minimal")
    later.join()

    settings = kube.find("ConfigMap", "batch-gateway-settings")["data"]
    assert settings["BATCH_GATEWAY_EVENTS__SINK"] == "http://broker"
    assert told.stdout.splitlines()[-1].startswith("Batch Gateway is ready")
