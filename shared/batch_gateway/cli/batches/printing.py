"""Prints batches: columns for people, JSON for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from batch_gateway.cli.batches.exit_codes import described as of_error
from batch_gateway.cli.tables import print_table

Json = dict[str, Any]

_TITLES = ("ID", "STATUS", "DONE", "FAILED", "MODEL", "CREATED", "EXPIRES")
_INSTANT = "%Y-%m-%d %H:%M:%SZ"


def as_json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def print_deleted(name: str, *, json: bool) -> None:
    """A line that names what has been deleted; ``json``: for programs."""
    typer.echo(as_json({"id": name, "deleted": True}) if json else f"{name} deleted")


def print_batches(batches: Sequence[Json]) -> None:
    """A line per batch below a line of titles."""
    print_table(_TITLES, map(_row, batches))


def _row(batch: Json) -> tuple[str, ...]:
    counts = batch["request_counts"]
    return (
        batch["id"],
        batch["status"] + (" (paused)" if batch.get("paused") else ""),
        f"{counts['completed']}/{counts['total']}",
        str(counts["failed"]),
        batch.get("model") or "-",
        instant(batch["created_at"]),
        instant(batch["expires_at"]),
    )


def described(object_: Json) -> Iterator[tuple[str, str]]:
    """The fields of an answer that have a value, with instants spelled out, and then its errors."""
    known = {name: value for name, value in object_.items() if value not in (None, {}, [])}
    errors = (known.pop("errors", None) or {}).get("data", [])
    for name, value in known.items():
        yield name, _spelled(name, value)
    for error in errors:
        yield "error", of_error(error)


def estimated(batch: Json) -> Iterator[str]:
    """What a dry run has found: requests, tokens, cost and time; nothing before its end."""
    if (tokens := batch.get("estimated_tokens")) is None:
        return
    yield f"requests  {batch['request_counts']['total']}"
    yield from tokens_by_model(tokens)
    if (cost := batch.get("estimated_cost")) is not None:
        yield f"cost      about {cost['value']} {cost['currency']}"
    seconds = batch.get("estimated_duration_s")
    yield f"time      {'not known' if seconds is None else timedelta(seconds=seconds)}"


def tokens_by_model(tokens: Mapping[str, int]) -> Iterator[str]:
    """Estimated tokens of each model, and of all of them."""
    for model, count in sorted(tokens.items()):
        yield f"model     {model}: about {count} tokens"
    yield f"tokens    about {sum(tokens.values())}, prompts and answers"


def _spelled(name: str, value: Any) -> str:
    if name.endswith("_at") and isinstance(value, int | float):
        return instant(value)
    if name == "request_counts":
        return ", ".join(f"{count} {kind}" for kind, count in value.items())
    if name == "usage":
        return ", ".join(_tokens(value))
    if isinstance(value, dict):
        return "  ".join(f"{key}={_inner(inner)}" for key, inner in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tokens(usage: Json) -> Iterator[str]:
    """Tokens of each kind, with the part of them that is special in brackets."""
    for kind in ("input", "output"):
        parts = usage.get(f"{kind}_tokens_details") or {}
        within = "".join(f" ({n} {part.removesuffix('_tokens')})" for part, n in parts.items() if n)
        yield f"{usage[f'{kind}_tokens']} {kind}{within}"
    yield f"{usage['total_tokens']} tokens in all"


def _inner(value: Any) -> str:
    return as_json(value) if isinstance(value, dict | list) else str(value)


def instant(value: float | None) -> str:
    return "-" if value is None else datetime.fromtimestamp(value, UTC).strftime(_INSTANT)
