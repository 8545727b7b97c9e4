"""Errors whose type is the retry decision.

    BatchGatewayError
    ├── Temporary             try again later: an event is delivered again, the API answers 503
    │   ├── Unavailable       a server that we need does not answer
    │   │   └── StorageFull   it answers that its disk, memory or quota is full
    │   └── Busy              another process is working on it now
    └── Permanent             the same input fails for ever: an event is answered 400
        ├── InvalidRequest    the client's fault; becomes OpenAI's error envelope
        ├── NotFound          no such thing, or another tenant's
        ├── Conflict          not allowed in the present state
        ├── OverQuota         the tenant would exceed a quota
        └── Corrupt           stored bytes are not what was recorded
            └── CorruptRow    a row of the database cannot be decoded

Drivers' exceptions are translated in the adapters (``raise ... from``). Losing a race is not an
error but a value: ``None`` or ``False``.
"""

from batch_gateway.core.excerpts import excerpt

LONGEST_MESSAGE = 2000  # characters of an error message for a client
LONGEST_PARAM = 300


class BatchGatewayError(Exception):
    """Base of all errors of the Batch Gateway."""


class Temporary(BatchGatewayError):
    """Try again later."""


class Unavailable(Temporary):
    """A server that we need does not answer."""


class StorageFull(Unavailable):
    """A store takes no more bytes: its disk, its memory or its quota is full.

    It is Unavailable for what writes: nothing is wrong with the request, and it succeeds once there
    is room.
    """


class Busy(Temporary):
    """Another process is working on the same item now."""


class Permanent(BatchGatewayError):
    """Trying again would fail in the same way."""


class InvalidRequest(Permanent):
    """The client's request is wrong.

    ``message``, ``param`` and ``code`` are those of OpenAI's error object. Both texts are bounded,
    whatever part of the request they repeat.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        self.message = excerpt(message, LONGEST_MESSAGE)
        super().__init__(self.message)
        self.param = None if param is None else excerpt(param, LONGEST_PARAM)
        self.code = code


class NotFound(Permanent):
    """There is no such thing, or it belongs to another tenant."""


class Conflict(Permanent):
    """Not allowed in the present state."""


class OverQuota(Permanent):
    """The tenant would exceed a quota: ``limit`` is the maximum of ``name`` (``Quotas``)."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(f"the quota of {limit} {name} is exceeded")
        self.name = name
        self.limit = limit


class Corrupt(Permanent):
    """Stored bytes are missing or differ from what was recorded."""


class CorruptRow(Corrupt):
    """A row of the database cannot be decoded. ``kind`` is batch, shard or another entity."""

    def __init__(self, kind: str, id_: str, reason: str) -> None:
        self.kind = kind
        self.id = excerpt(id_, LONGEST_PARAM)
        self.reason = excerpt(reason, LONGEST_PARAM)
        super().__init__(f"the database row of {kind} {self.id} cannot be decoded: {self.reason}")
