"""``batch-gateway settings``: every setting with its default and its reason, as a Markdown table.

The README's table is this command's output; a test holds them together.
"""

import tempfile
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
        for name, field in type(group).model_fields.items():
            variable = f"BATCH_GATEWAY_{group_name}__{name}".upper()
            meaning = " ".join((field.description or "").split())
            found.append(Row(variable, _spelled(getattr(group, name)), meaning))
    return found


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
