"""The models that an inference engine serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that requests may name."""

    id: str  # may contain slashes
    created: int  # unix seconds; 0: unknown
    owned_by: str


class ModelCatalog(Protocol):
    async def models(self) -> Sequence[ServedModel]:
        """The models that are served now. Raises Unavailable, soon, when it cannot be read."""
        ...

    async def close(self) -> None: ...
