"""What clients may ask and see beyond OpenAI's wire, unless the mode is strict.

Extensions are ordinary fields next to OpenAI's own, so any client can send them.
"""

from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field

from batch_gateway.core.model import Batch
from batch_gateway.services.batches import NewBatch
from batch_gateway.services.steering import Changes
from batch_gateway.web.openai import Asked, BatchObject, CreateBatch

Priority = Annotated[int, Field(ge=0, le=9)]


class CreateExtendedBatch(CreateBatch):
    priority: Priority = 5

    def new_batch(self) -> NewBatch:
        return replace(super().new_batch(), priority=self.priority)


class UpdateBatch(Asked):
    priority: Priority | None = None
    completion_window: str | None = None

    def changes(self) -> Changes:
        return Changes(priority=self.priority, completion_window=self.completion_window)


class ExtendedBatchObject(BatchObject):
    priority: int
    paused: bool

    @classmethod
    def of(cls, batch: Batch) -> Self:
        standard = dict(BatchObject.of(batch))
        return cls(**standard, priority=batch.priority, paused=batch.paused)
