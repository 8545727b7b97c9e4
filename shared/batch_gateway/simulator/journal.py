"""Records the received requests, for tests."""

from collections import Counter, deque
from itertools import islice
from typing import Any

import msgspec

KEPT = 200_000
"""Entries that are kept; older ones are forgotten, so a long benchmark does not fill memory."""


class JournalEntry(msgspec.Struct, kw_only=True, gc=False):
    """One model request. Times are unix seconds."""

    n: int  # 1 for the first one
    path: str
    model: str | None = None  # None: the body was not readable
    request_id: str | None  # x-request-id of the request, None when absent
    headers: dict[str, str]  # those that start with x- or trace
    digest: str  # sha256 of the body
    arrived_at: float
    started_at: float | None = None  # None: never had a slot
    ended_at: float | None = None  # None: still open
    status: int | None = None  # None: no complete answer was sent
    fault: str | None = None  # None: none was injected
    usage: dict[str, Any] | None = None  # as the response has it; None: it had none
    first_token_ms: float | None = None  # from arrival in the engine; None: not generated
    aborted: bool = False  # the client hung up before the answer was complete


class RequestJournal:
    def __init__(self) -> None:
        self._entries: deque[JournalEntry] = deque(maxlen=KEPT)
        self.by_status: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.aborted = 0
        self.open = 0
        self.most_open = 0

    def arrived(
        self, *, path: str, headers: dict[str, str], digest: str, now: float
    ) -> JournalEntry:
        self.requests += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        entry = JournalEntry(
            n=self.requests,
            path=path,
            request_id=headers.get("x-request-id"),
            headers=headers,
            digest=digest,
            arrived_at=now,
        )
        self._entries.append(entry)
        return entry

    def ended(self, entry: JournalEntry, *, status: int | None, aborted: bool, now: float) -> None:
        """Note how a request ended; ``status`` None: without a complete answer."""
        entry.ended_at = now
        entry.status = status
        entry.aborted = aborted
        self.open -= 1
        self.aborted += aborted
        if entry.fault is not None:
            self.faults[entry.fault] += 1
        if status is not None:
            self.by_status[status] += 1

    def since(self, n: int) -> list[JournalEntry]:
        """Entries with numbers above ``n``, oldest first."""
        forgotten = self.requests - len(self._entries)
        return list(islice(self._entries, max(0, n - forgotten), None))
