"""F1: what one executor process makes of its CPU when the model costs no time.

Lines of 2 KB, answers of 500 bytes, 256 calls at once, everything on: slots, parts, counts,
leases in the database. Requests per second of CPU do not depend on how busy the machine is;
requests per second do.
"""

import statistics

from benchmarks.figure import Figure
from benchmarks.stage import chat_lines
from benchmarks.workshop import Work, workshop

LINES = 20_000
CALLS = 256
BODY_BYTES = 2000
ROUNDS = 3
MARK = 2500  # requests per CPU-second


async def measure() -> Figure:
    done: list[Work] = []
    limits = {"start": CALLS, "ceiling": CALLS}
    async with workshop(0, {"limits": limits, "execution": {"max_calls": CALLS}}) as shop:
        for _ in range(ROUNDS):
            batch = await shop.submit(chat_lines(LINES, body_bytes=BODY_BYTES))
            done.append(await shop.work())
            counts = (await shop.reload(batch)).counts
            assert counts.completed == LINES, counts
    per_cpu_s = statistics.median(LINES / work.cpu_s for work in done)
    return Figure(
        name="F1",
        title=f"dispatch rate of one executor, {LINES} requests of 2 KB, {CALLS} at once",
        values={
            "requests_per_cpu_s": per_cpu_s,
            "cpu_s_per_1000_requests": 1000 / per_cpu_s,
            "requests_per_s": statistics.median(LINES / work.wall_s for work in done),
            "rounds": ", ".join(f"{LINES / work.cpu_s:.0f}" for work in done),
        },
        mark={"requests_per_cpu_s": f">= {MARK}"},
        met=per_cpu_s >= MARK,
    )
