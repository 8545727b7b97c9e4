"""Where the processor time goes: ``python -m benchmarks.where executor planner assembler``.

The executor does F1's work, once as it is and once under cProfile; the profile's shares, by module,
are told of the time that it took as it is. The planner's and the assembler's work is done here, in
its steps, each timed alone. All times are microseconds of processor time for each line.
"""

import asyncio
import pstats
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from batch_gateway.adapters.memory_line_index import MemoryLineIndexes
from batch_gateway.core.engine_response import decode
from batch_gateway.core.ids import BatchId
from batch_gateway.core.lines import ShardLine, answered, decode_input, encode_part_line
from batch_gateway.core.prefix import block_hashes
from batch_gateway.core.prompt_rendering import read_prompt, render_prompt
from batch_gateway.core.validation import DEEPEST, LineValidator, deeper
from batch_gateway.services.assemble.merge import ResultMerge
from batch_gateway.services.plan.input_scan import InputRules, read_lines, scan_lines
from batch_gateway.services.plan.shard_builder import ShardBuilder
from batch_gateway.settings import PlanningSettings
from batch_gateway.web.process_memory import collect_seldom
from benchmarks.endpoint import ANSWER
from benchmarks.stage import CHAT, chat_lines, encoded
from benchmarks.workshop import workshop

LINES, BODY_BYTES, CALLS = 20_000, 2000, 256
SHOWN = 25
SHARD = 500  # lines of a sorted run
LONGEST = 1_000_000


def cpu_us(work: Callable[[], Any]) -> float:
    """Processor time of ``work`` for each line, the least of three."""
    found = []
    for _ in range(3):
        before = time.process_time()
        work()
        found.append((time.process_time() - before) * 1e6 / LINES)
    return min(found)


def show(title: str, items: Iterable[tuple[str, float]]) -> None:
    print(f"\n{title}, microseconds for each line")
    for name, us in items:
        print(f"  {us:8.2f}  {name}")


def executor() -> None:
    uvloop.run(_executor())


async def _executor() -> None:
    limits = {"start": CALLS, "ceiling": CALLS}
    with TemporaryDirectory(prefix="bench-where-") as folder:
        profile = Path(folder) / "profile"
        async with workshop(0, {"limits": limits, "execution": {"max_calls": CALLS}}) as shop:
            await shop.submit(chat_lines(LINES, body_bytes=BODY_BYTES))
            done = await shop.work()
            await shop.submit(chat_lines(LINES, body_bytes=BODY_BYTES))
            await shop.work(profile=profile)
        shares = by_module(pstats.Stats(str(profile)))
    whole = done.cpu_s * 1e6 / LINES
    total = sum(shares.values())
    items = [(name, whole * own / total) for name, own in shares.most_common(SHOWN)]
    show("executor", [("the whole", whole), *items])
    each = 1000 / LINES
    print(
        f"{each * done.redis:.1f} trips to Redis, {each * done.writes:.1f} transactions per 1,000"
    )


def by_module(stats: pstats.Stats) -> Counter[str]:
    """Own time by module of ours, by package of others, and by function where it is C."""
    found = Counter[str]()
    for (file, _, function), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        if ours := re.search(r"/batch_gateway/(.*)", file):
            name = ours[1]
        elif theirs := re.search(r"/site-packages/([^/]*)", file):
            name = f"{theirs[1]} (package)"
        else:
            name = function if file == "~" else f"{Path(file).name} (Python)"
        found[name] += own
    return found


def planner() -> None:
    with TemporaryDirectory(prefix="bench-where-") as folder:
        path = Path(folder) / "input.jsonl"
        path.write_bytes(encoded(chat_lines(LINES, body_bytes=BODY_BYTES)))
        validator = LineValidator(CHAT, models=frozenset(), strict=False)
        rules = InputRules(
            planning=PlanningSettings(), max_lines=LINES, max_file_bytes=1 << 33, strict=False
        )
        raws = [raw for _, _, raw in read_lines(path, LONGEST) if raw]
        bodies: list[Any] = [decode_input(raw).body for raw in raws]
        prompts = [read_prompt(body) for body in bodies]
        rendered = [render_prompt(prompt) for prompt in prompts]
        steps = {
            "of these: reading lines": lambda: [*read_lines(path, LONGEST)],
            "decoding lines": lambda: [decode_input(raw) for raw in raws],
            "counting levels": lambda: [deeper(raw, DEEPEST) for raw in raws],
            "decoding bodies": lambda: [read_prompt(body) for body in bodies],
            "rendering prompts": lambda: [render_prompt(prompt) for prompt in prompts],
            "hashing prompts": lambda: [block_hashes(prompt) for prompt in rendered],
        }
        with MemoryLineIndexes().open() as index:
            scan = cpu_us(lambda: scan_lines(path, index, validator, rules))

            def divide() -> None:
                builder = ShardBuilder(BatchId("b"), path, index, None, validator, rules)
                asyncio.run(drained(builder))

            found = {"scanning": scan, "dividing into shards": cpu_us(divide)}
        found |= {name: cpu_us(work) for name, work in steps.items()}
    show("planner", found.items())


async def drained(builder: ShardBuilder) -> None:
    while await builder.next() is not None:
        pass


def assembler() -> None:
    batch, answer = BatchId("batch_0"), decode(ANSWER.partition(b"\r\n\r\n")[2])

    def line(number: int) -> bytes:
        request = ShardLine(number, f"line-{number}", CHAT, "m", b"{}")  # type: ignore[arg-type]
        return encode_part_line(
            answered(batch, request, answer, status=200, request_id=None, ok=True)
        )

    lines = [line(number) for number in range(1, LINES + 1)]
    runs = [b"".join(lines[start : start + SHARD]) for start in range(0, LINES, SHARD)]
    with TemporaryDirectory(prefix="bench-where-") as folder:
        merges: list[ResultMerge] = []

        def add() -> None:
            merges.append(ResultMerge(Path(folder)))
            for run in runs:
                merges[-1].add_run(run)

        found = {"adding runs": cpu_us(add)}
        found["merging them"] = cpu_us(lambda: [*merges.pop().chunks()])
    show("assembler, without its stores", found.items())


if __name__ == "__main__":
    collect_seldom()
    known = {one.__name__: one for one in (executor, planner, assembler)}
    for chosen in sys.argv[1:] or known:
        known[chosen]()
