"""Every command has its help, and docs/command-line.md has every command with every option."""

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from batch_gateway.cli.kn_batch import app as plugin
from batch_gateway.cli.main import app

DOCUMENT = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()


def commands(command, *words: str):
    """Every command that does something, with the words that call it."""
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from commands(inner, *words, name)
        else:
            yield (*words, name), inner


OURS = dict(commands(get_command(app)))
PLUGINS = dict(commands(get_command(plugin)))


def documented(name: str) -> str:
    """What is said of a command: its own section, and what its chapter says of all."""
    for chapter in re.split(r"^## ", DOCUMENT, flags=re.MULTILINE):
        preamble, *sections = re.split(r"^### ", chapter, flags=re.MULTILINE)
        for section in sections:
            title, _, text = section.partition("\n")
            if name in title.split(", "):
                return preamble + text
    raise LookupError(name)


def options(command) -> set[str]:
    shown = (p for p in command.params if p.param_type_name == "option" and not p.hidden)
    return {option for parameter in shown for option in parameter.opts} - {"--help"}


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_a_command_is_documented_with_its_options(words):
    text = documented(words[0])

    assert " ".join(words) in " ".join(DOCUMENT.split())
    for option in options(OURS[words]):
        assert re.search(rf"`{option}\b", text), option


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_a_help_fits_80_columns(words):
    shown = CliRunner().invoke(app, [*words, "-h"], env={"COLUMNS": "80"})

    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_a_command_has_its_help(words):
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    for option in options(OURS[words]):
        assert option in shown.stdout


#: Commands whose standard output is not theirs to shape.
WITHOUT_JSON = {
    "completion": "the output is a shell's script",
    "convert": "the output is the file",
    "files content": "the output is the file",
    "merge": "the output is the file",
    "results": "the output is the file of results, JSON Lines as it is",
    "run": "the output is the results, JSON Lines as they are",
    "sample": "the output is the file",
    "set-model": "the output is the file",
    "simulate": "it serves until it is stopped",
}


def test_every_command_prints_json_or_its_output_is_a_file():
    without = {
        " ".join(words) for words, command in OURS.items() if "--json" not in options(command)
    }

    assert without == set(WITHOUT_JSON)


OFFLINE = {
    *((name,) for name in ("check", "convert", "sample", "split", "merge", "set-model")),
    *(("config", name) for name in ("list", "use", "delete", "path")),
}


def test_the_plugin_has_the_commands_for_users_and_status():
    assert {("status",)} | OFFLINE | {
        words for words, command in OURS.items() if "--api-key" in options(command)
    } - {("progress",)} == set(PLUGINS)
    for words, command in PLUGINS.items():
        theirs = OURS[("progress",) if words == ("status",) else words]
        assert options(command) == options(theirs)
