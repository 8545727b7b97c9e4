"""Exit codes and messages for ended batches (docs/command-line.md has both)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from batch_gateway.cli.errors import BAD_END, CommandError

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})

_MOST_ERRORS = 10  # printed


def rate(given: str | None) -> float | None:
    """A share of failed requests, such as ``0.05`` or ``5%``, as a number. Raises BadParameter."""
    if given is None:
        return None
    try:
        number = float(given.removesuffix("%")) / (100 if given.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise typer.BadParameter(f"--fail-on-errors takes 0 to 1 or 0% to 100%, not {given}")
    return number


def judge(batches: "Sequence[Json]", fail_above: float | None = None) -> None:
    """Raise CommandError for those that have ended, and not well.

    A batch ends well when it is completed, and the share of its failed requests is not above
    ``fail_above``; None: any number may fail. One that has not ended is not judged.
    """
    found = [line for batch in batches for line in _complaint(batch, fail_above)]
    if found:
        raise CommandError("\n".join(found), BAD_END)


def _complaint(batch: "Json", fail_above: float | None) -> Iterator[str]:
    if batch["status"] not in TERMINAL:
        return
    if batch["status"] != "completed":
        errors = list(map(described, (batch.get("errors") or {}).get("data") or []))
        told = f"{batch['id']} is {batch['status']}"
        if len(errors) == 1:
            yield f"{told}: {errors[0]}"
            return
        yield f"{told}: {len(errors)} errors" if errors else told
        yield from (f"  {error}" for error in errors[:_MOST_ERRORS])
        if len(errors) > _MOST_ERRORS:
            yield f"  and {len(errors) - _MOST_ERRORS} more: batch-gateway get {batch['id']}"
        return
    counts = batch["request_counts"]
    failed, total = counts["failed"], counts["total"]
    if fail_above is not None and failed > fail_above * total:
        share = f"{failed / total:.1%}"
        yield f"{batch['id']} is completed, but {failed} of {total} requests failed ({share})"


def described(error: "Json") -> str:
    """One error of a batch: the line of the input, what is wrong with it, and the code."""
    where = "" if error.get("line") is None else f"line {error['line']}: "
    return f"{where}{error['message']} ({error['code']})"
