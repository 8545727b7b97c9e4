"""Engine over HTTP: ``/v1/models`` of the OpenAI-compatible endpoints."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from batch_gateway.adapters.tls import TlsContexts
from batch_gateway.core.engine_response import tolerant
from batch_gateway.core.engine_values import SHOWN, count, header
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.routing import ModelEndpoint
from batch_gateway.ports.engine import ServedModel
from batch_gateway.ports.routing import RouteProvider

logger = logging.getLogger(__name__)

_MOST_BYTES = 8 * 1024 * 1024
_MOST_MODELS = 10_000
TIMEOUT = timedelta(seconds=2)
"""A client waits meanwhile, and has little use for the answer of a slow engine."""


class _Listed(msgspec.Struct):
    id: Any = None
    created: Any = 0
    owned_by: Any = None


class _List(msgspec.Struct):
    data: list[msgspec.Raw]


_decode_list = tolerant(msgspec.json.Decoder(_List).decode)
_decode_listed = tolerant(msgspec.json.Decoder(_Listed).decode)


class HttpModelCatalog:
    def __init__(self, routes: RouteProvider, *, timeout: timedelta = TIMEOUT) -> None:
        """Asks the endpoints that serve any name, as ``routes`` has them at that moment."""
        self._routes = routes
        self._timeout_s = timeout.total_seconds()
        self._contexts = TlsContexts()

    async def models(self) -> Sequence[ServedModel]:
        """Those of all endpoints; one that is away hides only its own."""
        endpoints = self._routes.table.default
        asked = await asyncio.gather(*map(self._listed, endpoints), return_exceptions=True)
        found: dict[str, ServedModel] = {}
        for answer in asked:
            if isinstance(answer, Unavailable) and len(asked) > 1:
                logger.warning("%s", answer, extra={"action": "list_models"})
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found = {model.id: model for model in answer} | found
        return list(found.values())

    async def _listed(self, endpoint: ModelEndpoint) -> Sequence[ServedModel]:
        import aiohttp  # imported late, because it is slow

        url = f"{endpoint.url}/v1/models"
        try:
            async with asyncio.timeout(self._timeout_s):
                content = await self._content(endpoint, url)
            listed = _decode_list(content).data
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            reason = header(str(error), SHOWN) or type(error).__name__
            raise Unavailable(f"engine {url}: {reason}") from error
        return [model for each in listed[:_MOST_MODELS] if (model := _model(each)) is not None]

    async def _content(self, endpoint: ModelEndpoint, url: str) -> bytes:
        import aiohttp

        secured = self._contexts.to(url, endpoint.tls)
        headers = dict(self._routes.headers(endpoint))
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, headers=headers, allow_redirects=False, ssl=secured) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise ValueError(f"HTTP status {answer.status}")
            content = bytearray()
            async for chunk in answer.content.iter_any():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise ValueError(f"the list is longer than {_MOST_BYTES} bytes")
            return bytes(content)

    async def close(self) -> None:
        """Nothing is kept open: the list is asked for every few seconds at most."""


def _model(raw: msgspec.Raw) -> ServedModel | None:
    """An entry of a list; None: it names no model that a request could name."""
    try:
        listed = _decode_listed(raw)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    name, owner = listed.id, listed.owned_by
    if not isinstance(name, str) or not name or not name.isprintable():
        return None
    return ServedModel(
        id=name,
        created=count(listed.created),
        owned_by=(header(owner) if isinstance(owner, str) else None) or "engine",
    )
