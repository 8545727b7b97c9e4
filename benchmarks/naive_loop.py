"""The naive loop for comparison: asyncio and aiohttp, no queue, no retries.

``python -m benchmarks.naive_loop URL INPUT CALLS`` sends the lines of INPUT, CALLS at once, writes
the answers beside INPUT, and says what it took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import aiohttp
import uvloop


async def work(url: str, lines: Iterator[str], out: TextIO, session: aiohttp.ClientSession) -> None:
    for line in lines:
        request = json.loads(line)
        async with session.post(url + request["url"], json=request["body"]) as answer:
            response = {"status_code": answer.status, "body": await answer.json()}
        result = {"custom_id": request["custom_id"], "response": response}
        out.write(json.dumps(result) + "\n")


async def run(url: str, path: Path, calls: int) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    connector = aiohttp.TCPConnector(limit=0)
    with path.open() as lines, path.with_suffix(".out").open("w") as out:
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(work(url, lines, out, session) for _ in range(calls)))
    took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    print(json.dumps(took))


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
