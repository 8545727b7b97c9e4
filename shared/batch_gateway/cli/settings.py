"""``batch-gateway settings``: every setting with default, unit and meaning, as a Markdown table.

``make settings-docs`` writes the same rows, a table for each group, to docs/settings.md. A test
fails when that page is stale.
"""

import ast
import inspect
import tempfile
from itertools import groupby, pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from batch_gateway.settings import Settings, SettingsGroup

#: The unit of a number by the last word of its name.
_UNITS = {"s": "seconds", "ms": "milliseconds", "bytes": "bytes", "tokens": "tokens"}

_PAGE = """# Settings

`make settings-docs` writes this page from the settings classes. Do not edit it.

Every setting is an environment variable, `BATCH_GATEWAY_GROUP__FIELD`. On one machine
(`batch-gateway up`) you may also write it into the file that `--config FILE` names: YAML with
`group:` and under it `field:`. An option of the command line wins over an environment variable, a
variable over the file, and the file over the values of the manifests' ConfigMap. On a cluster
`batch-gateway deploy --set group.field=VALUE` sets one ([cluster](cluster.md#settings)).

`-` as default means that the setting has no value. `batch-gateway settings` prints the same rows.

The functions also read what the platform gives them: `PORT`, `HOST`, `K_SINK`, `FUNCTION_SOURCE`,
`FUNCTION_TARGET`.
"""


class SettingRow(NamedTuple):
    group: str
    variable: str
    default: str
    unit: str
    meaning: str


def rows() -> list[SettingRow]:
    """All settings in the order of their declaration."""
    found = []
    for group_name, group_field in Settings.model_fields.items():
        group = group_field.default
        meanings = _meanings(type(group))
        for name in type(group).model_fields:
            variable = f"BATCH_GATEWAY_{group_name}__{name}".upper()
            found.append(
                SettingRow(
                    group_name,
                    variable,
                    _spelled(getattr(group, name)),
                    _unit(name, type(group).model_fields[name].annotation),
                    meanings.get(name, ""),
                )
            )
    return found


def _unit(name: str, annotation: Any) -> str:
    """What a value of this setting is: a number's unit, or how the value is written."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _unit(name, next(kind for kind in inner if kind is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin is tuple:
        return "list, by commas"
    if origin is dict:
        return "JSON"
    if hasattr(annotation, "__metadata__"):
        return _unit(name, inner[0])
    if annotation is bool:
        return "`true` or `false`"
    last = name.rpartition("_")[2]
    if annotation in (int, float):
        return _UNITS.get(last, "count" if annotation is int else "number")
    if annotation is Path:
        return "path"
    return "URL" if last in {"url", "endpoint", "sink"} else "text"


def _meanings(group: type[BaseModel]) -> dict[str, str]:
    """The docstrings under the fields of ``group``, as they stand in the source.

    Pydantic would read them too, but at each start of each function.
    """
    inherited: dict[str, str] = {}
    for base in group.__bases__:
        if issubclass(base, SettingsGroup) and base is not SettingsGroup:
            inherited |= _meanings(base)
    (tree,) = ast.parse(inspect.getsource(group)).body
    assert isinstance(tree, ast.ClassDef)
    return inherited | {
        field.target.id: inspect.cleandoc(text.value.value).replace("\n", " ")
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def secret_variables() -> frozenset[str]:
    """The environment variables of settings that hold secrets, or are secret."""
    return frozenset(
        f"BATCH_GATEWAY_{group}__{name}".upper()
        for group, group_field in Settings.model_fields.items()
        for name, field in type(group_field.default).model_fields.items()
        if _holds_secrets(field.annotation)
    )


def _holds_secrets(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, SecretStr):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_holds_secrets(field.annotation) for field in annotation.model_fields.values())
    return any(_holds_secrets(inner) for inner in get_args(annotation))


def table(shown: list[SettingRow] | None = None) -> str:
    lines = ["| setting | default | unit | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{row.variable}` | {row.default} | {row.unit} | {row.meaning} |"
        for row in (rows() if shown is None else shown)
    ]
    return "\n".join(lines)


def page() -> str:
    """docs/settings.md: a table for each group of settings."""
    parts = [_PAGE]
    for name, shown in groupby(rows(), key=lambda row: row.group):
        parts.append(f"## {name}\n\n{table(list(shown))}\n")
    return "\n".join(parts)


def _spelled(value: object) -> str:
    match value:
        case None:
            return "-"
        case SecretStr():
            value = value.get_secret_value()
        case Path() if value == Path(tempfile.gettempdir()):
            value = "the system's folder for temporary files"
        case bool():
            value = str(value).lower()
        case tuple():
            value = ",".join(map(str, value))
    return f"`{value}`" if value != "" else "empty"


if __name__ == "__main__":
    print(page(), end="")
