"""``set-model``: replaces the model names in a file of requests; all other bytes stay."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.inputs.files import (
    FileArgument,
    raw_lines,
    readable,
    request_of,
)
from batch_gateway.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Collection


@report_errors
def set_model(
    file: FileArgument,
    model: Annotated[str, Argument(metavar="MODEL", help="The model's new name.")],
    only: Annotated[
        list[str] | None,
        Option("--from", help="Only where the model is this one; may be given several times."),
    ] = None,
    output: Output = None,
) -> None:
    """Print the requests with another model; nothing else of them is changed."""
    from batch_gateway.cli.batches.results import target_of

    changed = 0
    with readable(file) as stream, target_of(output) as target:
        for number, _, line in raw_lines(stream, file):
            replaced = _replaced(line, number, model, frozenset(only or ()), file)
            changed += replaced is not line
            target.write(replaced)
    typer.echo(f"{changed} requests changed", err=True)


def _replaced(line: bytes, number: int, model: str, only: "Collection[str]", name: str) -> bytes:
    """The line with its model set; the line itself where nothing is to be changed.

    Raises CommandError where the line is no request.
    """
    import msgspec

    from batch_gateway.core.json_splice import splice_members
    from batch_gateway.core.lines import decode_input
    from batch_gateway.core.prompt_rendering import Prompt

    request = request_of(line, number)
    if not request:
        return line
    try:
        found = decode_input(request)
        body = bytes(found.body) if isinstance(found.body, msgspec.Raw) else b""
        before = msgspec.json.decode(body, type=Prompt).model
        named = json.loads(bytes(before)) if bytes(before) else None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CommandError(f"{name}: line {number} is no request: {error}", 2) from error
    if (only and named not in only) or named == model:
        return line
    new = splice_members(body, {"model": json.dumps(model, ensure_ascii=False).encode()})
    before_it, _, after_it = line.partition(request)
    return before_it + splice_members(request, {"body": new}) + after_it
