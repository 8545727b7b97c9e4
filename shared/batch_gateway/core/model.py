"""The main values (files, batches, shards, leases), and the state table of batches.

All are frozen; instants are aware UTC datetimes. ``None`` is explained where it can occur.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from batch_gateway.core.engine_values import total
from batch_gateway.core.ids import ActivationId, BatchId, FileId, ShardId, TenantId


class BatchStatus(StrEnum):
    """States of a batch, spelled as on OpenAI's wire."""

    VALIDATING = "validating"  # created; the planner reads its input
    FAILED = "failed"  # the input is invalid, or the work cannot be done
    IN_PROGRESS = "in_progress"  # planned; its shards are queued or worked on
    FINALIZING = "finalizing"  # no open shard is left; results are merged
    COMPLETED = "completed"  # every line has its result, also when that is an error
    EXPIRED = "expired"  # the deadline came first; what was finished is kept
    CANCELLING = "cancelling"  # a stop was requested; running calls are cancelled
    CANCELLED = "cancelled"  # stopped; what was finished is kept


S = BatchStatus

#: status -> the statuses that a batch may come from.
SOURCES: Mapping[BatchStatus, frozenset[BatchStatus]] = {
    S.IN_PROGRESS: frozenset({S.VALIDATING}),
    S.FAILED: frozenset({S.VALIDATING, S.IN_PROGRESS, S.FINALIZING, S.CANCELLING}),
    S.FINALIZING: frozenset({S.VALIDATING, S.IN_PROGRESS}),  # from validating: expired unplanned
    S.COMPLETED: frozenset({S.FINALIZING}),
    S.CANCELLING: frozenset({S.VALIDATING, S.IN_PROGRESS, S.FINALIZING}),
    S.CANCELLED: frozenset({S.CANCELLING}),
    S.EXPIRED: frozenset({S.FINALIZING}),
}

TERMINAL = frozenset({S.FAILED, S.COMPLETED, S.EXPIRED, S.CANCELLED})
OPEN = (S.VALIDATING, S.IN_PROGRESS, S.FINALIZING, S.CANCELLING)
#: In these the results are merged once no shard is open.
ASSEMBLED = frozenset({S.FINALIZING, S.CANCELLING})


class EndReason(StrEnum):
    """Why no more of a batch's lines are started. Durable; only cancel replaces expiry."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"


class BatchBlockedReason(StrEnum):
    """Why nothing of a batch is being worked on, as users read it."""

    PAUSED = "paused"  # by its owner
    OFF_PEAK = "off_peak"  # a calendar allows no calls now
    WAITING_FOR_MODEL = "waiting_for_model"
    ENDPOINT_UNAUTHORIZED = "endpoint_unauthorized"  # it refuses the deployment's credentials
    ENGINE_SATURATED = "engine_saturated"
    NO_SLOTS = "no_slots"
    STORAGE_FULL = "storage_full"  # what comes out of it could not be kept


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens as the engines reported them, summed over result lines; a sum ends at 2**63 - 1."""

    input_tokens: int = 0
    cached_tokens: int = 0  # part of input_tokens
    output_tokens: int = 0
    reasoning_tokens: int = 0  # part of output_tokens

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        return TokenUsage(
            input_tokens=total(self.input_tokens, other.input_tokens),
            cached_tokens=total(self.cached_tokens, other.cached_tokens),
            output_tokens=total(self.output_tokens, other.output_tokens),
            reasoning_tokens=total(self.reasoning_tokens, other.reasoning_tokens),
        )

    def at_least(self, other: "TokenUsage") -> "TokenUsage":
        """The greater of both in each of the amounts."""
        return TokenUsage(
            input_tokens=max(self.input_tokens, other.input_tokens),
            cached_tokens=max(self.cached_tokens, other.cached_tokens),
            output_tokens=max(self.output_tokens, other.output_tokens),
            reasoning_tokens=max(self.reasoning_tokens, other.reasoning_tokens),
        )

    def beyond(self, other: "TokenUsage") -> "TokenUsage":
        """What is more than in ``other``, whose amounts are all at most ours."""
        return TokenUsage(
            input_tokens=self.input_tokens - other.input_tokens,
            cached_tokens=self.cached_tokens - other.cached_tokens,
            output_tokens=self.output_tokens - other.output_tokens,
            reasoning_tokens=self.reasoning_tokens - other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCounts:
    """Request lines of a batch: all, answered with success, answered with an error."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTally:
    """What a set of result lines adds up to."""

    completed: int = 0
    failed: int = 0
    usage: TokenUsage = TokenUsage()
    statistics: str = ""
    """Encoded ``CallStatistics`` of these lines; "": there are none. Sums of tallies have none."""

    def __add__(self, other: "ResultTally") -> "ResultTally":
        return ResultTally(
            completed=self.completed + other.completed,
            failed=self.failed + other.failed,
            usage=self.usage + other.usage,
        )

    @property
    def lines(self) -> int:
        """Lines with a result; without any, a tally counts for nothing."""
        return self.completed + self.failed

    def at_least(self, other: "ResultTally") -> "ResultTally":
        """The greater of both in each of the amounts; the statistics of more lines."""
        newer = other.statistics and other.lines >= self.lines
        return ResultTally(
            completed=max(self.completed, other.completed),
            failed=max(self.failed, other.failed),
            usage=self.usage.at_least(other.usage),
            statistics=other.statistics if newer else self.statistics,
        )

    def beyond(self, other: "ResultTally") -> "ResultTally":
        """What is more than in ``other``, whose amounts are all at most ours."""
        return ResultTally(
            completed=self.completed - other.completed,
            failed=self.failed - other.failed,
            usage=self.usage.beyond(other.usage),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchError:
    """One entry of a batch's ``errors.data``; ``line`` is 1-based, None for the file as a whole."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An immutable blob with a name: uploaded, or made by a batch."""

    id: FileId
    tenant: TenantId
    purpose: str
    filename: str
    size: int  # bytes
    lines: int | None  # None: not counted (purpose is not batch)
    sha256: str  # hex digest of the content
    key: str  # of the blob in the FileStore
    created_at: datetime
    expires_at: datetime | None  # None: kept until deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One customer job."""

    id: BatchId
    tenant: TenantId
    status: BatchStatus
    endpoint: str  # path that every line names, such as /v1/chat/completions; * for any
    input_file_id: FileId
    completion_window: str  # as the client wrote it, such as 24h
    deadline: datetime  # expires_at on the wire
    created_at: datetime
    metadata: Mapping[str, str] | None = None
    output_expires_after_s: int | None = None  # None: the deployment's default
    priority: int = 5  # 0 (first) to 9 (last), within a tenant
    paused: bool = False
    model: str | None = None  # of the first request line; None until planned
    ending: EndReason | None = None  # None: lines may be started
    fence_at: datetime | None = None  # with an ending: from then on anyone closes open shards
    open_shards: int = 0
    counts: LineCounts = (
        LineCounts()
    )  # of results recorded for its shards while running; exact once ended
    usage: TokenUsage | None = None  # None until a line has been answered
    errors: tuple[BatchError, ...] = ()
    output_file_id: FileId | None = None  # None: no line succeeded (yet)
    error_file_id: FileId | None = None  # None: no line failed (yet)
    traceparent: str | None = None  # W3C trace context of the request that created it
    api_key: str | None = None  # id of the API key that created it; None: by other means
    sealed: str | None = field(default=None, repr=False)  # headers for its calls; None: none, ended
    options: Mapping[str, Any] = field(default_factory=dict)  # extensions, by name
    in_progress_at: datetime | None = None
    finalizing_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    expired_at: datetime | None = None
    cancelling_at: datetime | None = None
    cancelled_at: datetime | None = None
    # Live, never stored (``services.batches.completion_estimates``):
    estimated_completion_at: datetime | None = None  # None: not known, or not running
    blocked_reason: BatchBlockedReason | None = (
        None  # None: it progresses, is not running, or the reason is unknown
    )

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_dry(self) -> bool:
        """Nothing of it is to run."""
        return bool(self.options.get("dry_run"))

    @property
    def runs_once(self) -> bool:
        """Requests that are the same run once only."""
        return bool(self.options.get("deduplicate"))

    @property
    def skips_invalid(self) -> bool:
        """Lines that are invalid fail alone."""
        return self.options.get("on_invalid_line") == "skip"

    @property
    def assemblable(self) -> bool:
        """No shard is open any more and the results are not merged yet."""
        return self.open_shards == 0 and self.status in ASSEMBLED

    @property
    def status_since(self) -> datetime:
        """When it entered its present status."""
        if self.status is S.VALIDATING:
            return self.created_at
        entered: datetime = getattr(self, f"{self.status}_at")
        return entered

    def evolve(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPart:
    """Some result lines of one shard, stored once.

    The key names epoch, token and sequence, and ends with the beginning of the content's sha256,
    so a part can be verified from its key alone.
    """

    key: str
    lines: int


class ShardState(StrEnum):
    READY = "ready"  # waits for an executor
    LEASED = "leased"  # an executor works on it, or died doing so
    CLOSED = "closed"  # its parts are final


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A contiguous range of a batch's plan: the unit of work, lease and redelivery.

    ``epoch`` counts the claims; with ``token`` it identifies a holder among all. ``parts``
    is the accepted list: what is not in it is never read.
    """

    batch: BatchId
    index: int  # place in the plan, from 0
    model: str
    key: str  # of the shard's request lines in the FileStore; "" when there are none to send
    lines: int
    cost: int  # estimated tokens of all its lines
    state: ShardState = ShardState.READY
    epoch: int = 0
    token: str = ""
    holder: ActivationId | None = None  # None: not leased
    leased_at: datetime | None = None  # None: not leased
    parts: tuple[ResultPart, ...] = ()
    tally: ResultTally = ResultTally()  # as recorded last: part of its batch's counts; never falls

    @property
    def id(self) -> ShardId:
        return ShardId(f"{self.batch}.{self.index}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work one shard, as the database granted it, and what the holder must know."""

    shard: Shard  # with this lease's epoch, token and holder
    tenant: TenantId
    deadline: datetime
    priority: int
    options: Mapping[str, Any]
    traceparent: str | None
    sealed: str | None = field(default=None, repr=False)  # headers for its calls; None: none
    time_left: timedelta | None = field(default=None, compare=False)
    """Until the deadline, by the database's clock at the grant. None: not given."""
    batch: Batch | None = field(default=None, repr=False, compare=False)
    """The batch as it was at the grant. None: not given."""

    @classmethod
    def granted(cls, shard: Shard, batch: Batch, at: datetime) -> "Lease":
        """The lease of a shard of ``batch``, granted at ``at`` by the database's clock."""
        return cls(
            shard=shard,
            tenant=batch.tenant,
            deadline=batch.deadline,
            priority=batch.priority,
            options=batch.options,
            traceparent=batch.traceparent,
            sealed=batch.sealed,
            time_left=batch.deadline - at,
            batch=batch,
        )

    @property
    def ref(self) -> "LeaseRef":
        return LeaseRef(shard=self.shard.id, epoch=self.shard.epoch, token=self.shard.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRef:
    """Names one lease among all that a shard ever had."""

    shard: ShardId
    epoch: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """The data of a ready shard in the queue."""

    shard: ShardId
    tenant: TenantId
    model: str
    cost: int  # estimated tokens
    priority: int
    deadline: datetime
    urgent_after: datetime | None = None  # earliest deadline first from then on; None: not given
    urgent: bool = field(default=False, compare=False)  # was so when the queue proposed it


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedShard:
    """A shard was closed by this call; ``last`` when it was the batch's last open one."""

    batch: Batch
    last: bool
