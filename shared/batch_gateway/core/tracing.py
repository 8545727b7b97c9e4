"""W3C trace context of requests and events.

A batch keeps the trace of the request that created it, and every event about it carries it on, so
its logs can be read as one story. (https://www.w3.org/TR/trace-context/)
"""

import re

_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def valid(traceparent: str | None) -> str | None:
    """``traceparent`` if it is one, else None."""
    return traceparent if traceparent and _FORM.fullmatch(traceparent) else None


def fresh(random: bytes) -> str:
    """A new trace from 24 random bytes, not sampled: it only ties logs together."""
    return f"00-{random[:16].hex()}-{random[16:24].hex()}-00"


def trace_id(traceparent: str | None) -> str | None:
    """The trace's id; None when there is no trace."""
    return traceparent.split("-")[1] if traceparent else None
