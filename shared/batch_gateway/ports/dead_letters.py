"""Rows of dead letters."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from batch_gateway.core.dead_letters import DeadLetter


class DeadLetterRows(Protocol):
    async def put(self, letter: DeadLetter) -> None:
        """Add a letter, or replace the one with its id."""
        ...

    async def get(self, letter: str) -> DeadLetter | None: ...

    async def list(self, *, limit: int) -> Sequence[DeadLetter]:
        """The newest first (ties by id)."""
        ...

    async def drop(self, letter: str) -> bool:
        """Delete a letter; False when there is none."""
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` letters that died before ``before``; return how many."""
        ...

    async def keep(self, most: int) -> int:
        """Delete the oldest beyond ``most``; return how many."""
        ...
