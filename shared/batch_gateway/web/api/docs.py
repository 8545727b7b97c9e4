"""``/openapi.json``, and the same as a page that people can read: ``/docs``.

Both say nothing about anybody's data, so everybody may see them.
"""

import json
from html import escape
from typing import Any

from starlette.responses import HTMLResponse, Response

from batch_gateway.core.ids import TenantId
from batch_gateway.web.api.openapi import document
from batch_gateway.web.api.routing import Call, Handler, Resource, Routes
from batch_gateway.web.auth import Everybody

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #8881; padding: 1rem; overflow-x: auto }
summary { cursor: pointer; padding: .4rem 0; border-bottom: 1px solid #8884 }
summary b { display: inline-block; width: 5rem }
"""


def docs(routes: Routes, *, strict: bool) -> list[Resource]:
    """The resources that describe ``routes``: for machines, for people, and for a first look."""
    described = document(routes, strict=strict)
    pages: dict[str, Handler] = {
        "/openapi.json": _page(Response(json.dumps(described), media_type="application/json")),
        "/docs": _page(HTMLResponse(page(described))),
        "/": _page(HTMLResponse(front_page(described))),
        "/v1": _page(HTMLResponse(front_page(described))),
    }
    anybody = Everybody(TenantId("anybody"))
    return [Resource(path, {"GET": handler}, anybody) for path, handler in pages.items()]


def _page(response: Response) -> Handler:
    async def show(_call: Call) -> Response:
        return response

    return show


def front_page(described: dict[str, Any]) -> str:
    """What a browser shows of the clients' base URL: what this is, and where to read on."""
    title = escape(described["info"]["title"])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        "<p>An OpenAI-compatible batch service for self-hosted LLM inference. Clients use this URL "
        "with the path <code>/v1</code> as their base URL.</p>"
        '<p><a href="/docs">API reference</a>, <a href="/openapi.json">openapi.json</a></p></html>'
    )


def page(described: dict[str, Any]) -> str:
    """The document as HTML that needs nothing else."""
    info = described["info"]
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        f'<details id="{escape(name)}"><summary>{escape(name)}</summary>{_code(schema)}</details>'
        for name, schema in described["components"]["schemas"].items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])} "
        'The same for machines: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<h2>Routes</h2>{operations}<h2>Objects</h2>{schemas}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    details = {name: part for name, part in operation.items() if name != "summary" and part}
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary>{_code(details)}</details>"
    )


def _code(schema: dict[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
