"""Prints the steps of a command for clusters: a line for people, a line of JSON for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer

from batch_gateway.cli.output import print_json


@dataclass(frozen=True, slots=True)
class StepReporter:
    """Reports what a command has done with each object."""

    json: bool = False

    def object(self, obj: Mapping[str, Any], result: str, *, called: str = "") -> None:
        """``result``: what became of it, such as ``created``; ``called``: its name for people."""
        kind, name = obj["kind"], obj["metadata"]["name"]
        if not self.json:
            typer.echo(f"{called or f'{kind} {name}'} {result}")
            return
        identity = {"apiVersion": obj["apiVersion"], "kind": kind, "name": name}
        print_json(identity | {"result": result}, indent=None)

    def note(self, text: str) -> None:
        """What concerns no single object; beside the JSON it goes to standard error."""
        typer.echo(text, err=self.json)

    def end(self, text: str, **result: Any) -> None:
        """How it has ended."""
        if self.json:
            print_json(result, indent=None)
        else:
            typer.echo(text)
