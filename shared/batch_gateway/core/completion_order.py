"""The order in which the lines of each shard completed, stored beside the files of a batch.

The files are in input order and the shards are gone, but a client may return with a cursor that
counts lines of shards. Per shard: how many lines, then for each line, in the order of its results,
twice its number in the input, plus one if it succeeded. All are 32-bit little-endian.
"""

import sys
from array import array
from collections.abc import Iterable, Mapping

from batch_gateway.core.cursor import WHOLE

ENTRY = 4  # bytes
_OK, _FAILED, _GIVEN = 1, 2, 4
_STEP = 65536  # lines by which the table grows


def encode(lines: Iterable[tuple[int, bool]]) -> bytes:
    """One shard: line number and success, in the order of the results."""
    entries = array("I", (number * 2 + ok for number, ok in lines))
    entries.insert(0, len(entries))
    return _little(entries).tobytes()


class DeliveredLines:
    """Lines of the two files that a reader has received already, by the order fed to it."""

    def __init__(self, given: Mapping[int, int]) -> None:
        self._given = given
        self._table = bytearray()  # by line number: _OK or _FAILED, and _GIVEN
        self._rest = b""
        self._shard = -1
        self._left = 0  # entries of this shard that are still to come
        self._had = 0  # of those, how many the reader has had

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the order."""
        self._rest += chunk
        entries = array("I", self._rest[: len(self._rest) // ENTRY * ENTRY])
        self._rest = self._rest[len(entries) * ENTRY :]
        for entry in _little(entries):
            if not self._left:
                self._shard += 1
                self._left = entry
                had = self._given.get(self._shard, 0)
                self._had = entry if had == WHOLE else had
                continue
            self._left -= 1
            self._mark(entry >> 1, bool(entry & 1), self._had > 0)
            self._had -= 1

    def output(self) -> bytes:
        """One byte per line of the output file: not 0 for those that were given."""
        return bytes(self._table).translate(_FLAGS, bytes((0, _FAILED, _FAILED | _GIVEN)))

    def error(self) -> bytes:
        """The same for the error file."""
        return bytes(self._table).translate(_FLAGS, bytes((0, _OK, _OK | _GIVEN)))

    def _mark(self, line: int, ok: bool, given: bool) -> None:
        if line >= len(self._table):
            self._table.extend(bytes(line + _STEP - len(self._table)))
        if not self._table[line]:  # the first result of a line counts
            self._table[line] = (_OK if ok else _FAILED) | (_GIVEN if given else 0)


#: Values of the table -> whether the line was given.
_FLAGS = bytes(int(bool(value & _GIVEN)) for value in range(256))


def _little(entries: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        entries.byteswap()
    return entries
