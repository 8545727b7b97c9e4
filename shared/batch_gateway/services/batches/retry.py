"""Creates a batch that runs the failed requests of an ended batch again.

The new batch has the old one's input, takes its answers over while it is planned
(``plan.carry``) and is like any other from there on, so its files hold all answers, old and
new, in input order. The old batch stays as it is. What the new one needs to know of it is written
into it at once: the old row may be deleted, only its files have to be there until the new batch is
planned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from batch_gateway.core.errors import Conflict, InvalidRequest
from batch_gateway.core.ids import BatchId, FileId, TenantId
from batch_gateway.core.model import Batch
from batch_gateway.ports.clock import Clock
from batch_gateway.ports.metadata import MetadataStore
from batch_gateway.services.batches.service import BatchService, NewBatch
from batch_gateway.services.plan.reused_results import RetryOrigin

#: Options with results of a batch or with its origin; a retry does not copy them.
_FINDINGS = (
    "cause",
    "estimated_tokens",
    "estimated_duration_s",
    "estimated_cost",
    "carried_over",
    "deduplicated",
    "saved_tokens",
    "retry",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequest:
    """How the new batch shall differ; None: as the old one."""

    errors: Sequence[str] | None = None  # words of the errors to retry; None: all of them
    completion_window: str | None = None
    metadata: Mapping[str, str] | None = None
    same_metadata: bool = True  # ``metadata`` does not count then
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # of its calls
    api_key: str | None = None  # id of the request's API key; None: another kind of authentication


class BatchRetries:
    def __init__(self, batches: BatchService, metadata: MetadataStore, clock: Clock) -> None:
        self._batches = batches
        self._metadata = metadata
        self._clock = clock

    async def retry(
        self,
        tenant: TenantId,
        batch: BatchId,
        asked: RetryRequest,
        *,
        traceparent: str | None,
        seed: bytes | None = None,
    ) -> Batch | None:
        """The new batch; None when the tenant has no such batch.

        Raises Conflict when it has not ended, and InvalidRequest when there is nothing to retry or
        a file that it takes is gone.
        """
        old = await self._metadata.batches.get(tenant, batch)
        if old is None:
            return None
        await self._check(old, asked)
        options = {name: value for name, value in old.options.items() if name not in _FINDINGS}
        new = NewBatch(
            input_file_id=old.input_file_id,
            endpoint=old.endpoint,
            completion_window=asked.completion_window or old.completion_window,
            metadata=old.metadata if asked.same_metadata else asked.metadata,
            output_expires_after_s=old.output_expires_after_s,
            priority=old.priority,
            options={**options, "retry": asdict(_origin(old, asked))},
            headers=asked.headers,
            api_key=asked.api_key,
        )
        return await self._batches.create(tenant, new, traceparent=traceparent, seed=seed)

    async def _check(self, old: Batch, asked: RetryRequest) -> None:
        if not old.terminal:
            raise Conflict(f"Cannot retry a batch with status '{old.status}'.")
        if old.is_dry:
            raise _nothing("it was a dry run.")
        if 0 < old.counts.total <= old.counts.completed:
            raise _nothing("all its requests have succeeded.")
        await self._check_file(old, old.input_file_id, "input")
        origin = _origin(old, asked)
        await self._check_file(old, origin.output_file_id, "output")
        await self._check_file(old, origin.error_file_id, "error")

    async def _check_file(self, old: Batch, name: str | None, kind: str) -> None:
        if name is None:
            return
        file = await self._metadata.files.get(old.tenant, FileId(name))
        if file is None or (file.expires_at and file.expires_at <= self._clock.now()):
            raise InvalidRequest(
                f"Cannot retry batch '{old.id}': its {kind} file '{name}' was deleted or has "
                "expired.",
                param=f"{kind}_file_id",
                code="file_gone",
            )


def _origin(old: Batch, asked: RetryRequest) -> RetryOrigin:
    """What the new batch takes over.

    A retry that ended before it was planned has taken nothing over yet: its own origin continues.
    """
    before = RetryOrigin.of(old.options)
    inherited = before if before and "carried_over" not in old.options else None
    origin = RetryOrigin(
        batch=old.id,
        output_file_id=inherited.output_file_id if inherited else old.output_file_id,
        error_file_id=inherited.error_file_id if inherited else None,
        errors=inherited.errors if inherited else [],
    )
    if asked.errors is None:
        return origin
    return replace(origin, error_file_id=old.error_file_id, errors=list(asked.errors))


def _nothing(why: str) -> InvalidRequest:
    return InvalidRequest(f"There is nothing to retry: {why}", code="nothing_to_retry")
