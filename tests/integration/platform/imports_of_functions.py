"""Prints what each function imports between a fork and being ready, as JSON: name -> modules.

The process has imported what the fork server imports. Settings come from the environment.
"""

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path

from batch_gateway.local import preloaded

FUNCTIONS = ("api", "assembler", "executor", "janitor", "notifier", "planner")
ROOT = Path(__file__).parents[3]


def imported_by(name: str) -> list[str]:
    """What is imported by a forked process that opens the function and closes it again."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        before = set(sys.modules)
        asyncio.run(_opened(name))
        os.write(writing, json.dumps(sorted(sys.modules.keys() - before)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found: list[str] = json.loads(pipe.read())
    os.waitpid(pid, 0)
    return found


async def _opened(name: str) -> None:
    from batch_gateway.web.function import hosted
    from batch_gateway.web.server import load

    app = load(name, ROOT / "functions" / name / "main.py")
    async with hosted[name].lifespan(app):
        pass


for module in (*preloaded.FIRST, *preloaded.LATER):
    importlib.import_module(module)
print(json.dumps({name: imported_by(name) for name in FUNCTIONS}))
