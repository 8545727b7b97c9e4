"""LineIndex in memory, for inputs of so few lines that all references fit there easily.

A scratch database costs a small input more than the rest of planning it. What ``SqliteLineIndex``
does in SQL is done here in Python; one contract suite holds both.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

from batch_gateway.core.planning import INVALID, LineRef, ReusedAnswer


class MemoryLineIndex:
    """References by line number."""

    def __init__(self) -> None:
        self._refs: dict[int, LineRef] = {}
        self._answers: dict[bytes, ReusedAnswer] = {}
        self._copies: dict[int, list[int]] = {}  # by the line whose result they get

    def add(self, refs: Iterable[LineRef]) -> None:
        self._refs.update((ref.line, ref) for ref in refs)

    def duplicates(self, limit: int) -> list[int]:
        return self._later()[:limit]

    def invalidate_duplicates(self) -> None:
        for line in self._later():
            ref = self._refs[line]
            self._refs[line] = ref._replace(model=INVALID, prefix=b"", cost=0)

    def _later(self) -> list[int]:
        """Lines whose custom_id occurred on an earlier line, ascending."""
        known: set[bytes] = set()
        found = []
        for line, ref in sorted(self._refs.items()):
            if ref.custom_id_hash in known:
                found.append(line)
            known.add(ref.custom_id_hash)
        return found

    def answer(self, answers: Iterable[ReusedAnswer]) -> None:
        for answer in answers:
            self._answers.setdefault(answer.custom_id_hash, answer)

    def answered(self) -> Iterator[tuple[int, ReusedAnswer]]:
        for line, ref in sorted(self._refs.items()):
            if self._is_answered(ref):
                yield line, self._answers[ref.custom_id_hash]

    def _is_answered(self, ref: LineRef) -> bool:
        return ref.model != INVALID and ref.custom_id_hash in self._answers

    def join_twins(self, most: int) -> Mapping[str, tuple[int, int]]:
        open_refs = [
            ref
            for ref in self._refs.values()
            if ref.twin and ref.model != INVALID and not self._is_answered(ref)
        ]
        open_refs.sort(key=lambda ref: (ref.twin, ref.line))
        lines, costs = Counter[str](), Counter[str]()
        for _, same in groupby(open_refs, key=lambda ref: ref.twin):
            twins = list(same)
            for start in range(0, len(twins), most):
                leader, *copies = twins[start : start + most]
                if not copies:
                    continue
                self._copies[leader.line] = [ref.line for ref in copies]
                self._refs[leader.line] = leader._replace(copies=len(copies))
                for ref in copies:
                    lines[ref.model] += 1
                    costs[ref.model] += ref.cost
        return {model: (count, costs[model]) for model, count in lines.items()}

    def copies(self, line: int) -> Sequence[LineRef]:
        return [self._refs[copy] for copy in self._copies.get(line, ())]

    def ordered(self) -> Iterator[LineRef]:
        copies = {line for lines in self._copies.values() for line in lines}
        left = [
            ref
            for ref in self._refs.values()
            if ref.line not in copies and not self._is_answered(ref)
        ]
        return iter(sorted(left, key=lambda ref: (ref.model, ref.prefix, ref.line)))


class MemoryLineIndexes:
    @contextmanager
    def open(self) -> Iterator[MemoryLineIndex]:
        yield MemoryLineIndex()
