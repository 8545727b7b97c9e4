"""docs/cluster.md: each of its commands can be typed as it stands there."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from batch_gateway.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cluster.md").read_text()
KUBECTL = Path(sys.executable).with_name("kubectl")
MIN_SCALE = "autoscaling.knative.dev/min-scale"
SCRIPT = runpy.run_path(str(ROOT / "functions/image.py"), run_name="image")

#: Flags of commands that are not installed with us, as far as they could be of use here
#: (github.com/knative-extensions/kn-plugin-quickstart, kind.sigs.k8s.io, minikube.sigs.k8s.io).
OTHERS = {
    "kn quickstart kind": {"--name", "--host-port", "--kubernetes-version", "--registry"},
    "kn quickstart minikube": {"--name", "--kubernetes-version", "--", "--cpus", "--memory"},
    "kind delete cluster": {"--name"},
    "minikube tunnel": {"--profile"},
}


def blocks() -> list[list[str]]:
    """The lines of each block of commands: those that are not YAML, nor the tree of folders."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = [text.replace("\\\n", " ").splitlines() for kind, text in found if not kind]
    return [block for block in lines if not block[0].startswith("knative/base ")]


def commands() -> list[list[str]]:
    """Every simple command, with those inside ``$(...)`` and what is said in passing."""
    inline = re.findall(r"`((?:kubectl|batch-gateway|make|kind|minikube|kn) [^`]+)`", PAGE)
    found = []
    for line in [line for block in blocks() for line in block] + inline:
        looped = re.fullmatch(r"for \w+ in \$\((.*)\); do", line)
        words = looped[1] if looped else line
        words = words.removeprefix("export BATCH_GATEWAY_API_KEY=$(").removesuffix(")")
        for simple in re.split(r"\s*(?:&&|\|)\s*", words):
            found.append([word for word in shlex.split(simple) if word != ">&2"])
    return [words for words in found if words != ["done"]]


def of(program: str) -> list[list[str]]:
    return [words[1:] for words in commands() if words[0] == program]


def flags(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("-")}


@pytest.fixture(scope="module")
def laptop() -> set[tuple[str, str]]:
    """(kind, name) of all that the overlay brings."""
    folder = ROOT / "knative/overlays/laptop"
    built = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, check=True)
    return {(d["kind"], d["metadata"]["name"]) for d in yaml.safe_load_all(built.stdout)}


def test_six_commands_lead_from_nothing_to_a_finished_batch():
    first = blocks()[0]

    assert [line.split()[0] for line in first] == [
        *("kn", "make", "batch-gateway", "kubectl", "export", "batch-gateway")
    ]
    assert "--wait" in first[-1]


def test_no_program_is_called_that_is_not_looked_at_here():
    known = {"batch-gateway", "kubectl", "make", "curl", "grep", "kn", "kind", "minikube"}

    assert {words[0] for words in commands()} <= known


def test_every_command_of_ours_exists_with_its_options():
    group = get_command(app)
    shown = of("batch-gateway")
    assert len(shown) >= 4
    for name, *rest in shown:
        command = group.commands[name]
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        options = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        assert flags(rest) <= options, (name, rest)


def test_every_overlay_setting_and_example_exists():
    for words in of("batch-gateway"):
        values = dict(pairwise(words))
        if "--overlay" in values:
            assert (ROOT / "knative/overlays" / values["--overlay"]).is_dir()
        if words[:1] == ["submit"]:
            assert (ROOT / words[1]).is_file()
    for path in re.findall(r"(?:-k|kustomize) (\S*overlays\S*)", PAGE):
        assert (ROOT / path.strip("`") / "kustomization.yaml").is_file(), path
    table = PAGE.partition("| overlay |")[2].partition("\n\n")[0]
    overlays = {path.name for path in (ROOT / "knative/overlays").iterdir()}
    assert overlays == set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))


def test_the_image_that_is_deployed_is_the_one_that_is_made():
    made, deployed = blocks()[0][1], blocks()[0][2]

    assert "IMAGE=" not in made
    assert SCRIPT["IMAGE"] in deployed
    assert SCRIPT["CLUSTER"] == "knative"
    assert SCRIPT["IMAGE"].startswith("dev.local/")  # Serving asks no registry for it
    makefile = (ROOT / "Makefile").read_text()
    for words in of("make"):
        if words[0] != "image":
            assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), words
            continue
        for word in words[1:]:
            variable, _, value = word.partition("=")
            assert f"$(if $({variable})," in makefile, variable
            assert variable != "LOAD" or value in SCRIPT["LOADERS"]


@pytest.mark.parametrize(
    "words", of("kubectl"), ids=lambda words: " ".join(w for w in words if "{" not in w)
)
def test_kubectl_knows_every_flag(words):
    shown = list(words)
    while shown and shown[0].startswith("-"):
        shown = shown[2:]
    depth = 2 if shown[0] == "create" else 1
    told = subprocess.run(
        [KUBECTL, *shown[:depth], "--help"], capture_output=True, text=True, check=True
    ).stdout
    general = subprocess.run([KUBECTL, "options"], capture_output=True, text=True, check=True)

    for flag in flags(words):
        spelled = rf"(?:{re.escape(flag)}\b)" if flag.startswith("--") else rf"{flag}, "
        assert re.search(spelled, told + general.stdout), flag


def test_every_other_program_knows_its_flags():
    for program in ("kn", "kind", "minikube"):
        for words in of(program):
            name = next(n for n in OTHERS if n.split() == [program, *words][: len(n.split())])
            assert flags(words) <= OTHERS[name], words


def test_what_is_named_in_the_cluster_is_there(laptop):
    kinds = {"cronjob": "CronJob", "ksvc": "Service"}
    named = [pair for words in of("kubectl") for pair in pairwise(words)]
    named += [tuple(word.rpartition("=")[2].split("/")) for _, word in named if "/" in word]
    found = {(kinds[kind], name) for kind, name, *_ in named if kind in kinds and name[0] != "-"}

    assert found == {("CronJob", "keys"), ("Service", "api")}
    assert found <= laptop
    text = " ".join(" ".join(words) for words in of("kubectl"))
    assert {"batch-gateway", "kourier-system"} >= set(re.findall(r"-n (\S+)", text))
    hosts = set(re.findall(r"\b([a-z]+)\.([a-z-]+)\.127\.0\.0\.1\.sslip\.io", PAGE))
    assert hosts == {("api", "batch-gateway")}


def test_the_key_is_found_in_what_the_job_says():
    """``grep ^sk-bg-`` against the very lines that ``keys create`` prints."""
    from batch_gateway.core.api_keys import api_key_secret

    assert "grep ^sk-bg-)" in PAGE
    assert re.match("^sk-bg-", api_key_secret(bytes(32)))


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        file = ROOT / "docs" / (path or "cluster.md")
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in heads
            }


def test_a_name_in_the_host_header_reaches_the_ingress():
    hosts = []

    class Ingress(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.append(self.headers.get_all("host"))
            body = b'{"object": "list", "data": [], "has_more": false}'
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Ingress)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (listing,) = [words for words in of("batch-gateway") if words[0] == "list"]
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        done = CliRunner().invoke(app, [url if "http" in w else w for w in listing])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert done.exit_code == 0, done.output
    assert hosts == [["api.batch-gateway.127.0.0.1.sslip.io"]]


def test_the_overlay_for_warm_functions_keeps_a_pod_of_each_that_it_names(tmp_path):
    section = PAGE.partition("## Warm functions\n")[2].partition("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    content = yaml.safe_load(text)
    (resource,) = content["resources"]
    ours = ROOT / resource.rpartition("//")[2].partition("?")[0]
    content["resources"] = [os.path.relpath(ours, tmp_path)]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content))
    built = subprocess.run([KUBECTL, "kustomize", tmp_path], capture_output=True, check=True)

    kept = {
        d["metadata"]["name"]: d["spec"]["template"]["metadata"]["annotations"][MIN_SCALE]
        for d in yaml.safe_load_all(built.stdout)
        if d["apiVersion"] == "serving.knative.dev/v1"
    }

    assert {name for name, scale in kept.items() if scale == "1"} == {"planner", "executor"}
    assert set(kept.values()) <= {"0", "1", "2"}
