"""Durations in manifests, and the time scale of tests.

Eventing writes ISO 8601 (``PT2S``), Serving's annotations write Go's form (``60s``). A speed-up
divides the platform's own rhythm - idle windows, timer periods, retry pauses. It never touches a
clock, nor the limits on work such as ``timeoutSeconds``: a function's own budgets stay as they are.
"""

import re
from dataclasses import dataclass

_ISO = re.compile(
    r"P(?=.)(?:(?P<d>\d+)D)?(?:T(?=.)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_GO = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeScale:
    speed_up: float = 1.0

    def __call__(self, seconds: float) -> float:
        """How long ``seconds`` of a manifest take here, in seconds."""
        return seconds / self.speed_up


def iso_seconds(text: str) -> float:
    """``PT2S`` or ``P1DT12H`` in seconds. Raises ValueError."""
    return _seconds(_ISO, text)


def go_seconds(text: str) -> float:
    """``60s`` or ``1m30s`` in seconds. Raises ValueError."""
    return _seconds(_GO, text)


def _seconds(form: re.Pattern[str], text: str) -> float:
    found = form.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"{text!r} is not a duration")
    return sum(float(value) * _SECONDS[unit] for unit, value in found.groupdict("0").items())
