"""The fake API server answers as kube-apiserver does: watches, for kubectl and for programs."""

import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from batch_gateway.cli.cluster.build import _kubectl as kubectl

SERVICES = "/apis/serving.knative.dev/v1/namespaces/batch-gateway/services"
MAPS = "/api/v1/namespaces/batch-gateway/configmaps"


def add_namespace(kube):
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "batch-gateway"}})


def config_map(name, **data):
    metadata = {"name": name, "namespace": "batch-gateway", "labels": {"app": name[0]}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def service(name):
    metadata = {"name": name, "namespace": "batch-gateway"}
    template = {"spec": {"containers": [{"name": name, "image": "gateway:1"}]}}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"template": template},
    }


@pytest.fixture
def http(kube):
    with httpx.Client(base_url=kube.url, trust_env=False, timeout=20) as client:
        yield client


@contextmanager
def watching(http, path, **query):
    """The events of a watch, as they come."""
    given = {"watch": "1", "timeoutSeconds": "10", **query}
    with http.stream("GET", path, params=given) as answer:
        assert answer.status_code == 200
        yield (json.loads(line) for line in answer.iter_lines())


def short(event):
    metadata = event["object"]["metadata"]
    return event["type"], metadata.get("name"), int(metadata["resourceVersion"])


def test_a_watch_goes_on_from_where_a_list_was(kube, http):
    add_namespace(kube)
    kube.add(config_map("a", x="1"))
    listed = http.get(MAPS).json()
    version = int(listed["metadata"]["resourceVersion"])
    key = ("ConfigMap", "batch-gateway", "a")

    with watching(http, MAPS, resourceVersion=str(version)) as events:
        kube.add(config_map("b"))
        assert short(next(events)) == ("ADDED", "b", version + 1)
        kube.merge("", key, {"data": {"x": "2"}}, dry=False)
        changed = next(events)
        assert short(changed) == ("MODIFIED", "a", version + 2)
        assert changed["object"]["data"] == {"x": "2"}
        kube.delete("", key)
        assert short(next(events)) == ("DELETED", "a", version + 3)


def test_a_watch_without_a_version_begins_with_what_is_there(kube, http):
    add_namespace(kube)
    kube.add(config_map("a"))
    kube.add(config_map("b"))

    with watching(http, MAPS, labelSelector="app=b", timeoutSeconds="1") as events:
        assert [short(event)[:2] for event in events] == [("ADDED", "b")]


def test_what_is_no_longer_selected_counts_as_deleted(kube, http):
    add_namespace(kube)
    kube.add(config_map("a"))

    with watching(http, MAPS, labelSelector="app=a") as events:
        assert short(next(events))[:2] == ("ADDED", "a")
        key = ("ConfigMap", "batch-gateway", "a")
        kube.merge("", key, {"metadata": {"labels": {"app": "z"}}}, dry=False)
        assert short(next(events))[:2] == ("DELETED", "a")


def test_a_version_that_is_forgotten_is_gone(kube, http):
    add_namespace(kube)
    kube.add(config_map("a"))
    version = http.get(MAPS).json()["metadata"]["resourceVersion"]
    kube.add(config_map("b"))
    kube.compact()

    with watching(http, MAPS, resourceVersion=version) as events:
        (event,) = events
    listed = http.get(MAPS, params={"resourceVersion": version, "resourceVersionMatch": "Exact"})

    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    assert event["object"]["reason"] == "Expired"
    assert event["object"]["message"].startswith(f"too old resource version: {version} (")
    assert (listed.status_code, listed.json()["reason"]) == (410, "Expired")


def test_bookmarks_tell_how_far_a_watch_is(kube, http):
    add_namespace(kube)
    kube.bookmark_s = 0.05
    given = {"allowWatchBookmarks": "true", "sendInitialEvents": "true"}
    given["resourceVersionMatch"] = "NotOlderThan"

    with watching(http, MAPS, **given) as events:
        first = next(events)
        assert first["type"] == "BOOKMARK"
        assert first["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
        want = kube.version_now
        while (event := short(next(events)))[2] < want:
            assert event[0] == "BOOKMARK"


def test_a_watch_ends_when_its_time_is_over(kube, http):
    add_namespace(kube)

    with watching(http, MAPS, timeoutSeconds="1") as events:
        assert list(events) == []


def test_an_update_of_an_old_version_is_refused(kube, http):
    add_namespace(kube)
    old = kube.add(config_map("a"))
    kube.merge("", ("ConfigMap", "batch-gateway", "a"), {"data": {"x": "1"}}, dry=False)

    answer = http.put(f"{MAPS}/a", json=old)

    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer.json()["message"]


def run(*words):
    return [kubectl(), "-n", "batch-gateway", *words]


def test_kubectl_waits_until_a_service_is_ready(kube):
    add_namespace(kube)
    kube.add(service("api"))

    command = run("wait", "--for=condition=Ready", "ksvc/api", "--timeout=30s")
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "service.serving.knative.dev/api condition met\n"


def test_kubectl_gives_up_waiting(kube):
    add_namespace(kube)
    kube.crashing["api"] = "no"
    kube.add(service("api"))

    command = run("wait", "--for=condition=Ready", "ksvc/api", "--timeout=1s")
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "timed out waiting for the condition on services/api" in done.stderr


def test_kubectl_shows_changes_as_they_come(kube, tmp_path):
    add_namespace(kube)
    kube.add(config_map("a"))
    output = tmp_path / "output"
    command = run("get", "configmaps", "--watch", "-o", "name")
    with output.open("wb") as out, subprocess.Popen(command, stdout=out) as process:
        try:
            until(output, "configmap/a\n")
            kube.add(config_map("b"))
            until(output, "configmap/a\nconfigmap/b\n")
        finally:
            process.terminate()


def until(file: Path, text: str) -> None:
    end = time.monotonic() + 30
    while file.read_text() != text:
        assert time.monotonic() < end, file.read_text()
        time.sleep(0.02)
