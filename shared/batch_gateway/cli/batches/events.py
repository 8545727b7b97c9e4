"""``events``: past events of batches, and new ones as they happen, from the times in each batch.

It uses the HTTP API, so it works wherever the other commands do. The CloudEvents of the broker,
which programs subscribe to, are on the page docs/events.md.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from batch_gateway.cli.batches.exit_codes import TERMINAL
from batch_gateway.cli.batches.options import ConnectionOptions, plain_id
from batch_gateway.cli.errors import UNREACHABLE, CommandError, report_errors
from batch_gateway.cli.output import JsonLines, print_json

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient

_PAUSE_S = 2.0
_PATIENCE_S = 300.0  # without any answer
_PAGE = 100
#: The fields of a batch that are instants of its life -> the event.
_INSTANTS = {
    "created_at": "created",
    "in_progress_at": "in_progress",
    "finalizing_at": "finalizing",
    "cancelling_at": "cancelling",
    "completed_at": "completed",
    "failed_at": "failed",
    "expired_at": "expired",
    "cancelled_at": "cancelled",
}


@dataclass(frozen=True, slots=True, order=True)
class _Event:
    at: int  # unix seconds
    rank: int  # order of events within a second
    batch: str
    name: str
    remark: str = ""

    def cells(self) -> list[str]:
        from batch_gateway.cli.batches.printing import instant

        return [part for part in (instant(self.at), self.batch, self.name, self.remark) if part]

    def plain(self) -> dict[str, Any]:
        remark = {"remark": self.remark} if self.remark else {}
        return {"time": self.at, "batch": self.batch, "event": self.name, **remark}


@report_errors
def events(
    to: ConnectionOptions,
    batch: Annotated[
        str | None, Argument(metavar="BATCH", help="Only of this batch; default: of all.")
    ] = None,
    follow: Annotated[
        bool,
        Option(
            "--follow", "-f", help="Continue with what happens, until Ctrl-C or the batch's end."
        ),
    ] = False,
    limit: Annotated[int, Option(min=1, help="Batches to begin with, the newest first.")] = 20,
    json: JsonLines = False,
) -> None:
    """Print what has happened to batches: created, in progress, completed, and when."""
    from batch_gateway.cli.tables import print_row

    with to.service() as service:
        for found in _all(service, batch and plain_id(batch), limit, follow=follow):
            if json:
                print_json(found.plain(), indent=None)
            else:
                print_row(found.cells())


def _all(
    service: "ServiceClient", batch: str | None, limit: int, *, follow: bool
) -> Iterator[_Event]:
    """Each event once, in the order known at the time of printing."""
    told: dict[str, frozenset[_Event]] = {}  # of batches that have not ended, or were just seen
    answered = time.monotonic()
    since: int | None = None
    while True:
        try:
            batches = list(_batches(service, batch, limit, since))
        except CommandError as error:
            if error.exit_code != UNREACHABLE or time.monotonic() - answered > _PATIENCE_S:
                raise
        else:
            answered = time.monotonic()
            for name in told.keys() - {each["id"] for each in batches}:
                if (gone := _one(service, name)) is not None:
                    batches.append(gone)
            found = {each["id"]: frozenset(_events_of(each)) for each in batches}
            before = frozenset().union(*told.values()) if told else frozenset()
            yield from sorted(frozenset().union(*found.values()) - before if found else ())
            since = max((each["created_at"] for each in batches), default=since or 0)
            # Those of the latest second stay: the next listing has them again.
            told = {
                each["id"]: found[each["id"]]
                for each in batches
                if each["status"] not in TERMINAL or each["created_at"] >= since
            }
            if batch is not None and batches and batches[0]["status"] in TERMINAL:
                return
        if not follow:
            return
        time.sleep(_PAUSE_S)


def _batches(
    service: "ServiceClient", batch: str | None, limit: int, since: int | None
) -> "Iterator[Json]":
    """The one batch, the newest ``limit``, or those created at ``since`` or later."""
    if batch is not None:
        yield service.get(f"/batches/{batch}")
        return
    after = None
    left = limit if since is None else None
    while left is None or left > 0:
        page = service.get(
            "/batches",
            limit=_PAGE if left is None else min(_PAGE, left),
            after=after,
            created_after=None if since is None else max(0, since - 1),
        )
        yield from page["data"]
        if not page["has_more"] or not page["data"]:
            return
        after = page["data"][-1]["id"]
        left = None if left is None else left - len(page["data"])


def _one(service: "ServiceClient", batch: str) -> "Json | None":
    """None: it was deleted."""
    from batch_gateway.cli.batches.service import ErrorResponse

    try:
        return service.get(f"/batches/{batch}")
    except ErrorResponse as refusal:
        if refusal.status != 404:
            raise
        return None


def _events_of(batch: "Json") -> Iterator[_Event]:
    for rank, (field, name) in enumerate(_INSTANTS.items()):
        if (at := batch.get(field)) is not None:
            yield _Event(at, rank, batch["id"], name, _remark(batch, name))


def _remark(batch: "Json", name: str) -> str:
    """How many requests have succeeded and failed, where that does not change any more."""
    if name not in TERMINAL:
        return ""
    counts = batch["request_counts"]
    return f"{counts['completed']} of {counts['total']} succeeded, {counts['failed']} failed"
