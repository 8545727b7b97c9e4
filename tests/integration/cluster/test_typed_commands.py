"""Commands for clusters on the pages, run as they are typed: by bash and kubectl, on a server.

Each case has the commands of some pages run one after the other, and says what they do. The last
tests hold that no command is left out.
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from fixtures.kube import Kube, troubles
from fixtures.kube.knative import SERVING
from manifests.kustomize import ROOT

PAGES = [
    *(ROOT / "docs").glob("*.md"),
    *ROOT.glob("knative/*/*/README.md"),
    *ROOT.glob("eventing/*/*/README.md"),
]
#: Commands that no case runs, and why.
NOT_RUN = {
    "kubectl -n kourier-system port-forward service/kourier 8080:80": "no pod listens there",
    "batch-gateway deploy --set group.field=VALUE": "a form: test_deploy.py has the refusal of it",
    "batch-gateway deploy -n OTHER": "a form: test_redeploy.py moves a domain that way",
    "batch-gateway deploy --print": "it asks for the overlay: test_deploy.py prints one",
}
HOME = "batch-gateway"
#: The command itself, with shorter pauses between two looks at the server.
OUR_COMMAND = f"""#!{sys.executable}
from batch_gateway.cli.cluster import apply, pod_jobs, rollout
from batch_gateway.cli.main import app

apply.PAUSE_S = pod_jobs.PAUSE_S = rollout.PAUSE_S = 0.02
app()
"""
OURS = (
    r"batch-gateway (?:deploy|rollback|status|doctor|uninstall|logs)\b|batch-gateway [^|]*--inside"
)


def typed(page: Path) -> list[str]:
    """The commands for clusters on a page, in their order; those in a line of prose last."""
    text = page.read_text()
    blocks = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    found = [c for _, kind, block in blocks if kind in ("", "sh") for c in _commands(block)]
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`\n]+)`", prose):
        command = re.sub(r"^(deploy --set|dead \w+ --inside)", r"batch-gateway \1", span)
        whole = re.fullmatch(rf"kubectl (?:-n .*|label .*)|(?:{OURS}).*", command)
        if whole and "..." not in command:
            found.append(command)
    return [command for command in dict.fromkeys(found) if _is_for_clusters(command)]


def _is_for_clusters(command: str) -> bool:
    ours = re.search(OURS, command) and " --data " not in command
    return "kubectl " in command or bool(ours)


def _commands(block: str) -> Iterator[str]:
    """Whole commands: up to the end of what a quote, a backslash or a loop continues with."""
    command = ""
    for line in textwrap.dedent(block).splitlines():
        command += f"{line}\n"
        try:
            shlex.split(command, comments=True)
        except ValueError:
            continue
        if not line.endswith("\\") and (not command.startswith("for ") or line == "done"):
            yield command.strip()
            command = ""


ALL = {page: found for page in sorted(PAGES) if (found := typed(page))}


def of(page: str, pattern: str = "") -> list[str]:
    """The commands of a page that ``pattern`` is found in."""
    found = [c for c in ALL[ROOT / page] if re.search(pattern, c) and c not in NOT_RUN]
    assert found, (page, pattern)
    return found


CASES: dict[str, list[str]] = {
    "six": [
        *of("docs/cluster.md", r"--overlay laptop|first-key|status.url"),
        *of("knative/overlays/trial/README.md", "^batch-gateway"),
    ],
    "production": [
        *of("knative/components/managed-postgresql/README.md"),
        *of("knative/components/managed-redis/README.md"),
        *of("knative/components/managed-s3/README.md"),
        *of("docs/cluster.md", "--overlay production"),
    ],
    "trial": [
        *of("knative/overlays/trial/README.md", "kubectl"),
        *of("docs/cluster.md", "overlays/trial"),
        *of("docs/cluster.md", "annotate --overwrite sinkbinding"),
        *of("docs/cluster.md", "^for "),
        *of("knative/components/api-keys/README.md"),
    ],
    "alert": [
        *of("docs/runbooks.md"),
        *of("docs/troubleshooting.md"),
        *of("docs/command-line.md", "doctor|logs"),
    ],
    "changes": [
        *of("docs/cluster.md", "^batch-gateway deploy --set"),
        *of("docs/traces.md"),
        *of("docs/kn.md"),
        *of("docs/sizing.md"),
        *of("docs/cluster.md", "rollback"),
        *of("docs/backup.md", "uninstall"),
    ],
    "features": [
        *of("docs/notifications.md"),
        *of("knative/components/long-calls/README.md", "kubectl"),
        *of("knative/components/persistent-filesystem/README.md"),
        *of("knative/components/private-ca/README.md"),
        *of("eventing/components/oidc/README.md"),
        *of("eventing/components/rabbitmq/README.md"),
    ],
    "inside": [
        *of("docs/cluster.md", "--inside"),
        *of("docs/backup.md", "--inside"),
        *of("docs/command-line.md", "--inside"),
    ],
}


def run(folder: Path, name: str, after: str = "") -> str:
    """What the commands of a case print, one after the other in one shell."""
    for program in ("knative", "eventing", "examples"):
        (folder / program).symlink_to(ROOT / program)
    (folder / "bundle.pem").write_text("a certificate\n")
    (folder / "bin").mkdir()
    ours = folder / "bin" / "batch-gateway"
    ours.write_text(OUR_COMMAND)
    ours.chmod(0o755)
    path = f"{ours.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join((*dict.fromkeys(CASES[name]), after))],
        env={**os.environ, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        input="y\n",  # a person's answer to what asks
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def data(kube: Kube, kind: str, name: str, namespace: str = HOME) -> dict[str, str]:
    found: dict[str, str] = kube.find(kind, name, namespace=namespace)["data"]
    return found


def labels(kube: Kube, kind: str, name: str, field: str = "labels", **where: str) -> dict[str, str]:
    found: dict[str, str] = kube.find(kind, name, **where)["metadata"][field]
    return found


def test_six_commands_lead_to_a_key(kube, tmp_path):
    kube.jobs["keys create default"] = "the key, shown once\nsk-bg-0123\n"

    told = run(tmp_path, "six", "echo; echo $BATCH_GATEWAY_API_KEY").splitlines()

    assert told[-1] == "sk-bg-0123"
    assert any(line.startswith("http://api.batch-gateway.example.com") for line in told)
    ready = [line for line in told if "Batch Gateway is ready: http://api." in line]
    assert len(ready) == 2
    image = kube.find("Job", "first-key", group="batch")["spec"]["template"]["spec"]["containers"]
    assert [container["image"] for container in image] == ["dev.local/batch-gateway:dev"]


def test_production_is_deployed_with_the_secrets_of_its_components(kube, tmp_path):
    kube.install_broker("RabbitMQBroker")
    kube.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})

    assert "Batch Gateway is ready" in run(tmp_path, "production")

    assert set(data(kube, "Secret", "batch-gateway-s3")) == {
        "BATCH_GATEWAY_FILES__S3_ACCESS_KEY_ID",
        "BATCH_GATEWAY_FILES__S3_SECRET_ACCESS_KEY",
    }


def test_the_trial_is_applied_by_kubectl_changed_and_deployed(kube, tmp_path):
    kube.jobs["keys create default"] = "sk-bg-0123\n"
    before = len(kube.objects)

    told = run(tmp_path, "trial")

    assert before == 0
    assert told.count("sk-bg-0123") == 2
    read_at = [
        service["spec"]["template"]["metadata"]["annotations"]["settings-read-at"]
        for (group, key), service in kube.objects.items()
        if (group, key[0]) == (SERVING, "Service")
    ]
    assert len(read_at) == 8


def test_runbooks_show_what_there_is(healthy, tmp_path):
    troubles.add(healthy, "Namespace", "monitoring", "")
    pod = {"serving.knative.dev/service": "janitor"}
    metadata = {"name": "janitor-1", "namespace": HOME, "labels": pod}
    spec = {"containers": [{"name": "queue-proxy"}, {"name": "user-container"}]}
    healthy.add({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    healthy.logs["janitor-1"] = "".join(f"sweep {number}\n" for number in range(150))
    healthy.jobs["doctor --stores --json"] = '{"severity": "ok", "what": "database", "fix": ""}\n'

    told = run(tmp_path, "alert")

    # The last hundred, by kubectl; `logs` shows them too.
    swept = [line for line in told.splitlines() if line.startswith("sweep ")]
    assert swept[:100] == [f"sweep {number}" for number in range(50, 150)]
    assert "service.serving.knative.dev/janitor" in told
    assert labels(healthy, "Namespace", "monitoring")["batch-gateway.dev/scrapes"] == "true"


def test_settings_are_changed_and_put_back_and_the_service_is_removed(healthy, tmp_path):
    told = run(tmp_path, "changes")

    # The last deployment's values, but for the one that the rollback has put back.
    assert told.count("Batch Gateway is ready") == len(set(CASES["changes"])) - 1
    assert "back to release " in told
    assert healthy.names("Service", group=SERVING) == []
    assert f"secrets and volumes of the namespace {HOME} are kept" in told


def test_features_and_secrets_are_set(healthy, tmp_path):
    troubles.add(healthy, "ConfigMap", "config-features", "knative-eventing", data={})
    healthy.install_broker("RabbitMQBroker")
    troubles.add(healthy, "Namespace", "rabbitmq", "")
    troubles.add(healthy, "RabbitmqCluster", "rabbitmq", "rabbitmq", version="rabbitmq.com/v1beta1")

    run(tmp_path, "features")

    serving, eventing = "knative-serving", "knative-eventing"
    program = (ROOT / "examples/notify.py").read_text()
    assert data(healthy, "ConfigMap", "notify") == {"notify.py": program}
    assert data(healthy, "ConfigMap", "batch-gateway-ca") == {"ca.crt": "a certificate\n"}
    assert set(data(healthy, "Secret", "notify-mail")) == {"SMTP_URL", "MAIL_FROM", "MAIL_TO"}
    defaults = data(healthy, "ConfigMap", "config-defaults", serving)
    assert defaults["max-revision-timeout-seconds"] == "2100"
    assert set(data(healthy, "ConfigMap", "config-features", serving).values()) == {"enabled"}
    assert data(healthy, "ConfigMap", "config-features", eventing) == {
        "authentication-oidc": "enabled"
    }
    cluster = labels(healthy, "RabbitmqCluster", "rabbitmq", "annotations", group="rabbitmq.com")
    assert cluster["rabbitmq.com/topology-allowed-namespaces"] == HOME


def test_commands_run_inside_by_jobs(healthy, tmp_path):
    healthy.jobs |= {
        "dead list --limit=50": "dead_1\n",
        "dead replay --all": "1 sent\n",
        "verify": "0 damaged\n",
    }

    told = run(tmp_path, "inside").splitlines()

    assert set(told) == {"0 damaged", "1 sent", "dead_1"}


# -- all of them ---------------------------------------------------------------------------------


def test_no_command_is_left_out():
    ran = {command for case in CASES.values() for command in case}
    left = {
        f"{page.relative_to(ROOT)}: {command}"
        for page, commands in ALL.items()
        for command in commands
        if command not in ran and command not in NOT_RUN
    }

    assert left == set()


def test_what_is_not_run_is_on_a_page():
    assert NOT_RUN.keys() <= {command for found in ALL.values() for command in found}
