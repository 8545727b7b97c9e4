"""The batches of a round: submitted, followed while faults strike, and read at the end.

A client of this kind tries again for as long as the service does not take its request. What was
accepted must come to its end; what a poll says must never fall behind what one said before.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fixtures.counts import TERMINAL
from fixtures.gateway import CHAT, chat_lines, encoded
from openai import APIConnectionError, APIStatusError, AsyncOpenAI
from openai.types import Batch

from batch_gateway.core.engine_values import count, total
from chaos.schedule import PlannedBatch

T = TypeVar("T")

_EVERY_S = 0.2
_AGAIN_S = 0.5
#: Not said by a service in trouble: the client's own fault, or a bug.
_WRONG = range(400, 500)
_LATER = (408, 409, 429)
_ORDER = {"validating": 0, "in_progress": 1, "finalizing": 2, "cancelling": 2}


@dataclass
class Followed:
    """One batch of the schedule, and what its client has seen."""

    planned: PlannedBatch
    name: str
    batch: Batch | None = None  # None: not accepted yet
    problems: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)  # answers that were no success

    @property
    def ended(self) -> bool:
        return self.batch is not None and self.batch.status in TERMINAL

    def __str__(self) -> str:
        state = "never accepted"
        if self.batch is not None:
            counts = self.batch.request_counts
            state = f"{self.batch.id} {self.batch.status} {counts.to_dict() if counts else None}"
        return f"{self.name} ({self.planned.tenant}, {self.planned.lines} lines): {state}"


async def run(client: AsyncOpenAI, followed: Followed) -> None:
    """Submit the batch and follow it to its end."""
    planned = followed.planned
    content = encoded(lines_of(planned, followed.name))
    file = await _accepted(
        followed, lambda: client.files.create(file=("in.jsonl", content), purpose="batch")
    )
    key = hashlib.sha256(f"{file.id} {followed.name}".encode()).hexdigest()
    followed.batch = await _accepted(
        followed,
        lambda: client.batches.create(
            input_file_id=file.id,
            endpoint=CHAT,
            completion_window="24h",
            extra_headers={"Idempotency-Key": key},
        ),
    )
    cancel = planned.cancelled
    name = followed.batch.id
    while not followed.ended:
        await asyncio.sleep(_EVERY_S)
        seen = await _accepted(followed, lambda: client.batches.retrieve(name))
        _compare(followed, followed.batch, seen)
        followed.batch = seen
        if cancel and seen.request_counts.completed >= planned.lines / 3:  # type: ignore[union-attr]
            cancel = False
            await _accepted(followed, lambda: _cancelled(client, name))


def lines_of(planned: PlannedBatch, name: str) -> list[dict[str, Any]]:
    """Requests that no other batch has."""
    lines = chat_lines(planned.lines, model=planned.model)
    for line in lines:
        line["body"]["messages"][-1]["content"] += f" ({name})"
    return lines


async def _cancelled(client: AsyncOpenAI, name: str) -> None:
    try:
        await client.batches.cancel(name)
    except APIStatusError as error:
        if error.status_code not in (400, 409):  # it has ended meanwhile
            raise


def _compare(followed: Followed, before: Batch, after: Batch) -> None:
    """Counts only grow, and a status never goes back."""
    old, new = before.request_counts, after.request_counts
    assert old is not None
    assert new is not None
    for name in ("total", "completed", "failed"):
        if getattr(new, name) < getattr(old, name):
            followed.problems.append(
                f"{followed.name}: request_counts.{name} fell from {getattr(old, name)} to"
                f" {getattr(new, name)} ({before.status} -> {after.status})"
            )
    if _ORDER.get(after.status, 3) < _ORDER.get(before.status, 3):
        followed.problems.append(f"{followed.name}: {before.status} became {after.status}")


async def _accepted(followed: Followed, ask: Callable[[], Awaitable[T]]) -> T:
    """Repeat the request until it is accepted; an answer that is never allowed is a problem."""
    while True:
        try:
            return await ask()
        except APIConnectionError as error:
            followed.refusals[type(error).__name__] += 1
        except APIStatusError as error:
            followed.refusals[str(error.status_code)] += 1
            status = error.status_code
            if status == 500 or (status in _WRONG and status not in _LATER):
                followed.problems.append(f"{followed.name}: answered {status}: {error.message}")
        await asyncio.sleep(_AGAIN_S)


async def audit(client: AsyncOpenAI, followed: Followed) -> list[str]:
    """What is wrong with the results of a batch that has ended."""
    batch, planned = followed.batch, followed.planned
    if batch is None or not followed.ended:
        return [f"has not ended: {followed}"]
    found: list[str] = []
    output, errors = [
        [] if name is None else await _lines(client, followed, name)
        for name in (batch.output_file_id, batch.error_file_id)
    ]
    expected = {line["custom_id"]: line["body"] for line in lines_of(planned, followed.name)}
    times = Counter(line["custom_id"] for line in output + errors)
    lost = expected.keys() - times.keys()
    doubled = sorted(name for name, count in times.items() if count > 1)
    counts = batch.request_counts
    assert counts is not None
    never_planned = batch.status == "cancelled" and counts.total == 0
    if lost and not never_planned:
        found.append(f"{len(lost)} lines are lost, first {min(lost)}")
    if doubled:
        found.append(f"{len(doubled)} lines are there twice, first {doubled[0]}")
    if unknown := times.keys() - expected.keys():
        found.append(f"{len(unknown)} lines were never asked for")
    failed = [line for line in errors if (line["error"] or {}).get("code") != "batch_cancelled"]
    if (counts.completed, counts.failed) != (len(output), len(failed)):
        found.append(
            f"counts {counts.to_dict()}, files {len(output)} output and {len(failed)} error lines"
            f" beside {len(errors) - len(failed)} cancelled ones"
        )
    if not never_planned and counts.total != planned.lines:
        found.append(f"total {counts.total} of {planned.lines}")
    if batch.status != "completed" and not (planned.cancelled and batch.status == "cancelled"):
        found.append(f"ended as {batch.status}: {batch.errors}")
    found += _usage(batch, output, errors)
    return [f"{followed}: {problem}" for problem in found]


def _usage(batch: Batch, output: list[dict[str, Any]], errors: list[dict[str, Any]]) -> list[str]:
    """Between the tokens of the output's lines and those of all answers in both files."""
    told = batch.model_dump().get("usage") or {}
    for key, name in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        least, most = _tokens(output, name), _tokens(output + errors, name)
        if not least <= told.get(key, 0) <= most:
            return [f"usage.{key} is {told.get(key, 0)}, the lines sum up to {least} to {most}"]
    return []


def _tokens(lines: list[dict[str, Any]], name: str) -> int:
    bodies = [(line.get("response") or {}).get("body") for line in lines]
    usages = [body.get("usage") for body in bodies if isinstance(body, dict)]
    return total(*(count(one.get(name)) for one in usages if isinstance(one, dict)))


async def _lines(client: AsyncOpenAI, followed: Followed, name: str) -> list[dict[str, Any]]:
    text = (await _accepted(followed, lambda: client.files.content(name))).text
    return [json.loads(line) for line in text.split("\n") if line]
