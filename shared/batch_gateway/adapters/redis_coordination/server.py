"""The connection: scripts by name, timeouts, and the translation of errors.

A script is sent by its digest and loaded again when the server has forgotten it. A command whose
connection broke is tried once more at once, so a restarted server costs no error; every script
bears being run twice. A process has a bounded number of connections; further commands wait for one.

Every error of the driver or the server becomes Unavailable: a server that is busy, loading,
read-only, full, without its cluster or with another node's keys (MOVED) is as good as gone.

The time-out for an answer is ours, not the driver's: its own is made with ``asyncio.wait_for``,
which before Python 3.12 loses a cancellation now and then, and a task that is not cancelled holds
up the end of everything.
"""

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,
    MovedError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from batch_gateway.adapters.redis_pool import open_pool
from batch_gateway.core.errors import StorageFull, Unavailable

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 2.0  # well below the lifetime of grants and leases
HEALTH_CHECK_S = 10  # connections idle for longer are probed before use
CONNECTIONS = 32  # per process; more commands at once wait for one another

logger = logging.getLogger(__name__)

#: Refusals of a server in trouble, by their first word; a script that meets them names them within
#: a longer sentence. What else is refused is probably our fault, so it is also logged as an error.
_TROUBLE = frozenset(
    [
        "ASK",
        "BUSY",
        "CLUSTERDOWN",
        "EXECABORT",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "NOSCRIPT",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
        "WRONGPASS",
    ]
)

Script = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn all errors of the server and the driver, and a slow answer, into Unavailable."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except builtins.TimeoutError as error:
        raise Unavailable(
            f"the coordination store has not answered for {ANSWER_TIMEOUT_S:g} s"
        ) from error
    except MovedError as error:
        raise Unavailable(
            f"the coordination store's cluster keeps the keys on another node (MOVED {error}): "
            "name the cluster by redis+cluster://"
        ) from error
    except (ConnectionError, TimeoutError, OSError) as error:
        raise Unavailable(f"the coordination store does not answer: {error}") from error
    except RedisError as error:
        words = str(error).replace("-", " ").split()
        if isinstance(error, OutOfMemoryError) or "OOM" in words:
            raise StorageFull(f"the coordination store is full (maxmemory): {error}") from error
        if isinstance(error, ResponseError) and not _TROUBLE.intersection(words):
            logger.exception(
                "The coordination store refuses a command", extra={"action": "scratch"}
            )
        raise Unavailable(f"the coordination store refuses work: {error}") from error


def connect(url: str, *, tag: str = "", retries: int = 1) -> "Redis":
    """A client for ``url`` (see redis_locator); connects when it is needed.

    ``tag``: hash tag of the keys; a cluster's URL needs one.
    """
    pool = open_pool(
        url,
        tag,
        max_connections=CONNECTIONS,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=None,
        health_check_interval=HEALTH_CHECK_S,
        retry=Retry(NoBackoff(), retries, supported_errors=(ConnectionError,)),
    )
    return Redis.from_pool(pool)


def milliseconds(duration: timedelta) -> int:
    """What the scripts count in."""
    return round(duration / timedelta(milliseconds=1))


class CoordinationScripts:
    """The Lua scripts of this package on one client."""

    def __init__(self, client: "Redis") -> None:
        self._client = client

    def load(self, *names: str) -> Script:
        """A script made of the files ``names``, as a call ``(keys, args)``.

        All but the last file define what the last one uses.
        """
        folder = files(__package__) / "lua"
        script = self._client.register_script(
            "\n".join((folder / f"{name}.lua").read_text() for name in names)
        )

        async def call(keys: Sequence[str], args: Sequence[str | int | float] = ()) -> Any:
            async with translated():
                return await script(keys=keys, args=args)

        return call
