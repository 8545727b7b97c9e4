"""``check``: validates an input file by the planner's rules, without a service."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from batch_gateway.cli.batches.options import DEFAULT_ENDPOINT, BatchOptions, ConnectionOptions
from batch_gateway.cli.errors import BAD_END, CommandError, report_errors
from batch_gateway.cli.inputs.files import FileArgument, local
from batch_gateway.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from batch_gateway.core.model import BatchError
    from batch_gateway.services.plan.input_scan import InputRules
    from batch_gateway.settings import ApiSettings


@report_errors
def check(
    file: FileArgument,
    endpoint: Annotated[
        str | None,
        Option(help="Of the batch; default: the first request's url. '*': each request's own."),
    ] = None,
    models: Annotated[
        list[str] | None,
        Option(
            "--model", help="A model that is served, others are told; may be given several times."
        ),
    ] = None,
    strict: Annotated[bool, Option("--strict", help="By OpenAI's rules, without extensions.")] = (
        False
    ),
    deduplicate: Annotated[
        bool, Option("--deduplicate", help="Also count the requests that are the same.")
    ] = False,
    max_requests: Annotated[
        int | None, Option(min=1, help="Most requests of a batch; default: api.max_lines.")
    ] = None,
    limit: Annotated[int, Option(min=1, help="Most errors to print.")] = 10_000,
    json: AsJson = False,
) -> None:
    """Judge a file of requests as the service will, without a service: errors, models, tokens."""
    with local(file) as path:
        found = surveyed(
            path,
            endpoint=endpoint or _first_url(path) or DEFAULT_ENDPOINT,
            models=frozenset(models or ()),
            strict=strict,
            deduplicate=deduplicate,
            max_requests=max_requests,
            limit=limit,
        )
    if json:
        print_json(found.plain(file))
    else:
        _print(found, file)
    if found.errors or found.unknown:
        raise CommandError(f"{file} would not run as it is: {_reasons(found)}", BAD_END)


@report_errors
def estimate(
    file: FileArgument,
    asked: BatchOptions,
    to: ConnectionOptions,
    json: AsJson = False,
) -> None:
    """Ask the service what a file would take: requests, tokens of each model, time. Nothing runs.

    The file is uploaded, judged by a dry run, and deleted again.
    """
    from batch_gateway.cli.batches.estimating import dry_run
    from batch_gateway.cli.batches.exit_codes import judge
    from batch_gateway.cli.batches.printing import as_json, estimated
    from batch_gateway.cli.batches.source import InputSource

    with to.service() as service, InputSource.open(file) as source:
        batch = dry_run(service, source, asked)
    if json:
        typer.echo(as_json(batch, indent=2))
    else:
        for line in estimated(batch):
            typer.echo(line)
    judge([batch])


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCheck:
    """What the planner would find. ``errors`` are those with a line first, by line."""

    endpoint: str
    requests: int
    shards: int
    errors: "list[BatchError]"
    more_errors: bool  # there may be further ones
    by_model: Counter[str] = field(default_factory=Counter)  # requests
    tokens: Counter[str] = field(default_factory=Counter)
    unknown: tuple[str, ...] = ()  # models that are not served
    identical: int = 0  # requests that would get the answer of another one

    def plain(self, name: str) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": name,
            "endpoint": self.endpoint,
            "requests": self.requests,
            "shards": self.shards,
            "identical_requests": self.identical,
            "models": {
                model: {
                    "requests": count,
                    "estimated_tokens": self.tokens[model],
                    "served": model not in self.unknown,
                }
                for model, count in sorted(self.by_model.items())
            },
            "errors": [
                {"line": e.line, "code": e.code, "message": e.message, "param": e.param}
                for e in self.errors
            ],
            "more_errors": self.more_errors,
        }


def surveyed(
    path: Path,
    *,
    endpoint: str,
    models: frozenset[str] = frozenset(),
    strict: bool = False,
    deduplicate: bool = False,
    max_requests: int | None = None,
    limit: int = 10_000,
) -> InputCheck:
    """Judge the file at ``path`` as the planner does, with this environment's limits.

    Memory is bounded: lines are noted in a database on disk. Raises CommandError.
    """
    import tempfile

    from batch_gateway.adapters.sqlite_line_index import SqliteLineIndexes
    from batch_gateway.core.planning import cut_shards
    from batch_gateway.core.validation import LineValidator
    from batch_gateway.services.plan.input_scan import scan_lines

    api, rules = _judging(strict=strict, limit=limit)
    validator = LineValidator(endpoint, models=models, strict=rules.strict, twins=deduplicate)
    shards, by_model, identical = 0, Counter[str](), 0
    with SqliteLineIndexes(Path(tempfile.gettempdir())).open() as index:
        found = scan_lines(path, index, validator, rules)
        if deduplicate:
            found.spare(index.join_twins(rules.planning.shard_lines))
            identical = found.deduplicated
        for refs in cut_shards(index.ordered(), rules.shard_size):
            shards += 1
            by_model[refs[0].model] += len(refs) + sum(ref.copies for ref in refs)
    too_much = _too_much(found.total, path.stat().st_size, max_requests or api.max_lines, api)
    return InputCheck(
        endpoint=endpoint,
        requests=found.total,
        shards=shards,
        errors=[*found.errors, *too_much],
        more_errors=len(found.errors) >= limit,
        by_model=by_model,
        tokens=found.costs,
        unknown=tuple(sorted(model for model in by_model if not validator.known(model))),
        identical=identical,
    )


def _judging(*, strict: bool, limit: int) -> "tuple[ApiSettings, InputRules]":
    """This environment's limits, and rules by which a scan reads the whole file.

    Raises CommandError for a wrong setting.
    """
    from batch_gateway.services.plan.input_scan import InputRules
    from batch_gateway.settings import WrongSetting, read_settings

    try:
        settings = read_settings()
    except WrongSetting as error:
        raise CommandError(str(error), 2) from error
    rules = InputRules(
        planning=settings.planning.model_copy(
            update={"max_errors": limit, "max_models": sys.maxsize}
        ),
        max_lines=sys.maxsize,
        max_file_bytes=settings.api.max_file_bytes,
        strict=strict or settings.api.mode == "strict",
    )
    return settings.api, rules


def _too_much(requests: int, size: int, most: int, api: "ApiSettings") -> "Iterator[BatchError]":
    """The errors of a file with too many requests, or of more bytes than are accepted."""
    from batch_gateway.services.plan.input_scan import too_large, too_many

    if requests > most:
        yield too_many(most)
    if size > api.max_file_bytes:
        yield too_large(api.max_file_bytes)


def _first_url(path: Path) -> str | None:
    from batch_gateway.cli.batches.source import InputSource

    with InputSource.open(str(path)) as source:
        return source.first_url()


def _print(found: InputCheck, name: str) -> None:
    from batch_gateway.cli.batches.exit_codes import described
    from batch_gateway.cli.tables import print_table, print_text

    for error in found.errors:
        print_text(described({"line": error.line, "message": error.message, "code": error.code}))
    if found.errors:
        typer.echo("")
    print_text(f"{name}: {found.requests} requests to {found.endpoint}, {found.shards} shards")
    if found.identical:
        print_text(f"{found.identical} requests are the same as another one, and would not run")
    rows = [
        (model, str(count), f"about {found.tokens[model]}", _remark(model, found))
        for model, count in sorted(found.by_model.items())
    ]
    if rows:
        print_table(("MODEL", "REQUESTS", "TOKENS", ""), rows)


def _remark(model: str, found: InputCheck) -> str:
    return "not served" if model in found.unknown else ""


def _reasons(found: InputCheck) -> str:
    reasons = []
    if found.errors:
        more = " or more" if found.more_errors else ""
        reasons.append(f"{len(found.errors)}{more} error{'s' * (len(found.errors) != 1)}")
    if found.unknown:
        reasons.append(f"models that are not served: {', '.join(found.unknown[:10])}")
    return "; ".join(reasons)
