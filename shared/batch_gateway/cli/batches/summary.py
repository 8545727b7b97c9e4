"""Summary of an ended batch: how many requests failed, and with which errors."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batch_gateway.cli.batches.exit_codes import TERMINAL
from batch_gateway.cli.errors import CommandError
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient

_MOST_LINES = 100_000  # of an error file that are counted
_MOST_CLASSES = 10  # printed
_MOST_WORDS = 1000  # remembered


def print_summary(service: "ServiceClient", batch: "Json", *, hint: bool = False) -> None:
    """The outcome in a line, and a line for each class of errors; on standard error."""
    counts = batch["request_counts"]
    said = (
        f"{batch['id']} is {batch['status']}: {counts['completed']} of {counts['total']}"
        f" requests succeeded, {counts['failed']} failed"
    )
    if hint and batch["error_file_id"] is not None:
        said += "; --errors prints those without an answer"
    print_text(said, err=True)
    print_classes(service, batch)


def print_classes(service: "ServiceClient", batch: "Json") -> None:
    """How often each error occurred, the most frequent first; nothing where none did."""
    from batch_gateway.core.error_selection import class_of

    found: Counter[str] = Counter()
    for count, line in enumerate(_error_lines(service, batch), 1):
        found[class_of(line)] += 1
        if count == _MOST_LINES:
            print_text(f"  of the first {count} failed requests:", err=True)
            break
    shown = found.most_common(_MOST_CLASSES)
    width = max((len(str(count)) for _, count in shown), default=0)
    for name, count in shown:
        print_text(f"  {count:{width}}  {name}", err=True)
    if len(found) > len(shown):
        rest = found.total() - sum(count for _, count in shown)
        print_text(f"  {rest:{width}}  other errors ({len(found) - len(shown)} classes)", err=True)


def check_selection(service: "ServiceClient", batch: "Json", errors: Sequence[str]) -> None:
    """Raise CommandError for a word of ``errors`` that is true of no failed request.

    A batch that has not ended is not looked at: the service refuses it.
    """
    from batch_gateway.core.error_selection import words_of

    if batch["status"] not in TERMINAL:
        return
    missing, known = set(errors), Counter[str]()
    for line in _error_lines(service, batch):
        words = set(words_of(line))
        missing -= words
        if not missing:
            return
        known.update(word for word in words if word in known or len(known) < _MOST_WORDS)
    there = ", ".join(f"{word} ({count})" for word, count in known.most_common(20))
    asked = ", ".join(word for word in errors if word in missing)
    raise CommandError(
        f"no request of {batch['id']} failed with {asked}; "
        + (f"there are: {there}" if there else "no request failed"),
        2,
    )


def _error_lines(service: "ServiceClient", batch: "Json") -> Iterator[bytes]:
    from batch_gateway.cli.batches.results import lines

    if (file := batch.get("error_file_id")) is not None:
        with service.stream(f"/files/{file}/content") as answer:
            yield from lines(answer.iter_bytes())
