"""``batch-gateway settings``: lists settings, prints an example file or the effective values."""

import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.output import AsJson, print_json

_WIDTH = 98  # columns of a comment
_HIDDEN = "(secret, set)"
_DEFAULT = "default"


@report_errors
def settings(
    example: Annotated[
        bool, Option("--example", help="A file for `up --config`, with every setting as a comment.")
    ] = False,
    effective: Annotated[
        bool, Option("--effective", help="The values that hold here, and where they come from.")
    ] = False,
    config: Annotated[
        Path | None, Option(help="With --effective: this YAML file too.", dir_okay=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """Print every setting with its default, its unit and its meaning."""
    from batch_gateway.cli.settings import rows

    if example and effective:
        raise typer.BadParameter("--example and --effective exclude each other")
    if effective:
        _print_effective(config, json=json)
    elif example:
        for line in _example():
            typer.echo(line)
    elif json:
        for row in rows():
            print_json(row._asdict(), indent=None)
    else:
        _print_all()


def _print_all() -> None:
    """Markdown in a pipe; on a terminal, which is too narrow for that, a paragraph for each."""
    from batch_gateway.cli.settings import rows, table
    from batch_gateway.cli.tables import print_text

    if not sys.stdout.isatty():
        typer.echo(table())
        return
    for row in rows():
        print_text(f"{row.variable} = {row.default.strip('`')}")
        unit = f" ({row.unit})" if row.unit else ""
        print_text(f"    {row.meaning}{unit}".replace("`", ""))


def _example() -> Iterator[str]:
    """YAML in which every setting is a comment above its default."""
    from batch_gateway.cli.settings import rows

    yield "# Settings of `batch-gateway up --config FILE`: take away the # before what you change."
    for name, found in groupby(rows(), key=lambda row: row.group):
        yield ""
        yield f"# {name}:"
        for row in found:
            field = row.variable.partition("__")[2].lower()
            unit = f" ({row.unit.replace('`', '')})" if row.unit else ""
            yield from textwrap.wrap(
                f"{row.meaning}{unit}", _WIDTH, initial_indent="#   # ", subsequent_indent="#   # "
            )
            yield f"#   {field}: {_yaml(row.default)}"


def _yaml(default: str) -> str:
    """A default as YAML; ``rows`` spells it for people."""
    if default == "-":
        return "null"
    if default == "empty":
        return '""'
    value = default.strip("`")
    if " " in value or value.startswith(("[", "{", "*", "&", "!")):
        return f'"{value}"'
    return value


def _print_effective(config: Path | None, *, json: bool) -> None:
    """Raises CommandError for values that no service would start with."""
    from batch_gateway.cli.tables import print_table, print_text
    from batch_gateway.settings.spelling import unknown_variables

    for line in unknown_variables():
        print_text(f"batch-gateway: {line}", err=True)
    found = list(_effective(config))
    if json:
        for name, value, origin in found:
            print_json({"setting": name, "value": value, "origin": origin}, indent=None)
        return
    print_table(("SETTING", "VALUE", "FROM"), [(n, _shown(v), o) for n, v, o in found])


def _effective(config: Path | None) -> Iterator[tuple[str, Any, str]]:
    """Name, value and origin of every setting; secrets are hidden."""
    from batch_gateway.cli.settings import rows, secret_variables
    from batch_gateway.local.configuration import checked, from_environment, from_file
    from batch_gateway.local.errors import PlatformError

    try:
        filed = from_file(config) if config else {}
        given = {**filed, **from_environment()}
        settings = checked(given, dict.fromkeys(filed.keys() - os.environ.keys(), str(config)))
    except PlatformError as error:
        raise CommandError(str(error), 2) from error
    secret = secret_variables()
    values = settings.model_dump(mode="json")
    for row in rows():
        field = row.variable.partition("__")[2].lower()
        value = values[row.group][field]
        origin = _origin(row.variable, filed, config)
        if row.variable in secret and origin != _DEFAULT:
            value = _HIDDEN
        elif row.variable in secret:
            value = row.default.strip("`")
        yield f"{row.group}.{field}", value, origin


def _origin(variable: str, filed: Mapping[str, str], config: Path | None) -> str:
    if variable in os.environ:
        return variable
    if variable in filed:
        return str(config)
    group = variable.partition("__")[0]
    return group if group in os.environ else _DEFAULT


def _shown(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)
