"""Extensions of OpenAI's requests and responses, unless the mode is strict.

Extensions are ordinary fields next to OpenAI's own, so any client can send them.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.model import Batch, BatchBlockedReason, BatchStatus
from batch_gateway.ports.batches import BatchFilter
from batch_gateway.services.batches.actions import BatchUpdate
from batch_gateway.services.batches.retry import RetryRequest
from batch_gateway.services.batches.service import NewBatch
from batch_gateway.web.openai import (
    MADE_INPUT,
    BatchMetadata,
    BatchObject,
    CreateBatch,
    RequestModel,
    Text,
    fields_of,
    whole_seconds,
)
from batch_gateway.web.openai_usage import Amount, decimal_text
from batch_gateway.web.parsing import choice, integer

_MOST = 10**15
_LAST_SECOND = 253_402_300_000  # of the year 9999, about

Priority = Annotated[int, Field(ge=0, le=9)]
OnInvalidLine = Literal["fail", "skip"]


class ChainedInput(RequestModel):
    """The batch whose output this one is made of, and the template of the bodies."""

    batch_id: Annotated[Text, Field(min_length=1, max_length=256)]
    template: dict[str, Any]


class CreateExtendedBatch(CreateBatch):
    priority: Priority = 5
    on_invalid_line: OnInvalidLine = "fail"
    dry_run: bool = False
    max_errors: Annotated[int, Field(ge=0, le=_MOST)] | None = None
    max_error_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    max_total_tokens: Annotated[int, Field(ge=0, le=_MOST)] | None = None
    max_cost: Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)] | None = None
    deduplicate: bool = False
    after: ChainedInput | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_one_input(cls, given: Any) -> Any:
        """A batch that follows another gets its input file when that has completed."""
        if not isinstance(given, dict) or given.get("after") is None:
            return given
        if given.get("input_file_id") not in (None, ""):
            raise InvalidRequest(
                "Invalid 'after': a batch has either 'after' or an input of its own, not both.",
                param="after",
                code="invalid_value",
            )
        return {**given, "input_file_id": MADE_INPUT}

    def new_batch(self) -> NewBatch:
        options: dict[str, Any] = {
            "on_invalid_line": self.on_invalid_line,
            "dry_run": self.dry_run,
            "max_errors": self.max_errors,
            "max_error_rate": self.max_error_rate,
            "max_total_tokens": self.max_total_tokens,
            "max_cost": self.max_cost,
            "deduplicate": self.deduplicate,
        }
        if self.after is not None:
            options["after"] = self.after.model_dump()
        return replace(super().new_batch(), priority=self.priority, options=options)


class UpdateBatch(RequestModel):
    priority: Priority | None = None
    completion_window: str | None = None

    def changes(self) -> BatchUpdate:
        return BatchUpdate(priority=self.priority, completion_window=self.completion_window)


class RetryBatch(RequestModel):
    errors: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=64)]],
            Field(min_length=1, max_length=100),
        ]
        | None
    ) = None
    completion_window: str | None = None
    metadata: BatchMetadata | None = None

    def asked(self) -> RetryRequest:
        return RetryRequest(
            errors=self.errors,
            completion_window=self.completion_window,
            metadata=self.metadata,
            same_metadata="metadata" not in self.model_fields_set,
        )


class ExtendedBatchObject(BatchObject):
    priority: int
    paused: bool
    estimated_completion_at: int | None  # of running ones, as far as it is known
    blocked_reason: BatchBlockedReason | None  # why nothing of it is being worked on
    on_invalid_line: OnInvalidLine
    dry_run: bool
    estimated_tokens: dict[str, int] | None  # by model; of dry runs
    estimated_duration_s: int | None  # of dry runs; None: the models' speed is not known
    estimated_cost: Amount | None  # of dry runs; None: no model has a price
    max_errors: int | None
    max_error_rate: float | None
    max_total_tokens: int | None
    max_cost: float | None
    deduplicate: bool
    deduplicated: int | None  # requests that get another one's answer; None until planned
    saved_tokens: int | None  # that these would have used; None until the batch has ended
    retry_of: str | None
    after: str | None  # the batch whose output this one is made of
    carried_over: int | None  # requests whose answers are those of ``retry_of``; None until planned

    @classmethod
    def fields(cls, batch: Batch) -> dict[str, Any]:
        options = batch.options.get
        return {
            **fields_of(batch),
            "priority": batch.priority,
            "paused": batch.paused,
            "estimated_completion_at": whole_seconds(batch.estimated_completion_at),
            "blocked_reason": batch.blocked_reason,
            "on_invalid_line": options("on_invalid_line", "fail"),
            "dry_run": options("dry_run", False),
            "estimated_tokens": options("estimated_tokens"),
            "estimated_duration_s": options("estimated_duration_s"),
            "estimated_cost": _amount(options("estimated_cost")),
            "max_errors": options("max_errors"),
            "max_error_rate": options("max_error_rate"),
            "max_total_tokens": options("max_total_tokens"),
            "max_cost": options("max_cost"),
            "deduplicate": options("deduplicate", False),
            "deduplicated": options("deduplicated"),
            "saved_tokens": options("saved_tokens"),
            "retry_of": options("retry", {}).get("batch"),
            "after": options("after", {}).get("batch_id"),
            "carried_over": options("carried_over"),
        }


def _amount(stored: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if stored is None:
        return None
    return {"value": decimal_text(Decimal(stored["value"])), "currency": stored["currency"]}


class BatchDeleted(BaseModel):
    id: str
    object: Literal["batch"] = "batch"
    deleted: Literal[True] = True


class BatchRequestObject(BaseModel):
    """One request of a batch; ``result`` is its line of the output or error file."""

    object: Literal["batch.request"] = "batch.request"
    batch_id: str
    custom_id: str
    status: Literal["pending", "completed", "failed"]
    result: dict[str, Any] | None


def asked_filter(query: Mapping[str, str]) -> BatchFilter:
    """The filter in a listing's query. Raises InvalidRequest.

    Instants are whole seconds, and compare with the ``created_at`` that clients see.
    """
    status = None
    if "status" in query:
        status = BatchStatus(choice(query, "status", [s.value for s in BatchStatus], default=""))
    return BatchFilter(
        status=status,
        model=_text(query, "model"),
        metadata={
            name[len("metadata[") : -1]: _text(query, name) or ""
            for name in query
            if name.startswith("metadata[") and name.endswith("]") and "\x00" not in name
        },
        since=instant(query, "created_after", plus=1),
        before=instant(query, "created_before"),
    )


def _text(query: Mapping[str, str], name: str) -> str | None:
    """Text that a database can be asked for: none stores the character NUL."""
    text = query.get(name)
    if text is not None and "\x00" in text:
        raise InvalidRequest(f"Invalid '{name}'.", param=name, code="invalid_value")
    return text


def instant(query: Mapping[str, str], name: str, *, plus: int = 0) -> datetime | None:
    if name not in query:
        return None
    seconds = integer(query, name, default=0, minimum=0, maximum=_LAST_SECOND)
    return datetime.fromtimestamp(seconds + plus, UTC)
