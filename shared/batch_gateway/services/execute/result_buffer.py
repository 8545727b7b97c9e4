"""The results of a leased shard: stored parts, and results that wait to be stored."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batch_gateway.core.lines import PartLine, encode_part_line
from batch_gateway.core.model import ResultPart, ResultTally, Shard
from batch_gateway.core.result_totals import ResultTotals
from batch_gateway.services.results.parts import MOST_BYTES

if TYPE_CHECKING:
    from batch_gateway.services.results.parts import ShardResults


class ResultBuffer:
    """Keeps results in memory until they are stored as a part, and counts all results.

    It is full with a number of results, or with ``MOST_BYTES`` of them; the results of calls that
    run then are added too. ``parts`` are stored, ``sequence`` is the number of the next one.
    ``stored_tally`` counts the results in ``parts``, ``recorded_tally`` is the tally that the
    database has.
    """

    def __init__(self, shard: Shard, *, most: int) -> None:
        """With ``most`` results waiting the buffer is full."""
        self.parts: list[ResultPart] = list(shard.parts)
        self.sequence = 0
        self.stored_tally = shard.tally
        self.recorded_tally = shard.tally
        self._totals = ResultTotals.of(shard.tally)
        self._waiting: list[bytes] = []
        self._bytes = 0  # of the waiting results
        self._taken = 0  # bytes of those that are being stored
        self._bytes_stored = 0
        self._most = most
        self._reported = self._totals.lines

    def load(self, done: "ShardResults") -> None:
        """Continue after the results of ``done``, which are stored."""
        self._totals = done.totals
        self.stored_tally = done.tally
        self._waiting, self._bytes = [], 0
        self._bytes_stored = done.size
        self._reported = self._totals.lines

    def __len__(self) -> int:
        """Results that wait to be stored."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Of results that are not stored."""
        return self._bytes + self._taken

    @property
    def full(self) -> bool:
        """No line may be started until results have been stored."""
        return len(self._waiting) >= self._most or self._bytes >= MOST_BYTES

    @property
    def should_store(self) -> bool:
        """Enough results wait to store them before the interval is over."""
        return len(self._waiting) >= self._most // 4 or self._bytes >= MOST_BYTES // 4

    @property
    def fits_one_part(self) -> bool:
        """All results, stored or not, are few enough bytes to be held in memory together."""
        return self._bytes_stored + self._bytes <= MOST_BYTES

    @property
    def all_recorded(self) -> bool:
        """The database has recorded all stored results."""
        return self.stored_tally == self.recorded_tally

    def add(self, results: Sequence[PartLine]) -> None:
        encoded = [encode_part_line(one) for one in results]  # may raise: count afterwards
        self._waiting += encoded
        for one, line in zip(results, encoded, strict=True):
            self._bytes += len(line)
            self._totals.add(one)

    @property
    def waiting(self) -> Sequence[bytes]:
        """The results that wait to be stored, as encoded lines."""
        return self._waiting

    def take(self) -> list[bytes]:
        """The waiting results as encoded lines; the caller stores them or puts them back."""
        lines, self._waiting = self._waiting, []
        self._taken, self._bytes = self._bytes, 0
        return lines

    def put_back(self, lines: list[bytes]) -> None:
        """Undo ``take`` after a failed write."""
        self._waiting = lines + self._waiting
        self._bytes += sum(map(len, lines))
        self._taken = 0

    def stored(self, part: ResultPart, size: int) -> None:
        """``part`` of ``size`` bytes was written."""
        self.sequence += 1
        self.parts.append(part)
        self._bytes_stored += size
        self._taken = max(0, self._taken - size)

    def closed_unreadable(self, tally: ResultTally) -> None:
        """The shard was closed with ``tally`` because its lines cannot be read."""
        self._totals = ResultTotals.of(tally)
        self.stored_tally = tally

    @property
    def lines(self) -> int:
        """Number of results, stored or not."""
        return self._totals.lines

    @property
    def tally(self) -> ResultTally:
        """Counts all results, stored or not; without statistics of their calls."""
        return self._totals.tally

    @property
    def whole_tally(self) -> ResultTally:
        """Counts all results, stored or not; with statistics of their calls."""
        return self._totals.whole_tally

    def take_new(self) -> int:
        """Number of results added since the last call."""
        new, self._reported = self.lines - self._reported, self.lines
        return new
