"""Suggests setting names for misspelt ones."""

import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from batch_gateway.settings.root import PREFIX, Settings

_CLOSE = 0.7  # of 1, where names are the same


def setting_names() -> list[str]:
    """Every setting as ``group.field``."""
    return [
        f"{group}.{name}"
        for group, field in Settings.model_fields.items()
        for name in type(field.default).model_fields
    ]


def meant(name: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` for a name like one of ``known``; else empty."""
    close = get_close_matches(name, list(known), n=1, cutoff=_CLOSE)
    return f"; did you mean {close[0]}?" if close else ""


def unknown_variables(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A line for each variable that looks like a setting of a group that does not exist.

    Such a variable has no effect. One of a group that exists is an error when settings are read.
    """
    for variable in sorted(environment):
        group, dunder, name = variable.removeprefix(PREFIX).lower().partition("__")
        if not variable.startswith(PREFIX) or not dunder or group in Settings.model_fields:
            continue
        close = meant(f"{group}.{name}", setting_names()) or meant(group, Settings.model_fields)
        yield f"{variable} is no setting and has no effect{close}"
