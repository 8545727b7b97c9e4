"""The API's OpenAPI document as a page of tables that needs no script, and the front page."""

import json
import re
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #8881; padding: 1rem; overflow-x: auto }
summary { cursor: pointer; padding: .4rem 0; border-bottom: 1px solid #8884 }
summary b { display: inline-block; width: 5rem }
table { border-collapse: collapse; margin: .5rem 0 1rem; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0 }
td { border-top: 1px solid #8883; overflow-wrap: anywhere }
"""

_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "minLength": "characters at least",
    "maxLength": "characters at most",
    "minItems": "entries at least",
    "maxItems": "entries at most",
    "default": "default",
}


def front_page(*, console: bool) -> str:
    """What a browser shows of the clients' base URL: what this is, and where to read on."""
    title = "Batch Gateway"
    link = '<a href="/console/">Web console</a>, ' if console else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        "<p>An OpenAI-compatible batch service for self-hosted LLM inference. Clients use this URL "
        "with the path <code>/v1</code> as their base URL.</p>"
        f'<p>{link}<a href="/docs">API reference</a>, '
        '<a href="/openapi.json">openapi.json</a></p></html>'
    )


def page(described: dict[str, Any]) -> str:
    """The document as a reference page that needs nothing else: routes by tag, then objects."""
    info = described["info"]
    routes = "".join(_tag(tag, described["paths"]) for tag in described["tags"])
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{_text(schema['description'])}</p>{_fields(schema)}</details>"
        for name, schema in described["components"]["schemas"].items()
    )
    names = [escape(tag["name"]) for tag in described["tags"]]
    contents = " · ".join(f'<a href="#tag-{name}">{name}</a>' for name in names)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])} "
        'The same for machines: <a href="/openapi.json">openapi.json</a>.</p>'
        f'<p>{contents} · <a href="#objects">Objects</a></p>'
        f'{routes}<h2 id="objects">Objects</h2>{schemas}</html>'
    )


def _tag(tag: dict[str, Any], paths: dict[str, Any]) -> str:
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if tag["name"] in operation["tags"]
    )
    name = escape(tag["name"])
    return f'<h2 id="tag-{name}">{name}</h2><p>{escape(tag["description"])}</p>{operations}'


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        (
            one["name"],
            f"in the {one['in']}",
            one.get("required", False),
            {**one["schema"], "description": one["description"], "examples": [one["example"]]},
        )
        for one in operation["parameters"]
    ]
    parts = [_table(rows)] if rows else []
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{escape(media_type)}</code>: {_kind(content['schema'])}</p>")
        parts.append(_fields(content["schema"]))
        parts.append(f"<pre>{_sample(content['example'])}</pre>")
    for media_type, content in operation["responses"]["200"]["content"].items():
        kind = _kind(content["schema"])
        parts.append(f"<p>Answer, <code>{escape(media_type)}</code>: {kind}</p>")
        parts.append(f"<pre>{_sample(content['example'])}</pre>")
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{method.upper()}</b> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"{''.join(parts)}</details>"
    )


def _fields(schema: dict[str, Any]) -> str:
    """The fields of an object; nothing for what has none of its own."""
    required = schema.get("required", ())
    return _table(
        [
            (name, "", name in required, field)
            for name, field in schema.get("properties", {}).items()
        ]
    )


def _table(rows: list[tuple[str, str, bool, dict[str, Any]]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{_kind(schema)}<td>"
        f"{' '.join(filter(None, ('required' if required else '', where)))}"
        f"<td>{_text(schema['description'])}"
        f"<td><code>{escape(json.dumps(schema['examples'][0]))}</code>"
        for name, where, required, schema in rows
    )
    return f"<table><tr><th>name<th>type<th><th>meaning<th>example{lines}</table>"


def _text(markdown: str) -> str:
    """A description, whose only markup is that of code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(markdown))


def _sample(value: Any) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value, indent=2))


def _kind(schema: dict[str, Any]) -> str:
    """A type in words, with links to the objects and with what bounds a value."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        choices = schema.get("enum", [schema.get("const")])
        kind = " or ".join(f"<code>{escape(json.dumps(choice))}</code>" for choice in choices)
    elif schema.get("type") == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    else:
        kind = escape(str(schema.get("format") or schema.get("type", "any")))
    for bound, words in _BOUNDS.items():
        if bound in schema:
            kind += f", {words} {escape(json.dumps(schema[bound]))}"
    return kind
