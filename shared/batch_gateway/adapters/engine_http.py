"""Engine over HTTP: ``/v1/models`` of an OpenAI-compatible endpoint."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from batch_gateway.core.errors import Unavailable
from batch_gateway.ports.engine import Model

if TYPE_CHECKING:
    from httpx import AsyncClient

TIMEOUT = timedelta(seconds=2)
"""A client waits meanwhile, and has little use for the answer of a slow engine."""


class _Listed(msgspec.Struct):
    id: str
    created: int = 0
    owned_by: str = "engine"


class _List(msgspec.Struct):
    data: list[_Listed]


class HttpEngine:
    def __init__(
        self, base_url: str, headers: Mapping[str, str], *, timeout: timedelta = TIMEOUT
    ) -> None:
        """``base_url`` is without /v1; ``headers`` go with each request."""
        self._url = f"{base_url.rstrip('/')}/v1/models"
        self._headers = dict(headers)
        self._timeout_s = timeout.total_seconds()
        self._client: AsyncClient | None = None

    async def models(self) -> Sequence[Model]:
        import httpx  # slow to import: only those who ask pay for it

        if self._client is None:
            self._client = httpx.AsyncClient(headers=self._headers, trust_env=False)
        try:
            # httpx bounds each step; a server that trickles must not hold the caller either.
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.get(self._url, timeout=self._timeout_s)
            answer.raise_for_status()
            listed = msgspec.json.decode(answer.content, type=_List).data
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.MsgspecError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"engine {self._url}: {reason}") from error
        return [Model(id=each.id, created=each.created, owned_by=each.owned_by) for each in listed]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
