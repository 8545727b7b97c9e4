"""Logs: one line per record, with the ids of the batch, shard or request.

A record carries fields from two places: ``extra={...}`` of the call, and whatever ``bound`` has
tied to the current context (a batch, a shard, a trace), so that code deep inside a use case need
not know whom it works for. Collectors get JSON; people get text.

Only our own modules and the server speak at the configured level. Third-party ones speak from
warning up: some of them write headers and bodies at debug, and neither belongs into a log.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from batch_gateway.settings import LogSettings

_bound: ContextVar[Mapping[str, object]] = ContextVar("batch_gateway_log", default={})  # noqa: B039 - never mutated

#: What every record has anyway; all other attributes came with ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add ``fields`` to every record of this context (and the tasks begun in it) until the end.

    A field that is None is left out.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    token = _bound.set({**_bound.get(), **given})
    try:
        yield
    finally:
        _bound.reset(token)


def configure(settings: LogSettings, *, service: str) -> None:
    """Send all records to stderr in the configured form; may be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(service) if settings.format == "json" else _Text(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    level = settings.level.upper()
    logging.getLogger("batch_gateway").setLevel(level)
    for name in ("uvicorn", "uvicorn.error"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
    # uvicorn writes an access log whenever this logger, or one that it propagates to, has handlers.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    logging.getLogger("uvicorn").setLevel(max(logging.getLevelName(level), logging.INFO))
    # It reports each malformed form; the response says so too, and a client may retry often.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {**_bound.get(), **given}


def _instant(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


class _Json(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            **_fields(record),
            "time": _instant(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "service": self._service,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _Text(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        said = _one_line(f"{record.getMessage()}{fields}")
        time = f"{_instant(record):%H:%M:%S.%f}"[:-3]
        line = f"{time} {record.levelname:<7} {self._service}: {said}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _one_line(said: str) -> str:
    """``said`` without what would begin another line, or steer a terminal: clients name paths."""
    if said.isprintable():
        return said
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in said)
