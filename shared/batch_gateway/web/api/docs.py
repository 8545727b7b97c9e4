"""``/openapi.json``, and the reference page ``/docs``.

``/docs`` is Swagger UI from its wheel: the browser sends requests to no other host, and the page's
policy would not let it. ``/docs/plain`` has the same content in tables, without scripts. All is
made at the first request for it: a start of the api reads no schema. None of it contains users'
data, so it requires no key.
"""

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.responses import Response

from batch_gateway.core.ids import TenantId
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, HttpResource
from batch_gateway.web.auth import SingleTenantAuthenticator

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLED = f"{_NOTHING}; style-src 'unsafe-inline'"
_SWAGGER = (
    f"{_NOTHING}; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'"
)

_SWAGGER_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Batch Gateway: API reference</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<noscript>This page needs JavaScript. <a href="/docs/plain">The same without it.</a></noscript>
<div id="reference"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""

_START = """"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""

#: File of Swagger UI -> its media type.
_ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}


def docs(routes: HandlersByPath, *, strict: bool, console: bool) -> list[HttpResource]:
    """The resources that describe ``routes``: for machines, for people, and for a first look.

    ``console``: whether there is a web console to lead to.
    """

    def described() -> dict[str, Any]:
        from batch_gateway.web.api.openapi import document  # costs a start more than it may

        return document(routes, strict=strict)

    def openapi() -> bytes:
        return json.dumps(described(), ensure_ascii=False, separators=(",", ":")).encode()

    def tables() -> bytes:
        from batch_gateway.web.api.tables import page

        return page(described()).encode()

    def front() -> bytes:
        from batch_gateway.web.api.tables import front_page

        return front_page(console=console).encode()

    html, script = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
    pages = {
        "/openapi.json": CachedPage(openapi, "application/json"),
        "/docs": CachedPage(_SWAGGER_PAGE.encode, html, policy=_SWAGGER),
        "/docs/plain": CachedPage(tables, html, policy=_STYLED),
        "/docs/start.js": CachedPage(_START.encode, script),
        **{f"/docs/{name}": CachedPage(_asset(name), kind) for name, kind in _ASSETS.items()},
        "/": CachedPage(front, html, policy=_STYLED),
        "/v1": CachedPage(front, html, policy=_STYLED),
    }
    anybody = SingleTenantAuthenticator(TenantId("anybody"))
    return [HttpResource(path, {"GET": page}, anybody) for path, page in pages.items()]


def _asset(name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        found = find_spec("flask_swagger_ui")  # its files only: the package is never imported
        if found is None or found.origin is None:
            raise FileNotFoundError("the package flask-swagger-ui is not installed")
        return (Path(found.origin).parent / "dist" / name).read_bytes()

    return read


class CachedPage:
    """One body, made at the first request for it, and sent compressed to clients that take it."""

    def __init__(self, make: Callable[[], bytes], media_type: str, policy: str = _NOTHING) -> None:
        """``policy``: what a browser may load for it."""
        self._make = make
        self._headers = {
            "Content-Type": media_type,
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",  # revalidates each time
            "Vary": "Accept-Encoding",
        }
        self._made: tuple[bytes, bytes, str] | None = None

    async def __call__(self, call: ApiRequest) -> Response:
        if self._made is None:
            self._made = await asyncio.to_thread(self._complete)
        plain, compressed, etag = self._made
        asked = call.request.headers
        headers = {**self._headers, "ETag": etag}
        if etag in asked.get("if-none-match", ""):
            return Response(None, 304, headers)
        if _takes_gzip(asked):
            return Response(compressed, headers={**headers, "Content-Encoding": "gzip"})
        return Response(plain, headers=headers)

    def _complete(self) -> tuple[bytes, bytes, str]:
        plain = self._make()
        etag = f'W/"{hashlib.sha256(plain).hexdigest()[:32]}"'
        return plain, gzip.compress(plain, 6, mtime=0), etag


def _takes_gzip(headers: Mapping[str, str]) -> bool:
    for offered in headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = offered.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0")
    return False
