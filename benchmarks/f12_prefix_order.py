"""F12: the share of a batch's prompt tokens that hit the engine's KV cache, by the order of lines.

Input lines of four kinds (few-shot, documents, tools, a mix of all) are planned as a batch is, and
the engine's view of their prompts - which the generator knows, bodies being written in several ways
- is run through an LRU cache of 16-token blocks that holds 5 % of the batch's tokens.

Orders: the input's; by hash of the system prompt, as the reference gateway has it; ours, cut into
shards; ours with four executors working on a shard each; the best known: depth-first through the
tree of the engine's own blocks, where nothing is missed but the first sight of each block.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import xxhash

from batch_gateway.core.planning import LineRef, ShardLimits, cut_shards
from batch_gateway.core.prefix import sort_key
from batch_gateway.core.prompt_rendering import read_prompt
from batch_gateway.simulator.prefix_cache import (
    BLOCK_TOKENS,
    PrefixCache,
    block_hashes,
    count_tokens,
)
from benchmarks.figure import Figure

SEED = 12
CACHE = 0.05  # of the batch's tokens
EXECUTORS = 4
CHAT = "/v1/chat/completions"
SIZE = ShardLimits(lines=500, bytes=4 << 20, cost=1_000_000)

Message = dict[str, Any]


@dataclass(frozen=True)
class Line:
    body: bytes  # as the user wrote it
    prompt: bytes  # as the engine reads it
    system: bytes  # text of the first system message; empty: none


class Author:
    """Writes requests; the same seed writes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def text(self, tokens: int) -> str:
        return "".join(self._random.choices("abcdefghijklmnopqrstuvwxyz     ", k=4 * tokens))

    def about(self, tokens: int) -> int:
        return max(8, round(self._random.lognormvariate(0, 0.4) * tokens))

    def line(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> Line:
        """Bodies as different clients write them: parts or text, spaces, order of keys."""
        said = [dict(message) for message in messages]
        if self._random.random() < 0.5:
            said[-1]["content"] = [{"type": "text", "text": said[-1]["content"]}]
        fields = {
            "model": "m",
            "temperature": self._random.random(),
            "messages": [
                dict(sorted(one.items(), key=lambda _: self._random.random())) for one in said
            ],
        }
        if tools:
            fields["tools"] = tools
        items = list(fields.items())
        self._random.shuffle(items)
        separators = self._random.choice([(",", ":"), (", ", ": ")])
        first = messages[0]
        return Line(
            json.dumps(dict(items), separators=separators).encode(),
            template(messages, tools),
            first["content"].encode() if first["role"] == "system" else b"",
        )

    def mixed(self, lines: list[Line]) -> list[Line]:
        self._random.shuffle(lines)
        return lines


def template(messages: Sequence[Message], tools: Sequence[Any]) -> bytes:
    """Qwen's way: the system message, tools in it, then the turns."""
    texts = [f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages]
    if tools:
        listed = "\n".join(json.dumps(tool) for tool in tools)
        texts.insert(int(messages[0]["role"] == "system"), f"# Tools\n{listed}\n")
    return "".join(texts).encode()


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def few_shot(author: Author) -> Iterator[Line]:
    """A few system prompts, under each several sets of examples."""
    for _ in range(2):
        prompt = system(author.text(author.about(200)))
        for _ in range(240):
            turns = [
                turn
                for _ in range(6)
                for turn in (
                    user(author.text(author.about(120))),
                    {"role": "assistant", "content": author.text(author.about(60))},
                )
            ]
            for _ in range(4):
                yield author.line([prompt, *turns, user(author.text(author.about(150)))])


def documents(author: Author) -> Iterator[Line]:
    """One system prompt; about each document several questions."""
    prompt = system(author.text(150))
    for _ in range(400):
        document = author.text(author.about(2000))
        for _ in range(4):
            yield author.line([prompt, user(document + author.text(author.about(40)))])


def tools(author: Author) -> Iterator[Line]:
    """Agents: one system prompt, many sets of tools, conversations that go on and on."""
    prompt = system(author.text(100))
    for _ in range(400):
        names = [author.text(8) for _ in range(8)]
        offered = [
            {
                "type": "function",
                "function": {"name": n, "description": author.text(author.about(90))},
            }
            for n in names
        ]
        history = [user(author.text(author.about(250)))]
        for _ in range(4):
            yield author.line([prompt, *history], offered)
            history += [
                {"role": "assistant", "content": author.text(author.about(80))},
                user(author.text(author.about(80))),
            ]


def everything(author: Author) -> Iterator[Line]:
    alone = (author.line([user(author.text(author.about(600)))]) for _ in range(1500))
    return chain(few_shot(author), documents(author), tools(author), alone)


SETS: dict[str, Callable[[Author], Iterator[Line]]] = {
    "few_shot": few_shot,
    "documents": documents,
    "tools": tools,
    "mixed": everything,
}


def by_system_hash(lines: Sequence[Line]) -> list[Line]:
    return sorted(
        lines, key=lambda line: xxhash.xxh32_intdigest(line.system) if line.system else 0xFFFFFFFF
    )


def planned(lines: Sequence[Line]) -> list[list[Line]]:
    """Our shards."""
    refs = sorted(
        (
            LineRef(
                line=number,
                offset=0,
                length=len(line.body),
                model="m",
                prefix=sort_key(CHAT, read_prompt(line.body)),
                cost=len(line.body) // 4,
                custom_id_hash=b"",
            )
            for number, line in enumerate(lines)
        ),
        key=lambda ref: (ref.prefix, ref.line),
    )
    return [[lines[ref.line] for ref in shard] for shard in cut_shards(refs, SIZE)]


def side_by_side(shards: Sequence[Sequence[Line]], executors: int) -> Iterator[Line]:
    """Each executor takes the next shard and sends line after line, all at the same speed."""
    for start in range(0, len(shards), executors):
        for row in zip_longest(*shards[start : start + executors]):
            yield from (line for line in row if line is not None)


def best_known(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: block_hashes(line.prompt))


def share(lines: Sequence[Line], order: Iterator[Line] | Sequence[Line]) -> float:
    """Of the prompt tokens, those that are in the cache when they are needed."""
    total = sum(count_tokens(line.prompt) for line in lines)
    cache = PrefixCache(round(CACHE * total / BLOCK_TOKENS))
    for line in order:
        cache.visit(block_hashes(line.prompt), count_tokens(line.prompt))
    return cache.hit_tokens / cache.queried_tokens


async def measure() -> Figure:
    values: dict[str, float] = {}
    mark: dict[str, str] = {}
    met = True
    for name, write in SETS.items():
        author = Author(SEED)
        lines = author.mixed(list(write(author)))
        shards = planned(lines)
        reference, best = share(lines, by_system_hash(lines)), share(lines, best_known(lines))
        ours = share(lines, list(chain.from_iterable(shards)))
        values |= {
            f"{name}_input": share(lines, lines),
            f"{name}_system_hash": reference,
            f"{name}_ours": ours,
            f"{name}_ours_{EXECUTORS}_executors": share(lines, side_by_side(shards, EXECUTORS)),
            f"{name}_best": best,
            f"{name}_ours_of_best": ours / best,
        }
        mark[f"{name}_ours"] = f"> {reference:.3f}, the reference"
        mark[f"{name}_ours_of_best"] = ">= 0.99"
        met = met and ours / best >= 0.99 and ours > reference
    return Figure(
        name="F12",
        title="prompt tokens served from a KV cache of 5 %, by order",
        values=values,
        mark=mark,
        met=met,
    )
