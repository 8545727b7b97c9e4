"""One executor process: opens the stores that the environment names, works, says what it took.

``python -m benchmarks.one_activation [PROFILE]`` writes a profile of the work into that file.
"""

import asyncio
import cProfile
import json
import sys
import time
from contextlib import AsyncExitStack

import uvloop

from batch_gateway import log
from batch_gateway.settings import Settings
from batch_gateway.wiring.executor import make_executor
from batch_gateway.wiring.runtime import open_runtime


async def work(profile: cProfile.Profile | None) -> None:
    settings = Settings()
    log.configure(settings.log, service="executor")
    async with open_runtime(settings) as runtime, AsyncExitStack() as stack:
        executor = make_executor(runtime, stack, stopping=asyncio.Event())
        wall, cpu = time.perf_counter(), time.process_time()
        if profile is not None:
            profile.enable()
        await executor.work()
        if profile is not None:
            profile.disable()
        took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    print(json.dumps(took))


def main(profile_path: str | None) -> None:
    profile = cProfile.Profile() if profile_path else None
    uvloop.run(work(profile))
    if profile is not None:
        profile.dump_stats(str(profile_path))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
