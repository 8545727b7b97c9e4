"""``batch-gateway settings``: every setting with its default and its reason, as a Markdown table.

The README's table is this command's output; a test holds them together.
"""

import ast
import inspect
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, SecretStr

from batch_gateway.settings import Settings


class Row(NamedTuple):
    variable: str
    default: str
    meaning: str


def rows() -> list[Row]:
    """All settings in the order of their declaration."""
    found = []
    for group_name, group_field in Settings.model_fields.items():
        group = group_field.default
        meanings = _meanings(type(group))
        for name in type(group).model_fields:
            variable = f"BATCH_GATEWAY_{group_name}__{name}".upper()
            found.append(Row(variable, _spelled(getattr(group, name)), meanings.get(name, "")))
    return found


def _meanings(group: type[BaseModel]) -> dict[str, str]:
    """The docstrings under the fields of ``group``, as they stand in the source.

    Pydantic would read them too, but at each start of each function.
    """
    (tree,) = ast.parse(inspect.getsource(group)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value).replace("\n", " ")
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def secret_variables() -> frozenset[str]:
    """The environment variables of settings that hold, or are, what nobody should read."""
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


def table() -> str:
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{row.variable}` | {row.default} | {row.meaning} |" for row in rows()]
    return "\n".join(lines)


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


def settings() -> None:
    """Print every setting with its default and its reason."""
    print(table())
