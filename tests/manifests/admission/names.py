"""Spellings: names, labels, annotations, quantities, durations of both kinds, cron."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

_LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?\d+))?")
_GO = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+")
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_GO_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_ISO = re.compile(
    r"[+-]?P(?=.)(\d+(\.\d+)?Y)?(\d+(\.\d+)?M)?(\d+(\.\d+)?W)?(\d+(\.\d+)?D)?"
    r"(T(?=.)(\d+(\.\d+)?H)?(\d+(\.\d+)?M)?(\d+(\.\d+)?S)?)?"
)
_IMAGE = re.compile(
    r"(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_CRON_NAMES = {
    3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
_CRON_DESCRIPTORS = {
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
}


def is_label_1123(text: str) -> bool:
    return len(text) <= 63 and _LABEL_1123.fullmatch(text) is not None


def is_label_1035(text: str) -> bool:
    return len(text) <= 63 and _LABEL_1035.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL_1123.fullmatch(part) for part in text.split("."))


def is_qualified(text: str) -> bool:
    """A label's or an annotation's key: a name, perhaps with a domain before it."""
    prefix, slash, name = text.rpartition("/")
    if slash and not is_subdomain(prefix):
        return False
    return len(name) <= 63 and _NAME_PART.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    return text == "" or (len(text) <= 63 and _NAME_PART.fullmatch(text) is not None)


def is_quantity(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (
        isinstance(value, str) and _QUANTITY.fullmatch(value) is not None
    )


def is_image(text: str) -> bool:
    return _IMAGE.fullmatch(text) is not None


def go_seconds(text: str) -> float | None:
    """A duration as Serving's annotations have it (``1m30s``); None: it is none."""
    if text in ("0", "+0", "-0"):
        return 0.0
    if _GO.fullmatch(text) is None:
        return None
    sign = -1 if text.startswith("-") else 1
    return sign * sum(float(n) * _GO_SECONDS[unit] for n, unit in _GO_PART.findall(text))


def is_iso_duration(text: str) -> bool:
    """A duration as Eventing's fields have it (``PT2S``)."""
    return _ISO.fullmatch(text) is not None


def is_zero_or_negative(text: str) -> bool:
    return text.startswith("-") or not any(digit in "123456789" for digit in text)


def cron_problem(text: str) -> str | None:
    """What is wrong with a schedule; None: it is right. (robfig/cron's ParseStandard)"""
    if text.startswith("@"):
        return None if text in _CRON_DESCRIPTORS else f"{text!r} is no descriptor that is supported"
    fields = text.split()
    if len(fields) != 5:
        return f"{len(fields)} fields, not 5"
    for position, field in enumerate(fields):
        if not all(_is_cron_term(position, term) for term in field.split(",")):
            return f"{field!r} is no value for field {position + 1}"
    return None


def _is_cron_term(position: int, term: str) -> bool:
    span, slash, step = term.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    least, most = _CRON_RANGES[position]
    ends = [_cron_number(position, end) for end in span.split("-")]
    if len(ends) > 2 or any(end is None or not least <= end <= most for end in ends):
        return False
    return len(ends) == 1 or (ends[0] or 0) <= (ends[1] or 0)


def _cron_number(position: int, text: str) -> int | None:
    known = _CRON_NAMES.get(position, [])
    if text.lower() in known:
        return known.index(text.lower()) + (1 if position == 3 else 0)
    return int(text) if text.isdecimal() else None


def is_timezone(text: str) -> bool:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        return False
    return True


def metadata(found: Mapping[str, Any], path: str = "metadata") -> Iterator[str]:
    """Rules for the metadata of every resource."""
    if not is_subdomain(found["name"]):
        yield f"{path}.name: {found['name']!r} is not a DNS name"
    for kind in ("labels", "annotations"):
        values = found.get(kind)
        if values is not None:
            yield from _texts(values, f"{path}.{kind}", labels=kind == "labels")


def _texts(values: Any, path: str, *, labels: bool) -> Iterator[str]:
    if not isinstance(values, Mapping):
        yield f"{path}: must be a mapping"
        return
    for key, value in values.items():
        if not is_qualified(key.lower() if not labels else key):
            yield f"{path}: {key!r} is not a qualified name"
        if not isinstance(value, str):
            yield f"{path}.{key}: must be text, not {value!r}"
        elif labels and not is_label_value(value):
            yield f"{path}.{key}: {value!r} is not a label's value"
