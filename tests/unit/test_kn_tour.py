"""docs/kn.md: each of its commands exists in kn, with these options, and names what is deployed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from batch_gateway.cli.kn_batch import app

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "kn.md"

#: Options of kn's commands (https://github.com/knative/client/tree/main/docs/cmd, and the README
#: of kn-plugin-event), as far as they could be of use here.
COMMON = {"-n", "--namespace", "--kubeconfig", "--context"}
PRINTING = {"-o", "--output", "--template"}
LIST = COMMON | PRINTING | {"-A", "--all-namespaces", "--no-headers"}
DESCRIBE = COMMON | PRINTING | {"-v", "--verbose"}
KN = {
    "plugin list": set(),
    "service list": LIST,
    "service describe": DESCRIBE,
    "service update": COMMON
    | {"--scale", "--scale-min", "--scale-max", "--scale-window", "--scale-utilization"}
    | {"--env", "--image", "--traffic", "--tag", "--untag", "--timeout", "--concurrency-limit"}
    | {"--annotation", "--annotation-revision", "--no-wait", "--wait-timeout"},
    "revision list": LIST | {"-s", "--service"},
    "route list": LIST,
    "route describe": DESCRIBE,
    "broker list": LIST,
    "broker describe": COMMON | PRINTING,
    "trigger list": LIST,
    "trigger describe": DESCRIBE,
    "trigger create": COMMON | {"--broker", "--filter", "-s", "--sink"},
    "trigger delete": COMMON,
    "eventtype list": LIST,
    "source ping list": LIST,
    "source ping describe": DESCRIBE,
    "source ping update": COMMON | {"--schedule", "--data", "-d", "-s", "--sink"},
    "source binding list": LIST,
    "source binding describe": DESCRIBE,
    "domain create": COMMON | {"--ref", "--tls"},
    "domain list": LIST,
    "event send": COMMON
    | {"--to", "--to-url", "--type", "--id", "--source", "--field", "--raw-field"},
}
#: command -> the kind whose object it names; the tour may create these itself.
NAMES = {
    "service describe": "Service",
    "service update": "Service",
    "route describe": "Service",  # a Service's Route has its name
    "broker describe": "Broker",
    "trigger describe": "Trigger",
    "trigger delete": "Trigger",
    "source ping describe": "PingSource",
    "source ping update": "PingSource",
    "source binding describe": "SinkBinding",
}


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("kn ")]


@pytest.fixture(scope="module")
def objects() -> dict[str, set[str]]:
    """kind -> the names of what is deployed."""
    kubectl = Path(sys.executable).with_name("kubectl")
    overlay = ROOT / "knative" / "overlays" / "minimal"
    built = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, check=True)
    found: dict[str, set[str]] = {}
    for document in yaml.safe_load_all(built.stdout):
        name = document["metadata"]["name"]
        found.setdefault(document["kind"], set()).add(name)
        if document["kind"] == "EventType":
            attributes = {a["name"]: a.get("value") for a in document["spec"]["attributes"]}
            found.setdefault("event type", set()).add(attributes["type"])
    return found


def parsed(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """The command, its arguments, and its options with their values."""
    depth = next(n for n in (3, 2) if " ".join(words[:n]) in KN)
    arguments, options, rest = [], {}, words[depth:]
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            options[word] = rest.pop(0)
        else:
            arguments.append(word)
    return " ".join(words[:depth]), arguments, options


def plain() -> list[tuple[str, list[str], dict[str, str]]]:
    return [parsed(words) for words in commands() if words[0] != "batch"]


def test_the_tour_shows_all_groups_of_commands():
    groups = {words[0] for words in commands()}

    assert groups >= {"service", "revision", "route", "trigger", "broker", "source", "event"}
    assert groups >= {"batch", "plugin", "domain", "eventtype"}


def test_every_option_is_one_of_kn_s():
    for command, _, options in plain():
        assert set(options) <= KN[command], command


def test_every_name_is_deployed_or_made_by_the_tour_itself(objects):
    made: dict[str, set[str]] = {}
    for command, arguments, options in plain():
        if command == "trigger create":
            made.setdefault("Trigger", set()).add(arguments[0])
        if (kind := NAMES.get(command)) is not None:
            assert arguments[0] in objects[kind] | made.get(kind, set()), command
        namespace = options.get("-n") or options.get("--namespace")
        assert command == "plugin list" or namespace == "batch-gateway", command
        if "--broker" in options:
            assert options["--broker"] in objects["Broker"]
        if "-s" in options:
            assert options["-s"] in objects["Service"]
        for option in ("--ref", "--sink"):
            prefix, _, name = options.get(option, "").partition(":")
            assert prefix != "ksvc" or name in objects["Service"]
        if options.get("--to", "").startswith("Broker:"):
            assert options["--to"].rpartition(":")[2] in objects["Broker"]


def test_every_event_type_is_known(objects):
    named = set(re.findall(r"dev\.batchgateway\.[a-z_.0-9]+", DOCUMENT.read_text()))

    assert named
    assert named <= objects["event type"]


def test_every_command_of_the_plugin_exists():
    plugin = get_command(app)
    shown = [words[1:] for words in commands() if words[0] == "batch"]

    assert shown
    for name, *rest in shown:
        options = {o for p in plugin.commands[name].params for o in p.opts}
        assert {word for word in rest if word.startswith("-")} <= options, name
