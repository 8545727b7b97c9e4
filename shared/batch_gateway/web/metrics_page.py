"""``/metrics``: counters of this process, and on the API the state of the whole service.

It names tenants and models, and the API is reached from outside. So it requires a separate token;
without one it is open only where nothing is public: to functions that only the cluster reaches, and
without an authenticator, which is allowed on the loopback interface only. There web pages may not
read it, as they may not use the API.

Probes tell no more than whether the process is well, and other functions take signed events only,
so neither looks at Host and Origin.
"""

import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from batch_gateway.services.state_snapshot import StateReader
from batch_gateway.web import metrics
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.state_metrics import rendered

PATH = "/metrics"


class MetricsPage:
    def __init__(
        self,
        *,
        token: str | None = None,
        public: bool = False,
        state_reader: StateReader | None = None,
        tenants: int = 0,
        refuse: Callable[[Headers], None] | None = None,
    ) -> None:
        """Without a ``token`` the page is open unless ``public``. ``refuse`` raises ApiError for
        requests that an open page does not answer; None: it answers all.

        ``observatory`` None: only the process's counters.
        """
        self._token = token
        self._public = public
        self._state_reader = state_reader
        self._tenants = tenants
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        response = self._refusal(headers) or await self._page(headers)
        await response(scope, receive, send)

    async def _page(self, headers: Headers) -> Response:
        # The state is told in the text format: a gauge and a counter of ours have the same name
        # but for the _total, which OpenMetrics does not allow.
        accept = headers.get("accept", "") if self._state_reader is None else ""
        content, media_type = metrics.page(accept)
        if self._state_reader is not None:
            content += rendered(await self._state_reader.state(), tenants=self._tenants)
        return Response(content, media_type=media_type)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._token is None:
            if self._public:
                return PlainTextResponse("metrics.token is not set\n", 403)
            return self._refused_by_rule(headers)
        given = headers.get("authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return None
        challenge = {"WWW-Authenticate": "Bearer"}
        return PlainTextResponse("the token of metrics.token is needed\n", 401, challenge)

    def _refused_by_rule(self, headers: Headers) -> Response | None:
        if self._refuse is None:
            return None
        try:
            self._refuse(headers)
        except ApiError as error:
            return PlainTextResponse(f"{error}\n", error.status)
        return None


def with_metrics(app: ASGIApp, page: MetricsPage) -> ASGIApp:
    """``app``, with ``/metrics`` answered before it."""

    async def measured(scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"] == PATH
        if asked and scope["method"] in ("GET", "HEAD"):
            await page(scope, receive, send)
        else:
            await app(scope, receive, send)

    return measured
