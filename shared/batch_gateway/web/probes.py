"""What every function answers beside its work: ``/healthz`` and ``/readyz``.

Alive and ready differ: a function whose database is away must not be restarted (that would not
help), but should get no requests.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from batch_gateway.core.errors import BatchGatewayError

logger = logging.getLogger(__name__)

#: Raises an error whose message names the dependency that does not answer.
Ready = Callable[[], Awaitable[None]]

#: A dependency that says nothing for so long, in seconds, is as good as away.
PATIENCE_S = 5.0


def with_probes(app: ASGIApp, ready: Ready) -> ASGIApp:
    """``app``, with both paths answered before it."""

    async def probed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            probe = _PROBES.get(scope["path"])
            if probe is not None:
                response = await probe(ready)
                await response(scope, receive, send)
                return
        await app(scope, receive, send)

    return probed


async def _healthz(_ready: Ready) -> Response:
    return JSONResponse({"status": "alive"})


async def _readyz(ready: Ready) -> Response:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ready()
    except BatchGatewayError as error:
        return _not_ready(str(error))
    except TimeoutError:
        return _not_ready(f"a dependency has not answered for {PATIENCE_S:g} s")
    return JSONResponse({"status": "ready"})


def _not_ready(reason: str) -> Response:
    logger.warning("Not ready: %s", reason, extra={"action": "not_ready"})
    return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)


_PROBES: dict[str, Callable[[Ready], Awaitable[Response]]] = {
    "/healthz": _healthz,
    "/readyz": _readyz,
}
