"""The connection: scripts by name, time-outs, and the one translation of errors.

A script is sent by its digest and loaded again when the server has forgotten it. A command whose
connection broke is tried once more at once, so a restarted server costs no error; every script
bears being run twice. A server that is busy, loading, read-only, full or without its cluster is
as good as gone: all of that becomes Unavailable.

The time-out for an answer is ours, not the driver's: its own is made with ``asyncio.wait_for``,
which before Python 3.12 loses a cancellation now and then, and a task that is not cancelled holds
up the end of everything.
"""

import asyncio
import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from batch_gateway.core.errors import Unavailable

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 2.0  # well below the lifetime of grants and leases
HEALTH_CHECK_S = 10  # connections idle for longer are probed before use

_GONE = (
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)
#: Refusals of a server in trouble that the driver has no type for, by their first word; a script
#: that meets them names them within a longer sentence.
_GONE_CODES = ("BUSY", "LOADING", "MISCONF", "NOREPLICAS", "READONLY", "OOM", "UNBLOCKED")

Script = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the errors of a server that is gone, slow or in trouble into Unavailable."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except builtins.TimeoutError as error:
        raise Unavailable(
            f"the scratch server has not answered for {ANSWER_TIMEOUT_S:g} s"
        ) from error
    except _GONE as error:
        raise Unavailable(f"the scratch server does not answer: {error}") from error
    except ResponseError as error:
        words = str(error).replace("-", " ").split()
        if any(code in words for code in _GONE_CODES):
            raise Unavailable(f"the scratch server refuses work: {error}") from error
        raise


def connect(url: str, *, retries: int = 1) -> "Redis":
    """A client for ``url`` (redis, rediss, valkey, valkeys, unix); connects when it is needed."""
    return Redis.from_url(
        url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=None,
        health_check_interval=HEALTH_CHECK_S,
        retry=Retry(NoBackoff(), retries, supported_errors=(ConnectionError,)),
    )


def milliseconds(duration: timedelta) -> int:
    """What the scripts count in."""
    return round(duration / timedelta(milliseconds=1))


class Scripts:
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
