"""W3C trace context of requests and events (https://www.w3.org/TR/trace-context/).

A batch keeps the trace context that it was created in, and every event about it carries it on, so
its logs and spans are one trace. A *trace context* is one text here, and in the database: the
``traceparent``, followed by a space and the ``tracestate`` if there is one.
"""

import re
from collections.abc import Mapping

_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
#: Members of a tracestate. Those with characters that CloudEvents has to escape are not taken.
_MEMBER = r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[!#$&-+\--<>-~]{1,256}"
_STATE = re.compile(rf"{_MEMBER}(,{_MEMBER}){{0,31}}", re.ASCII)
_MAX_STATE = 512  # characters
_BLANKS = re.compile(r"[ \t]*,[ \t]*")
_SAMPLED = 0x01


def valid(traceparent: str | None, tracestate: str | None = None) -> str | None:
    """The trace context of these two; None without a valid ``traceparent``.

    A ``traceparent`` may be a whole trace context. A tracestate that is not valid is left out.
    """
    parent, _, state = (traceparent or "").partition(" ")
    if not _FORM.fullmatch(parent):
        return None
    state = _BLANKS.sub(",", (tracestate or state).strip(" \t"))
    return f"{parent} {state}" if len(state) <= _MAX_STATE and _STATE.fullmatch(state) else parent


def fresh(random: bytes) -> str:
    """A new trace from 24 random bytes, not sampled: it only ties logs together."""
    return f"00-{random[:16].hex()}-{random[16:24].hex()}-00"


def trace_id(context: str | None) -> str | None:
    """The trace's id; None when there is no trace."""
    return context.split("-")[1] if context else None


def unsampled(context: str) -> str:
    """The valid ``context``, asking those who carry it on to record no spans."""
    return f"{context[:53]}{int(context[53:55], 16) & ~_SAMPLED:02x}{context[55:]}"


def fields(context: str | None) -> Mapping[str, str]:
    """``traceparent`` and ``tracestate`` as headers, and as attributes of events."""
    if context is None:
        return {}
    parent, _, state = context.partition(" ")
    return {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}
