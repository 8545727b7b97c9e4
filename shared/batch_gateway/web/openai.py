"""OpenAI's request and response objects.

Answers always have all their keys, with null for what is not known: clients rely on it. Instants
are whole unix seconds. Unknown keys of a request are refused, so that a misspelt extension never
vanishes.

Clients poll batches many times a second, a hundred in a list. So a batch is answered as plain
values (``fields``), of which its class is only the description: building and validating an object
of it took longer than all the rest of the request.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny

from batch_gateway.core.ids import FileId
from batch_gateway.core.model import Batch, BatchError, File, TokenUsage
from batch_gateway.services.batches.service import NewBatch

# -- requests -------------------------------------------------------------------------------------


class RequestModel(BaseModel):
    """Base of request bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


#: No database stores the character NUL.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


BatchMetadata = Annotated[
    dict[Annotated[Text, Field(max_length=64)], Annotated[Text, Field(max_length=512)]],
    Field(max_length=16),
]


class ExpiresAfter(RequestModel):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


#: Stands for the input file's id where the service makes the file.
MADE_INPUT = "made"


class CreateBatch(RequestModel):
    input_file_id: Annotated[Text, Field(min_length=1, max_length=256)]
    endpoint: str
    completion_window: str
    metadata: BatchMetadata | None = None
    output_expires_after: ExpiresAfter | None = None

    def new_batch(self) -> NewBatch:
        expiry = self.output_expires_after
        return NewBatch(
            input_file_id=FileId(self.input_file_id),
            endpoint=self.endpoint,
            completion_window=self.completion_window,
            metadata=self.metadata,
            output_expires_after_s=None if expiry is None else expiry.seconds,
        )


# -- answers --------------------------------------------------------------------------------------


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"  # clients wait for it; nothing is left to process
    status_details: None = None

    @classmethod
    def of(cls, file: File) -> Self:
        return cls(
            id=file.id,
            bytes=file.size,
            created_at=int(file.created_at.timestamp()),
            expires_at=whole_seconds(file.expires_at),
            filename=file.filename,
            purpose=file.purpose,
        )


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class BatchErrorObject(BaseModel):
    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchErrorObject]


class RequestCounts(BaseModel):
    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    cached_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class BatchUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: TokenUsage) -> Self:
        return cls(**_usage(usage))


class BatchObject(BaseModel):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None

    @classmethod
    def fields(cls, batch: Batch) -> dict[str, Any]:
        """The values of an object of this class for ``batch``, in its order."""
        return fields_of(batch)


def fields_of(batch: Batch) -> dict[str, Any]:
    """The values of a ``BatchObject`` for ``batch``."""
    counts = batch.counts
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": _errors(batch.errors),
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status.value,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at.timestamp()),
        "in_progress_at": whole_seconds(batch.in_progress_at),
        "expires_at": int(batch.deadline.timestamp()),
        "finalizing_at": whole_seconds(batch.finalizing_at),
        "completed_at": whole_seconds(batch.completed_at),
        "failed_at": whole_seconds(batch.failed_at),
        "expired_at": whole_seconds(batch.expired_at),
        "cancelling_at": whole_seconds(batch.cancelling_at),
        "cancelled_at": whole_seconds(batch.cancelled_at),
        "request_counts": {
            "total": counts.total,
            "completed": counts.completed,
            "failed": counts.failed,
        },
        "usage": None if batch.usage is None else _usage(batch.usage),
        "metadata": None if batch.metadata is None else dict(batch.metadata),
    }


class HasId(Protocol):
    id: str


class ListObject(BaseModel):
    object: Literal["list"] = "list"
    data: Sequence[SerializeAsAny[BaseModel]]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, data: Sequence[HasId], *, more: bool) -> Self:
        return cls(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=more,
        )


def listed(data: Sequence[Mapping[str, Any]], *, more: bool) -> dict[str, Any]:
    """The values of a ``ListObject`` of plain values."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _errors(errors: Sequence[BatchError]) -> dict[str, Any] | None:
    if not errors:
        return None
    return {
        "object": "list",
        "data": [
            {
                "code": error.code,
                "message": error.message,
                "param": error.param,
                "line": error.line,
            }
            for error in errors
        ],
    }


def whole_seconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())
