"""Whether this process is shutting down.

Knative sends SIGTERM while requests may still be open, and the executor holds one open for
minutes: it must learn of the signal at once, not when the server gets round to its shutdown.
"""

import asyncio
from weakref import WeakKeyDictionary

_events: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Event] = WeakKeyDictionary()


def stopping() -> asyncio.Event:
    """The event that is set as soon as SIGTERM or SIGINT comes; one for each event loop.

    Only ``web.serve`` sets it. Under the stock ``functions-framework`` command, whose server keeps
    the signal to itself, it is never set, and stopping is left to time budgets and lost leases.
    """
    return _events.setdefault(asyncio.get_running_loop(), asyncio.Event())
