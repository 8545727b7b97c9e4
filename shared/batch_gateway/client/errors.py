"""Errors of the helpers, beyond the SDK's own.

ClientError
├── BatchFailed     a batch that ended without running: its input is wrong
└── RequestFailed   a request without a successful answer, where one was asked for
"""

from openai.types import Batch


class ClientError(Exception):
    """Base of this package's errors."""


class BatchFailed(ClientError):
    """A batch that failed; the message has the first errors with their lines."""

    def __init__(self, batch: Batch) -> None:
        errors = (batch.errors and batch.errors.data) or []
        told = "; ".join(
            f"line {error.line}: {error.message}" if error.line else str(error.message)
            for error in errors[:5]
        )
        more = f" and {len(errors) - 5} more errors" if len(errors) > 5 else ""
        super().__init__(f"{batch.id} failed: {told}{more}")
        self.batch = batch


class RequestFailed(ClientError):
    """``code`` is the error's code or HTTP status."""

    def __init__(self, custom_id: str, code: str, message: str) -> None:
        super().__init__(f"{custom_id}: {message} ({code})")
        self.custom_id = custom_id
        self.code = code
