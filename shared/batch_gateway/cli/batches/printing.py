"""What the commands print of batches: for people as columns, for programs as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from batch_gateway.cli.batches.judging import described as of_error

Json = dict[str, Any]

_COLUMNS = ("ID", "STATUS", "DONE", "FAILED", "MODEL", "CREATED", "EXPIRES")
_INSTANT = "%Y-%m-%d %H:%M:%SZ"


def as_json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def table(batches: Sequence[Json]) -> Iterator[str]:
    """A line per batch below a line of titles, in columns."""
    return columns([_COLUMNS, *(_row(batch) for batch in batches)])


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows whose cells stand below each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(batch: Json) -> tuple[str, ...]:
    counts = batch["request_counts"]
    return (
        batch["id"],
        batch["status"] + (" (paused)" if batch.get("paused") else ""),
        f"{counts['completed']}/{counts['total']}",
        str(counts["failed"]),
        batch.get("model") or "-",
        _instant(batch["created_at"]),
        _instant(batch["expires_at"]),
    )


def described(batch: Json) -> Iterator[str]:
    """Everything that a batch has to say, a field a line; instants are spelled out."""
    known = {name: value for name, value in batch.items() if value not in (None, {}, [])}
    errors = known.pop("errors", {}).get("data", [])
    width = max(map(len, known))
    for name, value in known.items():
        yield f"{name.ljust(width)}  {_spelled(name, value)}"
    for error in errors:
        yield f"{'error'.ljust(width)}  {of_error(error)}"


def estimated(batch: Json) -> Iterator[str]:
    """What a dry run has found: requests, tokens by model, and time; nothing before its end."""
    if (tokens := batch.get("estimated_tokens")) is None:
        return
    yield f"requests  {batch['request_counts']['total']}"
    yield from tokens_by_model(tokens)
    seconds = batch.get("estimated_duration_s")
    yield f"time      {'not known' if seconds is None else timedelta(seconds=seconds)}"


def tokens_by_model(tokens: Mapping[str, int]) -> Iterator[str]:
    """Estimated tokens of each model, and of all of them."""
    for model, count in sorted(tokens.items()):
        yield f"model     {model}: about {count} tokens"
    yield f"tokens    about {sum(tokens.values())}, prompts and answers"


def _spelled(name: str, value: Any) -> str:
    if name.endswith("_at") and isinstance(value, int | float):
        return _instant(value)
    if isinstance(value, dict):
        return "  ".join(f"{key}={_inner(inner)}" for key, inner in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _inner(value: Any) -> str:
    return as_json(value) if isinstance(value, dict | list) else str(value)


def _instant(value: float | None) -> str:
    return "-" if value is None else datetime.fromtimestamp(value, UTC).strftime(_INSTANT)
