"""Scans an input file once: checks every line and records its position.

Runs in a worker thread. Errors are collected over the whole file, as OpenAI does, up to the
configured number.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from batch_gateway.core.lines import custom_id_hash
from batch_gateway.core.model import BatchError
from batch_gateway.core.planning import INVALID, LineRef, ShardLimits
from batch_gateway.core.quotas import NO_QUOTAS, Quotas
from batch_gateway.core.validation import LineValidator, ValidLine, duplicate
from batch_gateway.ports.line_index import LineIndex
from batch_gateway.settings import PlanningSettings

CHUNK = 1024 * 1024  # bytes read at a time
REFS = 1000  # line references handed to the index at a time
#: Texts to embed in one batch, where OpenAI's limits hold.
MOST_INPUTS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRules:
    """What a deployment demands of an input file."""

    planning: PlanningSettings
    max_lines: int
    max_file_bytes: int
    strict: bool
    quotas: Quotas = NO_QUOTAS

    @property
    def shard_size(self) -> ShardLimits:
        return ShardLimits(
            lines=self.planning.shard_lines,
            bytes=self.planning.shard_bytes,
            cost=self.planning.shard_tokens,
        )


@dataclass(slots=True)
class InputScan:
    """What one pass over the input found."""

    total: int
    model: str | None  # of the first valid line
    errors: list[BatchError]
    costs: Counter[str] = field(default_factory=Counter)  # estimated tokens by model
    answers: Counter[str] = field(default_factory=Counter)  # the part of them that answers have
    lines: Counter[str] = field(default_factory=Counter)  # valid ones, by model
    inputs: int = 0  # texts to embed, where they are limited
    deduplicated: int = 0  # lines that get another's result

    def spare(self, copies: Mapping[str, tuple[int, int]]) -> None:
        """Take out what is not run; by model: lines, and what they would cost.

        Of the tokens of answers the same share goes.
        """
        for model, (lines, cost) in copies.items():
            self.deduplicated += lines
            self.lines[model] -= lines
            self.answers[model] -= self.answers[model] * cost // max(1, self.costs[model])
            self.costs[model] -= cost


def scan_lines(
    path: Path,
    index: LineIndex,
    validator: LineValidator,
    rules: InputRules,
    *,
    skip: bool = False,
    given_up: Event | None = None,
) -> InputScan:
    """Check every line of the file and put the valid ones into ``index``.

    Blank lines are passed over, a byte order mark and carriage returns are tolerated. Errors are
    collected over the whole file up to the configured number; with ``skip`` bad lines are no errors
    but go into the index too, as invalid ones. Runs in a thread of its own, which nothing but
    ``given_up`` can stop: what is returned then is of no use.
    """
    scan = InputScan(total=0, model=None, errors=[])
    most = rules.planning.max_errors
    refs: list[LineRef] = []
    for number, offset, raw in read_lines(path, rules.planning.max_line_bytes):
        if raw == b"":
            continue
        found = too_long(number, rules) if raw is None else validator.check(number, raw)
        scan.total += raw is not None or skip
        length = len(raw or b"")
        if isinstance(found, ValidLine):
            custom_id, model, prefix, cost, inputs, twin, answer = found
            scan.model = scan.model or model
            scan.costs[model] += cost
            scan.answers[model] += answer
            scan.lines[model] += 1
            scan.inputs += inputs
            digest = custom_id_hash(custom_id)
            refs.append(LineRef(number, offset, length, model, prefix, cost, digest, twin))
        elif skip:
            refs.append(_invalid(number, offset, length))
        else:
            scan.errors.append(found)
        if len(refs) == REFS:
            index.add(refs)
            refs = []
            if given_up is not None and given_up.is_set():
                return scan
        if len(scan.errors) >= most or _too_much(scan, rules):
            break
    index.add(refs)
    if scan.total > rules.max_lines:
        scan.errors = [too_many(rules.max_lines)]
    elif len(scan.costs) > rules.planning.max_models:
        scan.errors = [_too_many_models(rules.planning.max_models)]
    elif scan.inputs > MOST_INPUTS:
        scan.errors = [_too_many_inputs()]
    elif scan.total == 0 and not scan.errors:
        scan.errors = [_empty()]
    elif skip:
        index.invalidate_duplicates()
    else:
        scan.errors += [duplicate(n) for n in index.duplicates(most - len(scan.errors))]
        scan.errors.sort(key=lambda error: error.line or 0)
    return scan


def _invalid(number: int, offset: int, length: int) -> LineRef:
    """A line that counts as no duplicate: its custom_id, if it has one, is ignored."""
    return LineRef(
        line=number,
        offset=offset,
        length=length,
        model=INVALID,
        prefix=b"",
        cost=0,
        custom_id_hash=b"line %d" % number,
    )


def read_lines(path: Path, longest: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield (number from 1, offset, content) of each line; content is None when it is too long.

    Content comes without line end; a blank line is ``b""``. The offset is that of the content.
    """
    offset = 0
    with path.open("rb", buffering=CHUNK) as lines:
        number = 0
        while line := lines.readline(longest + 2):
            number += 1
            start = offset
            offset += len(line)
            if not line.endswith(b"\n") and len(line) > longest:
                while not line.endswith(b"\n") and (line := lines.readline(CHUNK)):
                    offset += len(line)
                yield number, start, None
                continue
            if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                line, start = line[3:], start + 3
            yield number, start, line.strip(b" \t\r\n") and line.rstrip(b"\r\n")


def _empty() -> BatchError:
    return BatchError(
        code="empty_file",
        message="The input file is empty. Please ensure that the batch contains at least one "
        "request.",
    )


def _too_much(scan: InputScan, rules: InputRules) -> bool:
    """Whether the batch is refused whatever the rest of its lines contains."""
    return scan.total > rules.max_lines or len(scan.costs) > rules.planning.max_models


def too_many(most: int) -> BatchError:
    return BatchError(
        code="too_many_requests",
        message=f"The input file has more than {most} requests, the most that a batch may have.",
    )


def too_large(most: int) -> BatchError:
    return BatchError(
        code="file_too_large",
        message=f"The input file is larger than {most} bytes, the most that a batch may have.",
    )


def _too_many_models(most: int) -> BatchError:
    return BatchError(
        code="too_many_models",
        message=f"The requests of the input file name more than {most} different models, the most "
        "that a batch may have.",
        param="body.model",
    )


def _too_many_inputs() -> BatchError:
    return BatchError(
        code="too_many_inputs",
        message=f"The input file has more than {MOST_INPUTS} embedding inputs, the most that a "
        "batch may have.",
    )


def too_long(line: int, rules: InputRules) -> BatchError:
    most = rules.planning.max_line_bytes
    return BatchError(
        code="line_too_long",
        message=f"This line is longer than {most} bytes, the most that a request may have.",
        line=line,
    )
