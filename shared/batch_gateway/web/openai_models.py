"""OpenAI's model objects."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel

from batch_gateway.ports.engine import ServedModel


class ModelObject(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: None = None  # engines do not announce when they stop serving it

    @classmethod
    def of(cls, model: ServedModel) -> Self:
        return cls(id=model.id, created=model.created, owned_by=model.owned_by)


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: Sequence[ModelObject]
