"""ObjectReader: reads objects of external stores that become input files."""

from collections.abc import AsyncIterator
from typing import Protocol


class ObjectReader(Protocol):
    def read(self, uri: str) -> AsyncIterator[bytes]:
        """Yield the object in chunks of at most 1 MiB.

        On the first chunk raises NotFound, InvalidRequest for a URI that can name none, or
        Unavailable.
        """
        ...

    async def close(self) -> None: ...
