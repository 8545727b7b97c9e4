"""``batch-gateway status``: of a cluster, of this machine, of the stores alone."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from fixtures.kube import READY, failing
from fixtures.scratch import NO_TIME, open_own, settle, sync
from fixtures.world import chat_lines
from typer.testing import CliRunner

from batch_gateway.cli import logs as logs_command
from batch_gateway.cli.cluster import rollout
from batch_gateway.cli.main import app
from batch_gateway.cli.status import command as status_command
from batch_gateway.core.limits import PoolObservation
from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.web.state_metrics import rendered
from batch_gateway.wiring.runtime import SystemClock

TOKEN = "BATCH_GATEWAY_METRICS__TOKEN"


def run(*words: str, code: int = 0):
    result = CliRunner().invoke(app, ["status", *words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def deployed(kube, monkeypatch):
    monkeypatch.setattr(rollout, "PAUSE_S", 0.01)
    url = {"conditions": READY, "url": "http://127.0.0.1:9", "latestReadyRevisionName": "api-00007"}
    kube.play("Service", "api", url)
    assert (
        CliRunner().invoke(app, ["deploy", "--overlay", "minimal", "--broker", "mt"]).exit_code == 0
    )
    return kube


@pytest.fixture
def page():
    """Serves a given page to requests with the token; records the tokens."""

    class Page(BaseHTTPRequestHandler):
        text = b""
        tokens: list[str] = []  # noqa: RUF012 - one class per test

        def do_GET(self) -> None:
            self.tokens.append(self.headers.get("authorization", ""))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.text)

        def log_message(self, *_) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    Page.url = f"http://127.0.0.1:{server.server_port}"
    yield Page
    server.shutdown()
    thread.join()
    server.server_close()


def pod(service: str, name: str, **state) -> dict:
    labels = {"serving.knative.dev/service": service}
    metadata = {"name": name, "namespace": "batch-gateway", "labels": labels}
    status = {"containerStatuses": [{"name": service, **state}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}


def test_services_are_shown_with_revision_pods_and_what_ails_them(deployed):
    crashed = {"exitCode": 1, "message": "setting auth.secret: missing"}
    deployed.add(pod("executor", "executor-1"))
    deployed.add(pod("executor", "executor-2", lastState={"terminated": crashed}))
    deployed.play("Service", "planner", {"conditions": failing("RevisionFailed", "no image")})
    mapping = {"name": "batches.example.com", "namespace": "batch-gateway"}
    ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "api"}
    version = "serving.knative.dev/v1beta1"
    deployed.add(
        {"apiVersion": version, "kind": "DomainMapping", "metadata": mapping, "spec": {"ref": ref}}
    )

    lines = run().stdout.splitlines()

    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["api"] == ["yes", "api-00007", "0"]
    assert rows["executor"][:3] == ["yes", "executor-00001", "2"]
    assert "exit code 1: setting auth.secret: missing" in " ".join(rows["executor"])
    assert rows["planner"] == ["NO", "-", "0", "RevisionFailed:", "no", "image"]
    assert rows["DOMAINMAPPING"][:3] == ["batches.example.com", "NO", "DomainClaimNotOwned:"]
    assert rows["BROKER"][:3] == ["batch-gateway", "(MTChannelBasedBroker)", "yes"]
    assert {line.split()[1] for line in lines if line.startswith("TRIGGER")} >= {"executor"}
    assert lines[-1].startswith("the state is not known: http://127.0.0.1:9/metrics does not")


def test_a_namespace_without_a_gateway_is_told(kube):
    assert "there is no Batch Gateway in the namespace x" in run("-n", "x", code=1).stderr


@pytest.mark.redis
async def test_the_state_is_that_of_the_api_s_page(world, deployed, page, monkeypatch):
    batch = await world.submit(chat_lines(4))
    await world.planner.plan(batch.id)
    moving = open_own(world.scratch_url, interval=NO_TIME)
    await settle(moving)
    for _ in range(3):
        await sync(moving, "a", want=8, in_use=8, seen=PoolObservation(dropped=1))
    state = await StateReader(world.metadata, moving, world.clock).state()
    await moving.close()
    page.text = rendered(state, tenants=5)

    told = run("--url", f"{page.url}/v1").stdout

    secret = deployed.find("Secret", "batch-gateway-secrets")["data"][TOKEN]
    assert page.tokens == [f"Bearer {bytes_of(secret)}"]
    assert "batches       1 in_progress\n" in told
    assert "deadline      first in 24 h\n" in told
    assert "backlog       4 requests for sim-large\n" in told
    assert "dropped at " in told


def bytes_of(value: str) -> str:
    import base64

    return base64.b64decode(value).decode()


@pytest.mark.redis
async def test_stores_alone_tell_the_state(world, tmp_path, monkeypatch):
    world.sink.away = True
    await world.submit(chat_lines(4))
    database = f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}"
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", database)
    monkeypatch.setenv("BATCH_GATEWAY_SCRATCH__URL", "redis://127.0.0.1:9/0")

    import asyncio

    at_once = (await asyncio.to_thread(run, "--stores")).stdout.splitlines()
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + timedelta(minutes=10))
    later = (await asyncio.to_thread(run, "--stores")).stdout.splitlines()

    assert at_once[:2] == ["the coordination store does not answer", "batches       1 validating"]
    unsent = "events        the broker has not accepted the oldest one for 10 m"
    assert unsent not in at_once
    assert unsent in later


def test_watching_shows_it_again_and_again(deployed, monkeypatch):
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status_command, "time", SimpleNamespace(sleep=sleep))

    told = run("--watch", code=130).stdout

    assert told.count("SERVICE ") == 3


@pytest.mark.parametrize(
    ("there", "hint"),
    [(False, "is no folder of `batch-gateway up`"), (True, "no platform runs on")],
)
def test_a_folder_that_no_platform_runs_on_is_told(tmp_path, there, hint):
    if there:
        (tmp_path / "lock").touch()

    assert hint in run("--data", str(tmp_path), code=1).stderr


# -- logs ----------------------------------------------------------------------------------------


def logging_pod(service: str, name: str) -> dict:
    containers = [{"name": "user-container"}, {"name": "queue-proxy"}]
    return pod(service, name) | {"spec": {"containers": containers}}


def record(batch: str, message: str) -> str:
    return json.dumps({"batch_id": batch, "message": message}) + "\n"


def test_logs_of_a_cluster_are_followed_each_record_once(deployed, monkeypatch):
    deployed.add(logging_pod("planner", "planner-1"))
    deployed.add(logging_pod("executor", "executor-1"))
    deployed.logs = {"planner-1": record("batch_1", "first"), "executor-1": record("batch_2", "x")}
    pauses = []

    def sleep(_seconds: float) -> None:
        pauses.append(deployed.logs["planner-1"])
        if len(pauses) == 3:
            raise KeyboardInterrupt
        deployed.logs["planner-1"] += record("batch_1", f"more {len(pauses)}")

    monkeypatch.setattr(logs_command, "time", SimpleNamespace(sleep=sleep))
    words = ["logs", "--follow", "--batch", "batch_1", "-n", "batch-gateway"]
    told = CliRunner().invoke(app, words)
    one = CliRunner().invoke(app, ["logs", "executor"])

    messages = [json.loads(line)["message"] for line in told.stdout.splitlines()]
    assert (told.exit_code, messages) == (130, ["first", "more 1", "more 2"])
    assert one.stdout == record("batch_2", "x")


def test_a_cluster_at_zero_has_no_logs(deployed):
    told = CliRunner().invoke(app, ["logs"])

    assert told.stdout == ""
    assert "Services without work are at zero" in told.stderr
