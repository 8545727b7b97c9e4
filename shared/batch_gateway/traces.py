"""Tracing spans of the use cases, for OpenTelemetry.

Until ``record_with`` is called nothing is recorded: a span then is ``NOT_RECORDED`` or carries the
trace context of its parent on, and no package of OpenTelemetry is imported. ``adapters.otel`` has
the recorder that sends spans to a collector. A trace context is a text (``core.tracing``).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["internal", "server", "client", "consumer"]
Value = str | int | float | bool
Attributes = Mapping[str, Value]

BATCH_ID = "batch_gateway.batch.id"
TENANT = "batch_gateway.tenant"


class Span(Protocol):
    """A piece of work with a beginning and an end."""

    @property
    def context(self) -> str | None:
        """What its children and other processes get; None: there is no trace."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether it is sampled: what is set is kept."""
        ...

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None:
        """It has failed; ``error_type`` is one of few: a class of errors or a status."""
        ...

    def end(self) -> None:
        """Never raises and never waits. What is done after the first call changes nothing."""
        ...


class SpanRecorder(Protocol):
    def start(
        self, name: str, parent: str | None, *, kind: Kind, attributes: Attributes
    ) -> Span: ...


@dataclass(frozen=True, slots=True)
class UnrecordedSpan:
    """A span that is not recorded: its children are those of its parent."""

    context: str | None
    recorded: bool = False

    def set(self, attributes: Attributes) -> None:
        pass

    def fail(self, error_type: str) -> None:
        pass

    def end(self) -> None:
        pass


_recorder: SpanRecorder | None = None


def record_with(recorder: SpanRecorder | None) -> None:
    """Record the spans of this process with ``recorder``; None: record none."""
    global _recorder
    _recorder = recorder


def enabled() -> bool:
    return _recorder is not None


def start(
    name: str,
    parent: str | None,
    *,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
) -> Span:
    """Begin a span, which the caller ends; ``parent`` None: it begins a trace."""
    if _recorder is None:
        return UnrecordedSpan(parent)
    return _recorder.start(name, parent, kind=kind, attributes=attributes or {})


@contextmanager
def span(
    name: str,
    parent: str | None,
    *,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
) -> Iterator[Span]:
    """A span that lasts as long as the context; an exception makes it a failed one."""
    begun = start(name, parent, kind=kind, attributes=attributes)
    try:
        yield begun
    except BaseException as error:
        begun.fail(type(error).__qualname__)
        raise
    finally:
        begun.end()
