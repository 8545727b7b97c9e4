"""Every command that is printed as a fix works as printed: bash and kubectl run it on a server.

``fixes`` builds these commands. A case takes the command from what a command of ours has really
printed, and says with ``runs`` which function it is of; the last tests hold that none is left out.
"""

import ast
import fcntl
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from fixtures.kube import troubles
from manifests.kustomize import ROOT
from typer.testing import CliRunner

from batch_gateway.cli.cluster import apply, fixes, pod_jobs
from batch_gateway.cli.doctor import inside
from batch_gateway.cli.main import app
from batch_gateway.settings import sends_events

BUILDERS = {
    name: builder
    for name, builder in vars(fixes).items()
    if inspect.isfunction(builder) and not name.startswith("_")
}
SOURCES = ROOT / "shared" / "batch_gateway" / "cli"
HOME = "batch-gateway"
CLAIMS = "networking.internal.knative.dev"


def runs(*names: str):
    """Say that a test runs the commands that these functions of ``fixes`` build."""

    def said(test):
        test.runs = names
        return test

    return said


@dataclass
class Printed:
    """Takes a command from an output and runs it."""

    builders: tuple[str, ...]  # of the commands that the test has to run
    built: dict[str, set[str]] = field(default_factory=dict)  # function -> its commands
    ran: list[str] = field(default_factory=list)

    def fix(self, told: str) -> str:
        """The command in an output: up to the end of the line, or to what is said in brackets."""
        (found,) = re.findall(
            r"(?:: |-> )((?:kubectl|batch-gateway|chmod) .*?)(?= \(|$)", told, re.M
        )
        return found

    def note(self, command: str) -> None:
        """It has been printed, and is being run."""
        assert any(command in self.built[name] for name in self.builders)
        self.ran.append(command)

    def run(self, command: str, **environment: str) -> str:
        """What it prints."""
        self.note(command)
        done = subprocess.run(
            ["bash", "-ec", command],
            env=shell(**environment),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, command + done.stderr
        return done.stdout


def shell(**environment: str) -> dict[str, str]:
    """The environment of a person who has installed the package."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **environment}


@pytest.fixture
def printed(request, monkeypatch):
    taken = Printed(declared(request))
    for name, builder in BUILDERS.items():
        commands = taken.built.setdefault(name, set())

        def noted(*words, builder=builder, commands=commands, **options):
            commands.add(builder(*words, **options))
            return builder(*words, **options)

        monkeypatch.setattr(fixes, name, noted)
    yield taken
    for name in taken.builders:
        assert taken.built[name] & set(taken.ran), name


def declared(request) -> tuple[str, ...]:
    """What a case says by its parameter ``fix``, or its test by ``runs``."""
    if hasattr(request.node, "callspec"):
        return (request.node.callspec.params["fix"],)
    names: tuple[str, ...] = request.function.runs
    return names


def command(*words: str, code: int = 0):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.output
    return result


def findings(*words: str) -> list[dict[str, str]]:
    result = CliRunner().invoke(app, ["doctor", "--json", *words])
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def fix_of(what: str, *words: str) -> str:
    return next(found["fix"] for found in findings(*words) if what in found["what"])


def left(what: str) -> list[str]:
    return [f["what"] for f in findings() if what in f["what"] and f["severity"] != "ok"]


# -- doctor, on a cluster ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fix", "trouble", "what", "shows"),
    [
        ("describe", troubles.broken_service, "Service api: RevisionFailed", "no such image"),
        (
            "describe",
            troubles.broken_mapping,
            "DomainMapping batches.example.com: DomainClaimNotOwned",
            "DomainClaimNotOwned",
        ),
        ("describe", troubles.broken_trigger, "Trigger planner: ", "no broker"),
        ("describe", troubles.broken_broker, "Broker batch-gateway: ", "no topic"),
        ("describe", troubles.tired_activator, "knative-serving/activator: 0 of 1", "activator"),
        ("describe", troubles.waiting_service, "Service api is not ready yet", "Deploying"),
    ],
)
def test_what_only_looks_shows_the_cause(healthy, printed, fix, trouble, what, shows):
    trouble(healthy)

    told = printed.run(fix_of(what))

    assert shows in told


@pytest.mark.parametrize(
    ("fix", "trouble", "what"),
    [
        (
            "annotate_broker",
            troubles.channel_based,
            "messaging.knative.dev/async-handler is not true",
        ),
        ("set_for_knative", troubles.never_at_zero, "enable-scale-to-zero is false"),
        (
            "set_for_knative",
            troubles.volume_without_its_feature,
            "kubernetes.podspec-persistent-volume-claim",
        ),
        (
            "set_for_knative",
            troubles.a_longer_request_than_the_cluster_allows,
            "max-revision-timeout-seconds is 600",
        ),
        ("deploy_again", troubles.no_timer, "there is no PingSource"),
        ("deploy_again", troubles.no_broker, "there is no Broker"),
        ("deploy_again", troubles.no_executor, "there is no Service executor"),
        ("deploy_again", troubles.unknown_broker, "the functions do not know the broker"),
        (
            "deploy_again",
            troubles.public_key,
            "events.signing_keys is missing, short or public",
        ),
        ("deploy_again", troubles.no_metrics_token, "metrics.token is not set"),
        ("deploy_again", troubles.open_to_all, "auth.kind is none"),
        ("deploy_again", troubles.too_many_activations, "execution.max_activations is 20"),
        ("deploy_again", troubles.too_few_activations, "execution.max_activations uses 2"),
        ("deploy_again", troubles.too_long_a_budget, "execution.hard_budget_s is 600"),
        (
            "deploy_again",
            troubles.address_of_another_broker,
            "the functions send events to http://elsewhere",
        ),
    ],
)
def test_what_helps_does_away_with_the_finding(healthy, printed, fix, trouble, what):
    trouble(healthy)

    printed.run(fix_of(what))

    assert left(what) == []


@runs("edit_config_map")
def test_a_setting_that_nothing_can_read_is_edited(healthy, printed):
    """An editor stands in for the person in front of it."""
    troubles.unreadable_setting(healthy)
    wrong = "functions that read it will not start: setting limits.ceiling"

    printed.run(fix_of(wrong), KUBE_EDITOR='sed -i -e s/many/\\"8\\"/')

    assert left(wrong) == []


@runs("deploy_first")
def test_where_there_is_no_gateway_one_is_installed(kube, printed):
    what = "there is no Batch Gateway"

    printed.run(fix_of(what))

    assert left(what) == []


@runs("events")
def test_a_job_that_does_not_end_is_told_with_the_namespace_s_events(healthy, printed, monkeypatch):
    original = healthy.create

    def create(group, key, body, **how):
        if key[0] == "Job":
            healthy.play("Job", key[2], {"active": 1})
        return original(group, key, body, **how)

    healthy.create = create
    metadata = {"name": "doctor.1", "namespace": HOME}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": {}}
    healthy.add(event | {"reason": "FailedMount", "message": "no volume files"})
    monkeypatch.setattr(
        inside, "run_inside", lambda *words: pod_jobs.run_inside(*words, patience_s=0.05)
    )

    told = printed.run(fix_of("the Job that checks the stores does not end", "--inside"))

    assert "doctor.1" in told


@pytest.mark.parametrize(
    ("fix", "trouble", "what"),
    [
        ("set_for_knative", troubles.never_at_zero, "enable-scale-to-zero is false"),
        ("deploy_again", troubles.no_timer, "there is no PingSource"),
    ],
)
def test_a_fix_is_for_the_cluster_that_was_asked_for(
    healthy, printed, tmp_path, fix, trouble, what
):
    """Not for the one of the environment."""
    trouble(healthy)
    config = tmp_path / "of another cluster"
    config.write_text(Path(os.environ["KUBECONFIG"]).read_text())

    command = fix_of(what, "--kubeconfig", str(config), "--context", "test")
    printed.run(command, KUBECONFIG=str(tmp_path / "none"))

    assert left(what) == []


# -- deploy --------------------------------------------------------------------------------------


@runs("delete_broker")
def test_a_broker_of_another_class_is_deleted_and_made_anew(healthy, printed):
    """Each function that sends events starts anew with the new address, the others do not."""
    words = ("deploy", "--overlay", "minimal", "--set", "auth.kind=api-key", "--broker", "mt")
    names = healthy.names("Service", group=troubles.SERVING)
    before = {name: healthy.revisions_of(name) for name in names}

    told = command(*words, code=1).stderr
    printed.run(printed.fix(told))
    command(*words)

    broker = healthy.find("Broker", HOME, group=troubles.EVENTING)
    assert broker["metadata"]["annotations"][troubles.CLASS] == "MTChannelBasedBroker"
    settings = healthy.find("ConfigMap", "batch-gateway-settings")["data"]
    assert settings["BATCH_GATEWAY_EVENTS__SINK"] == broker["status"]["address"]["url"]
    assert {name for name in names if healthy.revisions_of(name) > before[name]} == {
        name for name in names if sends_events(name)
    }


@runs("release_domain")
def test_a_domain_of_another_namespace_is_released(healthy, printed, tmp_path):
    content = {
        "namespace": HOME,
        "resources": [os.path.relpath(ROOT / "knative/overlays/minimal", tmp_path)],
        "components": [os.path.relpath(ROOT / "knative/components/domain-mapping", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(content))
    command("deploy", "--overlay", str(tmp_path))
    words = ("deploy", "--overlay", str(tmp_path), "-n", "other")

    told = command(*words, code=1).stderr
    printed.run(printed.fix(told))
    command(*words, "--no-wait")

    claim = healthy.find("ClusterDomainClaim", "batches.example.com", group=CLAIMS)
    assert claim["spec"]["namespace"] == "other"


@runs("create_namespace", "create_secret")
def test_secrets_that_are_missing_are_created_on_a_new_cluster_too(kube, printed):
    kube.install_broker("RabbitMQBroker")
    words = ("deploy", "--overlay", "production")

    told = command(*words, code=1).stderr
    for line in told.strip().splitlines():
        printed.run(printed.fix(line))
    command(*words, "--no-wait")

    assert len(printed.ran) == 3
    for name in ("batch-gateway-postgresql", "batch-gateway-redis"):
        assert kube.find("Secret", name)["data"] == {"KEY": troubles.encoded("VALUE")}


@runs("describe_namespace")
def test_a_namespace_that_is_not_going_shows_its_phase(kube, printed, monkeypatch):
    monkeypatch.setattr(apply, "_GONE_S", 0.1)
    monkeypatch.setattr(apply, "PAUSE_S", 0.01)
    kube.add_leaving(HOME, looks=10**6)

    told = command("deploy", "--overlay", "minimal", code=1).stderr

    assert "Terminating" in printed.run(printed.fix(told))


# -- doctor, on one machine ----------------------------------------------------------------------


@runs("migrate")
def test_a_database_of_an_older_release_is_migrated(tmp_path, valkey_url, printed, monkeypatch):
    (tmp_path / "m.db").touch()
    url = f"sqlite+aiosqlite:///{tmp_path}/m.db"
    monkeypatch.setenv("BATCH_GATEWAY_METADATA__URL", url)
    monkeypatch.setenv("BATCH_GATEWAY_SCRATCH__URL", valkey_url)
    monkeypatch.setenv("BATCH_GATEWAY_FILES__URL", f"file://{tmp_path}/files")

    printed.run(fix_of("schema", "--stores"))

    assert [f["severity"] for f in findings("--stores") if "schema" in f["what"]] == ["ok"]


@pytest.fixture
def folder(tmp_path):
    """A folder of ``up`` with a name that a shell has to be told of."""
    data = tmp_path / "my data; all"
    data.mkdir()
    (data / "metadata.db").touch()
    for name in ("secrets", "run", "logs"):
        (data / name).mkdir(parents=True)
    return data


@runs("protect_file")
def test_a_key_that_others_may_read_is_protected(folder, printed):
    key = folder / "secrets" / "signing"
    key.touch()
    key.chmod(0o644)

    printed.run(fix_of("others may read", "--data", str(folder)))

    assert key.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def failing_api(folder):
    """A process that holds the folder, as ``up`` does, and answers 500."""

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Failing)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    (folder / "run" / "url").write_text(f"http://127.0.0.1:{server.server_port}")
    with (folder / "lock").open("w") as lock:
        lock.write(str(os.getpid()))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@runs("show_logs_of_api")
def test_an_api_that_fails_is_told_with_its_log(failing_api, printed):
    (failing_api / "logs" / "api.log").write_text('{"message": "no such table"}\n')

    told = printed.run(fix_of("answers 500", "--data", str(failing_api)))

    assert "no such table" in told


@runs("start_platform")
def test_a_folder_without_a_platform_gets_one(folder, printed):
    """The port is any free one: the usual one may be another program's on the test's machine."""
    (folder / "lock").touch()
    fix = fix_of("no platform runs", "--data", str(folder))
    printed.note(fix)

    process = subprocess.Popen(
        ["bash", "-ec", f'batch-gateway() {{ exec batch-gateway "$@" --port 0; }}; {fix}'],
        env=shell(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Batch Gateway is ready: ")
        assert [f for f in findings("--data", str(folder)) if "no platform" in f["what"]] == []
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        process.stdout.close()


# -- all of them ---------------------------------------------------------------------------------


def test_every_command_that_is_built_has_a_case():
    tests: list[Callable[..., None]] = [
        test for name, test in globals().items() if name.startswith("test_")
    ]
    said = {name for test in tests for name in getattr(test, "runs", ())}
    for test in tests:
        for mark in getattr(test, "pytestmark", ()):
            names, cases = mark.args
            if "fix" in names:
                said |= {case[names.index("fix")] for case in cases}

    assert said == BUILDERS.keys()


def test_no_command_is_built_elsewhere():
    """Strings of the commands for clusters, the doctor and the status; backticks only mention."""
    command = re.compile(r"(?<!`)\b(kubectl (?!apply)|batch-gateway [a-z]|kn service|chmod )")
    found = [
        f"{path.name}: {text}"
        for name in ("cluster", "doctor", "status")
        for path in sorted((SOURCES / name).glob("*.py"))
        if path.name != "fixes.py"
        for text in strings(ast.parse(path.read_text()))
        if command.search(text)
    ]

    assert found == []


def strings(tree: ast.Module) -> list[str]:
    """Its strings without docstrings."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]
