"""The resources under ``/console``. Files are read when they are asked for, never at the start.

The Content-Security-Policy allows the page only its own scripts, and requests only to its origin
and to the token endpoint of a configured identity provider.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from starlette.responses import Response

from batch_gateway.core.ids import TenantId
from batch_gateway.settings import ApiSettings, AuthSettings
from batch_gateway.web.api.docs import CachedPage
from batch_gateway.web.api.routing import ApiRequest, Handler, HttpResource, no_such_url
from batch_gateway.web.auth import SingleTenantAuthenticator

STATIC = Path(__file__).parent / "static"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def console(api: ApiSettings, auth: AuthSettings) -> list[HttpResource]:
    """The resources of the console; none when ``api.console`` is false."""
    if not api.console:
        return []
    everybody = SingleTenantAuthenticator(TenantId("anybody"))
    handlers: Mapping[str, Handler] = {
        "/console": _to_folder,
        "/console/config.json": _configured(json.dumps(_configuration(api, auth)).encode()),
        "/console/{file:path}": _Files(_policy(auth)),
    }
    return [HttpResource(path, {"GET": handler}, everybody) for path, handler in handlers.items()]


async def _to_folder(_call: ApiRequest) -> Response:
    """A relative target, so that a proxy may serve the API below a path of its own."""
    return Response(None, 307, {"Location": "console/"})


def _configured(content: bytes) -> Handler:
    async def show(_call: ApiRequest) -> Response:
        return Response(content, 200, {"Cache-Control": "no-store"}, "application/json")

    return show


class _Files:
    """Each file of the folder, read when it is first asked for."""

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._pages: dict[str, CachedPage] = {}

    async def __call__(self, call: ApiRequest) -> Response:
        name = call.request.path_params["file"] or "index.html"
        page = self._pages.get(name)
        if page is None:
            file = STATIC / name
            # Names are those of the folder, so no path leads out of it.
            if file.suffix not in _MEDIA_TYPES or name not in _names():
                raise no_such_url(call.request.scope)
            page = CachedPage(file.read_bytes, _MEDIA_TYPES[file.suffix], self._policy)
            self._pages[name] = page
        return await page(call)


def _names() -> frozenset[str]:
    return frozenset(
        file.relative_to(STATIC).as_posix() for file in STATIC.rglob("*") if file.is_file()
    )


def _policy(auth: AuthSettings) -> str:
    sources = ["'self'"]
    if auth.oidc_token_url and auth.kind == "oidc":
        url = urlsplit(auth.oidc_token_url)
        sources.append(f"{url.scheme}://{url.netloc}")
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"connect-src {' '.join(sources)}; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def _configuration(api: ApiSettings, auth: AuthSettings) -> dict[str, object]:
    """What the page must know before the sign-in."""
    return {
        "auth": auth.kind,
        "mode": api.mode,
        "max_file_bytes": api.max_file_bytes,
        "oidc": {
            "client_id": auth.oidc_client_id,
            "authorization_url": auth.oidc_authorization_url,
            "token_url": auth.oidc_token_url,
            "scope": auth.oidc_scope,
            "token": auth.oidc_console_token,
        }
        if auth.kind == "oidc" and auth.oidc_client_id
        else None,
    }
