"""One executor process on the stores that the environment names; prints what it used.

``python -m benchmarks.one_activation [PROFILE]`` writes a profile of the work into that file.
"""

import asyncio
import cProfile
import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import uvloop
from redis.asyncio.connection import AbstractConnection
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from batch_gateway import log
from batch_gateway.settings import Settings
from batch_gateway.web.process_memory import collect_seldom, give_back_freed_memory
from batch_gateway.wiring.executor import make_executor
from batch_gateway.wiring.runtime import open_runtime


class Traffic:
    """Counts what this process asks of Redis (packets, each a round trip) and the transactions by
    which it writes to the database."""

    def __init__(self) -> None:
        self.redis = self.writes = 0
        send = AbstractConnection.send_packed_command

        async def counted(connection: AbstractConnection, *args: Any, **options: Any) -> Any:
            self.redis += 1
            return await send(connection, *args, **options)

        AbstractConnection.send_packed_command = counted  # type: ignore[method-assign]
        event.listen(Engine, "before_cursor_execute", self._executed)
        event.listen(Engine, "commit", self._committed)

    def _executed(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            connection.info["wrote"] = True

    def _committed(self, connection: Connection) -> None:
        self.writes += connection.info.pop("wrote", False)


async def work(profile: cProfile.Profile | None) -> None:
    settings, traffic = Settings(), Traffic()
    log.configure(settings.log, service="executor")
    async with open_runtime(settings) as runtime, AsyncExitStack() as stack:
        executor = make_executor(runtime, stack, stopping=asyncio.Event())
        collect_seldom()  # as a function does when it has started
        wall, cpu = time.perf_counter(), time.process_time()
        if profile is not None:
            profile.enable()
        await executor.work()
        if profile is not None:
            profile.disable()
        took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    print(json.dumps({**took, "redis": traffic.redis, "writes": traffic.writes}))


def main(profile_path: str | None) -> None:
    give_back_freed_memory()  # as a function does when it starts
    profile = cProfile.Profile() if profile_path else None
    uvloop.run(work(profile))
    if profile is not None:
        profile.dump_stats(str(profile_path))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
