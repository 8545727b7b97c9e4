"""A request line on its way through an executor, and the notes that outlive the executor."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch_gateway.core.lines import CallRecord, ShardLine, attempted, encode_part_line
from batch_gateway.services.execute.suspect_isolation import ACCUSED

if TYPE_CHECKING:
    from batch_gateway.services.execute.leased_shard import LeasedShard


@dataclass(slots=True, eq=False)
class LineInFlight:
    """A request line on its way."""

    shard: "LeasedShard"
    line: ShardLine
    attempts: int = 0  # that count against the line
    tries: int = 0  # in a row, of any kind: the pause grows with them
    trial: bool = False  # the present call tries out whether its endpoint is back
    failed_at: str | None = None  # the pool that others are preferred to; None: all are alike
    failed_until: float = 0.0  # loop.time() until when
    started_at: float = 0.0  # loop.time() of its present call
    failed_call_at: float | None = None  # loop.time() when a call was not answered last
    refused_at: float | None = None  # loop.time() when its credentials were refused last
    aborts: int = 0  # calls that were preempted because users waited
    aborting: bool = False  # the present call is being preempted
    cut: bool = False  # the end of the activation has ended its call
    deaths: int = 0  # of earlier workers while it was in flight
    noted: bool = False  # a stored note records that it may be in flight, so it may be started
    retries: dict[str, int] = field(default_factory=dict)  # failed attempts, by reason
    ended_calls: dict[str, int] = field(default_factory=dict)  # by the gateway, by reason

    def retried(self, reason: str) -> None:
        self.retries[reason] = self.retries.get(reason, 0) + 1

    def call_ended(self, reason: str) -> None:
        self.ended_calls[reason] = self.ended_calls.get(reason, 0) + 1

    @property
    def call(self) -> CallRecord | None:
        """The content of a note about the calls so far; None: it has none."""
        if not self.retries and not self.ended_calls:
            return None
        return CallRecord(0, retries=self.retries, aborts=self.ended_calls)

    def call_record(self, first_token_ms: int, now: float) -> CallRecord:
        """The record of the call that has ended ``now`` with the line's result."""
        return CallRecord(
            int(time.time()),
            round(1000 * (now - self.started_at)),
            first_token_ms,
            self.retries,
            self.ended_calls,
        )

    @property
    def accused(self) -> bool:
        """It runs only while nothing else is in flight."""
        return self.deaths >= ACCUSED

    def shuns(self, pool: str, now: float) -> bool:
        return pool == self.failed_at and now < self.failed_until


def note(work: LineInFlight) -> bytes:
    """That a line is not in flight, and what is known of it."""
    return encode_part_line(
        attempted(
            work.line.line, work.attempts, work.deaths, work.aborts, cut=work.cut, call=work.call
        )
    )


def starting(works: Iterable[LineInFlight]) -> list[bytes]:
    """Notes that are valid if the process dies before anything follows them."""
    return [
        encode_part_line(
            attempted(work.line.line, work.attempts, work.deaths + 1, work.aborts, call=work.call)
        )
        for work in works
    ]
