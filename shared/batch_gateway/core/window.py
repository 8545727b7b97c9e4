"""Completion windows: the requested duration of a batch, such as ``24h``."""

import re
from datetime import timedelta

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.excerpts import excerpt

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_FORM = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)

SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=30)


def parse_window(text: str) -> timedelta:
    """``15m``, ``24h`` or ``7d`` as a duration of 1 minute to 30 days.

    Raises InvalidRequest in OpenAI's form for anything else.
    """
    match = _FORM.fullmatch(text)
    if match is not None:
        window = timedelta(**{_UNITS[match[2]]: int(match[1])})
        if SHORTEST <= window <= LONGEST:
            return window
    raise InvalidRequest(
        f"Invalid value: '{excerpt(text)}'. Supported values are: '24h', or any number of minutes, "
        "hours or days from '1m' to '30d'.",
        param="completion_window",
        code="invalid_value",
    )
