"""``convert``: converts tables and prompts to requests, and results to a table, row by row."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer
from typer import Option

from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.inputs.files import LONGEST, raw_lines, readable, request_of
from batch_gateway.cli.output import Output

Kind = Literal["csv", "tsv", "prompts", "results"]
_KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "prompts",
    ".jsonl": "results",
}
_COLUMNS = (
    "custom_id",
    "status_code",
    "text",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "error_code",
    "error_message",
)


@report_errors
def convert(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A table (.csv, .tsv), prompts (.txt, one a line) or results (.jsonl); -: "
            "standard input.",
        ),
    ],
    kind: Annotated[
        Kind | None, Option("--from", help="What FILE holds; default: by its name.")
    ] = None,
    model: Annotated[str | None, Option(help="Model of the requests.")] = None,
    endpoint: Annotated[
        str, Option(help="Where they go: chat completions, completions, embeddings or responses.")
    ] = "/v1/chat/completions",
    prompt: Annotated[
        str | None,
        Option(
            help="The prompt, with {{COLUMN}} for the cells of a row; default: the column `prompt` "
            "or `text`, or the only one."
        ),
    ] = None,
    system: Annotated[
        str | None, Option(help="A system message before each prompt, with {{COLUMN}} too.")
    ] = None,
    id_column: Annotated[
        str | None,
        Option("--id", metavar="COLUMN", help="The custom_id; default: `row-` and the number."),
    ] = None,
    field: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=JSON",
            help="Any other field of each body, such as max_tokens=64; may be given several times.",
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Make requests of a table or of prompts, or a table (CSV) of results."""
    from batch_gateway.cli.batches.options import fields
    from batch_gateway.cli.batches.results import target_of

    chosen = kind or _KINDS.get(Path(file).suffix.lower())
    if chosen is None:
        raise typer.BadParameter("say what the file holds: --from csv, tsv, prompts or results")
    with readable(file) as stream, target_of(output) as target:
        if chosen == "results":
            _write_results(stream, file, target)
            return
        if not model:
            raise typer.BadParameter("name the model of the requests with --model")
        form = _Form(model, endpoint, prompt, system, id_column, fields(field))
        rows = _prompts(stream, file) if chosen == "prompts" else _rows(stream, file, chosen)
        for number, row in enumerate(rows, 1):
            target.write(form.request(number, row))


@dataclass(frozen=True, slots=True)
class _Form:
    """How a row becomes a request."""

    model: str
    endpoint: str
    prompt: str | None
    system: str | None
    id_column: str | None
    fields: dict[str, Any]

    def request(self, number: int, row: dict[str, str]) -> bytes:
        """One line. Raises CommandError when the row lacks a column that is asked for."""
        text = _filled(self.prompt, row) if self.prompt else _only_text(row)
        request = {
            "custom_id": _cell(self.id_column, row) if self.id_column else f"row-{number}",
            "method": "POST",
            "url": self.endpoint,
            "body": {"model": self.model, **self._content(text, row), **self.fields},
        }
        return json.dumps(request, ensure_ascii=False).encode() + b"\n"

    def _content(self, text: str, row: dict[str, str]) -> dict[str, Any]:
        system = _filled(self.system, row) if self.system else None
        if self.endpoint == "/v1/chat/completions":
            before = [{"role": "system", "content": system}] if system else []
            return {"messages": [*before, {"role": "user", "content": text}]}
        if self.endpoint == "/v1/completions":
            return {"prompt": f"{system}\n\n{text}" if system else text}
        if self.endpoint == "/v1/responses":
            return {"input": text, **({"instructions": system} if system else {})}
        if self.endpoint in ("/v1/embeddings", "/v1/moderations"):
            return {"input": text}
        raise typer.BadParameter(f"convert makes no requests to {self.endpoint}")


def _filled(template: str, row: dict[str, str]) -> str:
    """``template`` with the row's cells in place of ``{{COLUMN}}``; cells are not looked into."""
    pieces = []
    rest = template
    while True:
        before, opened, rest = rest.partition("{{")
        pieces.append(before)
        if not opened:
            return "".join(pieces)
        name, closed, rest = rest.partition("}}")
        if not closed:
            raise typer.BadParameter(f"{{{{{name[:40]} has no end in the template")
        pieces.append(_cell(name.strip(), row))


def _cell(column: str, row: dict[str, str]) -> str:
    if column not in row:
        raise CommandError(f"there is no column {column}; there are {', '.join(row)}", 2)
    return row[column]


def _only_text(row: dict[str, str]) -> str:
    for name in ("prompt", "text"):
        if name in row:
            return row[name]
    if len(row) == 1:
        return next(iter(row.values()))
    raise CommandError(
        f"which column is the prompt? --prompt '{{{{COLUMN}}}}'; there are {', '.join(row)}", 2
    )


def _prompts(stream: BinaryIO, name: str) -> Iterator[dict[str, str]]:
    for number, _, line in raw_lines(stream, name):
        text = request_of(line, number)
        if text:
            try:
                yield {"prompt": text.decode()}
            except UnicodeDecodeError as error:
                raise CommandError(f"{name}: line {number} is not UTF-8", 2) from error


def _rows(stream: BinaryIO, name: str, kind: Kind) -> Iterator[dict[str, str]]:
    """Rows by the names of the first one. Raises CommandError for what is no table."""
    csv.field_size_limit(min(LONGEST, sys.maxsize))
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    table = csv.reader(text, delimiter="\t" if kind == "tsv" else ",", strict=True)
    try:
        titles = next(table, None)
        if not titles:
            raise CommandError(f"{name} has no line of titles", 2)
        if len(set(titles)) != len(titles):
            raise CommandError(f"{name} has two columns of one name: {', '.join(titles)}", 2)
        for cells in table:
            if not cells:
                continue
            if len(cells) != len(titles):
                raise CommandError(
                    f"{name}: line {table.line_num} has {len(cells)} cells, not {len(titles)}", 2
                )
            yield dict(zip(titles, cells, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise CommandError(f"{name}: line {table.line_num}: {error}", 2) from error
    finally:
        text.detach()


def _write_results(stream: BinaryIO, name: str, target: BinaryIO) -> None:
    text = io.TextIOWrapper(target, encoding="utf-8", newline="", write_through=True)
    try:
        table = csv.writer(text)
        table.writerow(_COLUMNS)
        for number, _, line in raw_lines(stream, name):
            if raw := request_of(line, number):
                table.writerow(_result(raw, name, number))
    finally:
        text.detach()


def _result(raw: bytes, name: str, number: int) -> list[Any]:
    """The cells of one result. Raises CommandError for what is none."""
    try:
        line = json.loads(raw)
        custom_id, response, error = line["custom_id"], line["response"], line["error"]
        body = (response or {}).get("body")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as wrong:
        raise CommandError(f"{name}: line {number} is no result of a batch", 2) from wrong
    body = body if isinstance(body, dict) else {}
    error = error or _dict(body.get("error"))
    usage = _dict(body.get("usage"))
    text, reason = _answer(body)
    return [
        custom_id,
        (response or {}).get("status_code", ""),
        text,
        reason,
        usage.get("prompt_tokens", usage.get("input_tokens", "")),
        usage.get("completion_tokens", usage.get("output_tokens", "")),
        error.get("code") or error.get("type") or "",
        error.get("message") or "",
    ]


def _answer(body: dict[str, Any]) -> tuple[str, str]:
    """Text and reason of its end: of a chat completion, completion, response or embedding."""
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        choice = choices[0]
        text = _dict(choice.get("message")).get("content", choice.get("text"))
        return _text(text), str(choice.get("finish_reason") or "")
    if isinstance(body.get("output"), list):
        pieces = [
            _text(part.get("text"))
            for item in body["output"]
            for part in _dict(item).get("content") or []
            if isinstance(part, dict)
        ]
        return "".join(pieces), str(body.get("status") or "")
    data = body.get("data")
    if isinstance(data, list) and data:
        return _text(_dict(data[0]).get("embedding")), ""
    return "", ""


def _text(value: Any) -> str:
    """A string as it is, null as nothing, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
