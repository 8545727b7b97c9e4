"""``/healthz`` and ``/readyz`` of every function.

Alive and ready differ: a function whose database is away must not be restarted (that would not
help), but should get no requests.
"""

import logging
from collections.abc import Awaitable, Callable

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from batch_gateway.core.errors import BatchGatewayError

logger = logging.getLogger(__name__)

#: Raises an error whose message names the dependency that does not answer.
Ready = Callable[[], Awaitable[None]]


def with_probes(app: ASGIApp, ready: Ready) -> ASGIApp:
    """``app``, with both paths answered before it."""

    async def probed(scope: Scope, receive: Receive, send: Send) -> None:
        if is_probe(scope):
            response = await _PROBES[scope["path"]](ready)
            await response(scope, receive, send)
        else:
            await app(scope, receive, send)

    return probed


def is_probe(scope: Scope) -> bool:
    return (
        scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in _PROBES
    )


async def _healthz(_ready: Ready) -> Response:
    return JSONResponse({"status": "alive"})


async def _readyz(ready: Ready) -> Response:
    try:
        await ready()
    except BatchGatewayError as error:
        return _not_ready(str(error))
    return JSONResponse({"status": "ready"})


def _not_ready(reason: str) -> Response:
    logger.warning("Not ready: %s", reason, extra={"action": "not_ready"})
    return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)


_PROBES: dict[str, Callable[[Ready], Awaitable[Response]]] = {
    "/healthz": _healthz,
    "/readyz": _readyz,
}
