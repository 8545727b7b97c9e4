"""LineIndex in a temporary SQLite database, which serves as an external sort.

The database lives in one file that is unlinked as soon as it is open, so it is gone even when the
process is killed. It needs neither journal nor durability: it is never read again. Memory is
bounded by SQLite's page cache; larger sorts spill into the folder for temporary files (TMPDIR).
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from batch_gateway.adapters.disk_errors import refused
from batch_gateway.core.errors import StorageFull, Unavailable
from batch_gateway.core.planning import INVALID, LineRef, ReusedAnswer

_CACHE_KIB = 16 * 1024  # memory of the page cache, and again of a sort

_TABLE = """
CREATE TABLE refs (
    line INTEGER PRIMARY KEY,
    "offset" INTEGER NOT NULL,
    length INTEGER NOT NULL,
    model TEXT NOT NULL,
    prefix BLOB NOT NULL,
    cost INTEGER NOT NULL,
    custom_id_hash BLOB NOT NULL,
    twin BLOB NOT NULL,
    copies INTEGER NOT NULL
)
"""
_ANSWERS = """
CREATE TABLE answers (
    custom_id_hash BLOB PRIMARY KEY,
    file INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    length INTEGER NOT NULL
) WITHOUT ROWID
"""
_ANSWERED = """
SELECT line, answers.* FROM refs JOIN answers USING (custom_id_hash) WHERE model != ? ORDER BY line
"""
_UNANSWERED = "(model = '' OR custom_id_hash NOT IN (SELECT custom_id_hash FROM answers))"
_COPIES = (
    "CREATE TABLE copies (leader INTEGER, line INTEGER, PRIMARY KEY (leader, line)) WITHOUT ROWID"
)
_JOIN = """
INSERT INTO copies SELECT leader, line FROM (
    SELECT line, first_value(line) OVER (PARTITION BY twin, part ORDER BY line) AS leader FROM (
        SELECT line, twin, (row_number() OVER (PARTITION BY twin ORDER BY line) - 1) / ? AS part
        FROM refs WHERE twin != x'' AND model != '' AND {open}
    )
) WHERE line != leader
"""
_IS_COPY = -1  # in place of the number of its copies
_COUNT = f"""
UPDATE refs SET copies = {_IS_COPY} WHERE line IN (SELECT line FROM copies);
UPDATE refs SET copies = (SELECT count(*) FROM copies WHERE leader = refs.line)
WHERE line IN (SELECT leader FROM copies);
"""
_SPARED = f"SELECT model, count(*), sum(cost) FROM refs WHERE copies = {_IS_COPY} GROUP BY model"
_OF_LEADER = """
SELECT refs.* FROM copies JOIN refs USING (line) WHERE leader = ? ORDER BY copies.line
"""
_LATER = """
SELECT line FROM (
    SELECT line, row_number() OVER (PARTITION BY custom_id_hash ORDER BY line) AS nth FROM refs
) WHERE nth > 1
"""
#: Without the number of the line SQLite sorts half as much; nearly always there is none.
_HAS_DUPLICATES = "SELECT 1 FROM refs GROUP BY custom_id_hash HAVING count(*) > 1 LIMIT 1"
_DUPLICATES = f"{_LATER} ORDER BY line LIMIT ?"
_INVALIDATE = f"UPDATE refs SET model = ?, prefix = x'', cost = 0 WHERE line IN ({_LATER})"


class SqliteLineIndex:
    """Made by ``SqliteLineIndexes.open``. Used by one thread at a time."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._answers = False  # whether there is a table of them
        self._joined = False  # whether there are copies

    def add(self, refs: Iterable[LineRef]) -> None:
        self._database.executemany("INSERT INTO refs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", refs)

    def duplicates(self, limit: int) -> list[int]:
        if self._database.execute(_HAS_DUPLICATES).fetchone() is None:
            return []
        return [line for (line,) in self._database.execute(_DUPLICATES, (limit,))]

    def invalidate_duplicates(self) -> None:
        self._database.execute(_INVALIDATE, (INVALID,))

    def answer(self, answers: Iterable[ReusedAnswer]) -> None:
        if not self._answers:
            self._database.execute(_ANSWERS)
            self._answers = True
        self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", answers)

    def answered(self) -> Iterator[tuple[int, ReusedAnswer]]:
        if not self._answers:
            return
        for line, *answer in self._database.execute(_ANSWERED, (INVALID,)):
            yield line, ReusedAnswer._make(answer)

    def join_twins(self, most: int) -> Mapping[str, tuple[int, int]]:
        self._database.execute(_COPIES)
        self._database.execute(_JOIN.format(open=_UNANSWERED if self._answers else "TRUE"), (most,))
        for statement in _COUNT.split(";"):
            self._database.execute(statement)
        self._joined = True
        return {model: (lines, cost) for model, lines, cost in self._database.execute(_SPARED)}

    def copies(self, line: int) -> Sequence[LineRef]:
        return [LineRef._make(row) for row in self._database.execute(_OF_LEADER, (line,))]

    def ordered(self) -> Iterator[LineRef]:
        conditions = [_UNANSWERED] * self._answers + [f"copies != {_IS_COPY}"] * self._joined
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = self._database.execute(f"SELECT * FROM refs {where} ORDER BY model, prefix, line")
        return map(LineRef._make, rows)


class SqliteLineIndexes:
    def __init__(self, temp_dir: Path) -> None:
        """``temp_dir`` is a folder on local disk, made when it is missing."""
        self._temp_dir = temp_dir

    @contextmanager
    def open(self) -> Iterator[SqliteLineIndex]:
        try:
            with closing(self._database()) as database:
                yield SqliteLineIndex(database)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull(f"line index in {self._temp_dir}: {error}") from error
            raise Unavailable(f"line index in {self._temp_dir}: {error}") from error

    def _database(self) -> sqlite3.Connection:
        """An empty database in a file without a name."""
        try:
            self._temp_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._temp_dir, suffix=".db") as file:
                database = sqlite3.connect(file.name, isolation_level=None, check_same_thread=False)
        except OSError as error:
            raise refused(f"line index in {self._temp_dir}", error) from error
        database.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA locking_mode = EXCLUSIVE;
            PRAGMA cache_size = -{_CACHE_KIB};
            {_TABLE};
            BEGIN;
            """
        )
        return database
