"""Runs the Lua scripts, and translates errors of the server.

The time-out for an answer is ours, not the driver's: its own is made with ``asyncio.wait_for``,
which before Python 3.12 loses a cancellation now and then.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from typing import Any, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from batch_gateway.adapters.redis_metadata.fields import Row, micros
from batch_gateway.adapters.redis_metadata.keys import MetadataKeys
from batch_gateway.core.errors import Conflict, OverQuota, StorageFull, Unavailable
from batch_gateway.core.transitions import PRECONDITIONS, Precondition

ANSWER_TIMEOUT_S = 10.0  # an fsync on a busy disk can take seconds

_LUA = files(__package__) / "lua"
_PRELUDE = "_prelude.lua"


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """An id that is taken becomes Conflict, a quota OverQuota, everything else Unavailable."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise Unavailable(
            f"the metadata Redis has not answered for {ANSWER_TIMEOUT_S:g} s"
        ) from error
    except ResponseError as error:
        if str(error).startswith("CONFLICT "):  # our scripts' own
            raise Conflict(str(error).removeprefix("CONFLICT ")) from error
        if str(error).startswith("OVERQUOTA "):
            _, name, limit = str(error).split()
            raise OverQuota(name, int(limit)) from error
        if is_full(error):
            raise StorageFull(f"the metadata Redis is full: {error}") from error
        raise Unavailable(f"the metadata Redis refuses: {error}") from error
    except (RedisError, OSError) as error:
        raise Unavailable(f"the metadata Redis does not answer: {error}") from error


def is_full(refusal: ResponseError) -> bool:
    """Whether ``maxmemory`` is reached, or the disk of the log is full."""
    words = str(refusal).replace("-", " ").split()
    return (
        isinstance(refusal, OutOfMemoryError)
        or "OOM" in words  # of a script on Redis 6.2
        or "No space left on device" in str(refusal)
    )


class MetadataScripts:
    """All scripts of this package by their file's name, on one server and root."""

    def __init__(
        self, redis: Redis, keys: MetadataKeys, on_full: Callable[[], None] = lambda: None
    ) -> None:
        """``on_full`` is called when the server took no more."""
        self.redis = redis
        self._on_full = on_full
        self.keys = keys
        start = f"local PRECONDITIONS = {_preconditions()}\n{(_LUA / _PRELUDE).read_text()}\n"
        self._scripts = {
            script.name.removesuffix(".lua"): redis.register_script(start + script.read_text())
            for script in _LUA.iterdir()
            if script.name != _PRELUDE
        }

    async def run(self, name: str, **args: Any) -> Any:
        """What the script ``name`` returns.

        None is left out of ``args``; numbers and instants become text, but only at the top level:
        what is inside must have passed ``codec``.
        """
        given = {name: _argument(value) for name, value in args.items() if value is not None}
        try:
            async with translated():
                return await self._scripts[name](
                    keys=[self.keys.root], args=[msgspec.json.encode(given)]
                )
        except StorageFull:
            self._on_full()
            raise

    async def row(self, key: str) -> Row:
        """The fields of the hash ``key``; empty when there is none."""
        async with translated():
            found = await self.redis.hgetall(key)
        return cast(Row, found)  # the client decodes


def _preconditions() -> str:
    """``PRECONDITIONS`` as a table of Lua."""
    changes = (f"{change} = {_precondition(must)}" for change, must in PRECONDITIONS.items())
    return f"{{{', '.join(changes)}}}"


def _precondition(must: Precondition) -> str:
    fields = [f"statuses = {_set(must.statuses)}"]
    if must.endings is not None:
        fields.append(f"endings = {_set(ending or '' for ending in must.endings)}")
    if must.open_shards is not None:
        fields.append(f"open_shards = {must.open_shards}")
    if must.paused is not None:
        fields.append(f"paused = '{int(must.paused)}'")
    return f"{{{', '.join(fields)}}}"


def _set(texts: Iterable[str]) -> str:
    members = (f"['{text}'] = true" for text in sorted(texts))
    return f"{{{', '.join(members)}}}"


def _argument(value: Any) -> Any:
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value
