"""Middleware of all requests: ids, timing, traces, metrics, log line, error format."""

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batch_gateway import log, traces
from batch_gateway.core import tracing
from batch_gateway.web import metrics
from batch_gateway.web.api.routing import HttpResource
from batch_gateway.web.body import ClientDisconnected
from batch_gateway.web.envelope import as_api_error

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_SERVER_ERROR = 500
_GONE = 499  # nginx' number for a client that did not wait


#: Paths by which batches are created -> their template.
_CREATING = re.compile(r"/v1/batches(/[^/]+/retry)?")


class RequestScope:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(16)}"
        trace = tracing.valid(headers.get("traceparent"), headers.get("tracestate"))
        self._span = _span(scope, trace)
        self.traceparent = self._span.context or tracing.fresh(secrets.token_bytes(24))
        self.status = 0  # 0: not answered yet
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    @property
    def route(self) -> str:
        """The path's template, so that metrics have few labels."""
        endpoint = self._scope.get("endpoint")
        return endpoint.path if isinstance(endpoint, HttpResource) else "unknown"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            headers["openai-processing-ms"] = str(round(self.elapsed_s * 1000))
            headers["openai-version"] = "2020-10-01"
        await self._send(message)

    def close(self) -> None:
        """Count the request, log how it ended, and end its span."""
        method = self._scope["method"]
        self._span.set({"http.response.status_code": self.status})
        if self.status >= _SERVER_ERROR:
            self._span.fail(str(self.status))
        self._span.end()
        metrics.REQUESTS.labels(method, self.route, str(self.status)).inc()
        metrics.REQUEST_SECONDS.labels(method, self.route).observe(self.elapsed_s)
        logger.info(
            "%s %s: %d",
            method,
            self._scope["path"],
            self.status,
            extra={"action": "request", "status": self.status, "ms": round(self.elapsed_s * 1000)},
        )


def _span(scope: Scope, given: str | None) -> traces.Span:
    """The span of a request that creates a batch; other requests have none."""
    path = _CREATING.fullmatch(scope["path"])
    if not traces.enabled() or scope["method"] != "POST" or path is None:
        return traces.UnrecordedSpan(given)
    route = "/v1/batches/{batch_id}/retry" if path[1] else "/v1/batches"
    about = {"http.request.method": "POST", "http.route": route}
    return traces.start(f"POST {route}", given, kind="server", attributes=about)


def with_request_scope(app: ASGIApp) -> ASGIApp:
    """``app``, whose exceptions become answers. Nothing is raised to the server."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = RequestScope(scope, send)
        scope["traceparent"] = exchange.traceparent
        trace = tracing.trace_id(exchange.traceparent)
        with (
            metrics.REQUESTS_OPEN.track_inprogress(),
            log.bound(request_id=exchange.request_id, trace_id=trace),
        ):
            try:
                await app(scope, receive, exchange.send)
            except ClientDisconnected:
                exchange.status = _GONE
            except Exception as error:  # noqa: BLE001 - logged there unless it is the client's fault
                await _answer_error(exchange, error, scope, receive)
            finally:
                exchange.close()

    return outer


async def _answer_error(
    exchange: RequestScope, error: Exception, scope: Scope, receive: Receive
) -> None:
    if exchange.status:
        # Part of the answer is out. Ending here makes the server cut the connection, which tells
        # the client that its answer is not whole.
        logger.error(
            "A response was aborted by an unexpected error",
            exc_info=error,
            extra={"action": "cut_off"},
        )
        return
    await as_api_error(error).response()(scope, receive, exchange.send)
