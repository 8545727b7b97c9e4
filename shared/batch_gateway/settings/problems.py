"""Messages about invalid settings: the location, allowed values, and the value unless secret."""

from pydantic_core import ErrorDetails

_LONGEST = 40  # characters of a value that are shown
_SHOWN = frozenset(
    {
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
        *("finite_number", "int_from_float", "literal_error"),
    }
)
"""Errors of values that are numbers, or stand for one of a few words: those are no secrets."""


def located(error: ErrorDetails) -> str:
    """``where: what is allowed; it is VALUE``, on one line."""
    where = ".".join(map(str, error["loc"]))
    what = " ".join(error["msg"].removeprefix("Value error, ").split())
    value = error.get("input")
    if error["type"] in _SHOWN and isinstance(value, str | int | float):
        what += f"; it is {str(value)[:_LONGEST]!r}"
    return f"{where}: {what}" if where else what
