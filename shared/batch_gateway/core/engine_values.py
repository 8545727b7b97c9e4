"""Numbers and headers that engines send, as bounded values: they are untrusted input."""

import re
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

MOST = 2**63 - 1
"""The largest count: what databases hold in an integer of 64 bits."""
LONGEST_RETRY_AFTER = timedelta(days=1)
SHOWN = 1000
"""Characters of an answer that an error message shows."""
_LONGEST_HEADER = 256  # characters of a header that are kept
_LONGEST_LOCATION = 500
_LONGEST_DURATION_MS = 86_400_000
_LONGEST_TIMING = 1024  # characters of a Server-Timing header that are read
_TTFT = re.compile(r"(?:^|[,\s])ttft\s*;\s*dur=(\d{1,9}(?:\.\d{1,9})?)", re.ASCII)
_LARGEST_GAUGE = 1e9  # of an engine's requests; beyond all sizes that there are


def count(value: object) -> int:
    """A count that an engine reports; 0 for what is none, such as -1, 0.5, "3" or 2**63."""
    if type(value) is int:
        return value if 0 <= value <= MOST else 0
    if type(value) is float and value.is_integer():
        return count(int(value))
    return 0


def total(*counts: int) -> int:
    """The sum of counts, at most MOST."""
    found = sum(counts)
    return found if found <= MOST else MOST


def gauge(spelled: str) -> float | None:
    """A number in Prometheus' text format, within 0 and a billion; None: it is unusable.

    That is NaN (a gauge that was never set), an infinity, and what is not a number.
    """
    try:
        value = float(spelled)
    except ValueError:
        return None
    if value != value or value in (float("inf"), float("-inf")):
        return None
    return min(max(value, 0.0), _LARGEST_GAUGE)


def header(value: str | None, longest: int = _LONGEST_HEADER) -> str | None:
    """The value of a header as text that can be stored and logged; None: absent, or nothing left.

    HTTP clients hand on bytes that are not UTF-8 as lone surrogates; they become U+FFFD.
    """
    if value is None:
        return None
    text = value[: 4 * longest].encode(errors="surrogateescape").decode(errors="replace")
    return "".join(c for c in text if c.isprintable())[:longest].strip() or None


def location(value: str | None) -> str | None:
    """Where a redirect leads, without what may be secret (user, query); None: it does not say."""
    text = header(value, _LONGEST_LOCATION)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return text.partition("?")[0] or None
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl() or None


def retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """The pause of a Retry-After, from 0 to a day; None when absent or unreadable.

    Seconds or an HTTP date (RFC 9110, section 10.2.3); fractions of seconds are read too.
    """
    if value is None:
        return None
    try:
        if re.fullmatch(r"-?\d+(\.\d*)?", value.strip(), re.ASCII):
            seconds = min(float(value), LONGEST_RETRY_AFTER.total_seconds())
            return timedelta(seconds=max(0.0, seconds))
        pause = parsedate_to_datetime(value) - now
    except (ValueError, TypeError, OverflowError, IndexError):  # no date, or one without zone
        return None
    return min(max(pause, timedelta()), LONGEST_RETRY_AFTER)


def first_token_ms(server_timing: str | None) -> int | None:
    """The time to first token in a Server-Timing header: ``ttft;dur=123.4``.

    None when absent or unreadable (W3C Server Timing, section 4).
    """
    if server_timing is None or "ttft" not in server_timing:
        return None
    found = _TTFT.search(server_timing[:_LONGEST_TIMING])
    return None if found is None else milliseconds(float(found[1]))


def milliseconds(value: float | None) -> int | None:
    """A duration in whole milliseconds, from 0 to a day; None for what is none."""
    if value is None or not 0 <= value <= _LONGEST_DURATION_MS:
        return None
    return round(value)
