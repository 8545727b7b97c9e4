"""Which instances of functions run, on the coordination store.

All methods raise Unavailable when the server does not answer. All times are the server's own.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from batch_gateway.core.function_instances import FunctionInstance


class FunctionInstances(Protocol):
    """Processes of functions: those that run, and those that ended within the last hour."""

    async def report(
        self, function: str, instance: str, *, started_at: datetime | None, lifetime: timedelta
    ) -> datetime:
        """Count ``instance`` as running for ``lifetime`` from now on; when it started.

        ``started_at``: what its first report returned; None: this is the first. Neither name has
        spaces.
        """
        ...

    async def leave(self, function: str, instance: str, *, started_at: datetime) -> None:
        """It ends now."""
        ...

    async def list(self) -> Sequence[FunctionInstance]:
        """In no particular order; of very many, those that ended last."""
        ...
