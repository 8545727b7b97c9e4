"""``sample``, ``split`` and ``merge``: parts of files of requests, byte for byte."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from typer import Argument, Option

from batch_gateway.cli.errors import BAD_END, CommandError, report_errors
from batch_gateway.cli.inputs.files import (
    FileArgument,
    ended,
    raw_lines,
    readable,
    request_of,
)
from batch_gateway.cli.output import JsonLines, Output

if TYPE_CHECKING:
    from batch_gateway.ports.line_index import LineIndex

_MOST_DUPLICATES = 10  # printed
_NOTED = 1000  # lines handed to the index at a time
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@report_errors
def sample(
    file: FileArgument,
    count: Annotated[int, Option("--count", "-n", min=1, help="Requests to take.")] = 100,
    seed: Annotated[int, Option(help="The same seed takes the same requests.")] = 0,
    output: Output = None,
) -> None:
    """Print some requests of a file, chosen at random, in the file's order."""
    from batch_gateway.cli.batches.results import target_of

    with readable(file) as stream, target_of(output) as target:
        for offset, length in _chosen(stream, file, count, seed):
            stream.seek(offset)
            target.write(ended(stream.read(length)))


def _chosen(stream: BinaryIO, name: str, count: int, seed: int) -> list[tuple[int, int]]:
    """Offset and length of ``count`` lines, each as likely as any other, by offset.

    Reservoir sampling: one pass, and memory for ``count`` places only.
    """
    chance = random.Random(seed)
    taken: list[tuple[int, int]] = []
    seen = 0
    for number, offset, line in raw_lines(stream, name):
        if not request_of(line, number):
            continue
        seen += 1
        if len(taken) < count:
            taken.append((offset, len(line)))
        elif (place := chance.randrange(seen)) < count:
            taken[place] = (offset, len(line))
    return sorted(taken)


@report_errors
def split(
    file: FileArgument,
    folder: Annotated[
        Path, Option("--output", "-o", metavar="DIR", help="Folder for the parts.")
    ] = Path(),
    requests: Annotated[
        int, Option("--requests", "-n", min=1, help="Most requests of a part.")
    ] = 50_000,
    size: Annotated[
        str, Option(metavar="BYTES", help="Largest part, such as 500k, 200m or 1g.")
    ] = "200m",
    json: JsonLines = False,
) -> None:
    """Divide a file into parts that a batch may have, and print their names."""
    from batch_gateway.cli.output import print_json

    most = _bytes(size)
    stem = "stdin" if file == "-" else Path(file).stem
    with readable(file) as stream:
        for number, part in enumerate(_parts(stream, file, requests, most), 1):
            path = folder / f"{stem}.{number:04}.jsonl"
            _write(path, part)
            if json:
                print_json({"file": str(path)}, indent=None)
            else:
                typer.echo(str(path))


def _write(path: Path, lines: Iterator[bytes]) -> None:
    from batch_gateway.cli.batches.results import target_of

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    with target_of(path) as target:
        target.writelines(lines)


def _parts(stream: BinaryIO, name: str, requests: int, most: int) -> Iterator[Iterator[bytes]]:
    """The parts, each to be read before the next one. Blank lines are left out."""
    lines = (ended(line) for number, _, line in raw_lines(stream, name) if request_of(line, number))
    first = next(lines, None)

    def part() -> Iterator[bytes]:
        nonlocal first
        count, length = 0, 0
        while first is not None:
            if count and (count == requests or length + len(first) > most):
                return
            count, length = count + 1, length + len(first)
            yield first
            first = next(lines, None)

    while first is not None:
        yield part()


def _bytes(text: str) -> int:
    """``200m`` as a number of bytes. Raises BadParameter."""
    number, unit = text.lower().rstrip("kmgb"), text.lower().lstrip("0123456789").rstrip("b")
    if not number.isdecimal() or unit not in _UNITS or int(number) == 0:
        raise typer.BadParameter(f"--size takes a number of bytes such as 200m, not {text}")
    return int(number) * _UNITS[unit]


@report_errors
def merge(
    files: Annotated[
        list[str], Argument(metavar="FILE", help="Files of requests; -: standard input.")
    ],
    rename: Annotated[
        bool,
        Option(
            "--rename", help="Put the name of its file before each custom_id, as in `a/line-1`."
        ),
    ] = False,
    output: Output = None,
) -> None:
    """Join files of requests; a custom_id that occurs twice is an error."""
    import tempfile

    from batch_gateway.adapters.sqlite_line_index import SqliteLineIndexes
    from batch_gateway.cli.batches.results import target_of

    with (
        SqliteLineIndexes(Path(tempfile.gettempdir())).open() as index,
        target_of(output) as target,
    ):
        written = _Written(index)
        for name in files:
            prefix = f"{'stdin' if name == '-' else Path(name).stem}/" if rename else ""
            with readable(name) as stream:
                for number, _, line in raw_lines(stream, name):
                    if request_of(line, number):
                        target.write(written.note(line, name, number, prefix))
        written.check()


class _Written:
    """Every custom_id that was written, on disk: there may be millions."""

    def __init__(self, index: "LineIndex") -> None:
        self._index = index
        self._refs: list[tuple[bytes, int]] = []
        self._count = 0
        self._files: list[tuple[int, str]] = []  # lines before the file's first one, and its name

    def note(self, line: bytes, name: str, number: int, prefix: str) -> bytes:
        """The line as it is to be written. Raises CommandError for one without custom_id."""
        import json

        from batch_gateway.core.json_splice import splice_members
        from batch_gateway.core.lines import custom_id_hash, custom_id_of

        request = request_of(line, number)
        custom_id = custom_id_of(request)
        if custom_id is None:
            raise CommandError(f"{name}: line {number} has no custom_id", 2)
        if not self._files or self._files[-1][1] != name:
            self._files.append((self._count, name))
        if prefix:
            custom_id = prefix + custom_id
            request = splice_members(request, {"custom_id": json.dumps(custom_id).encode()})
        self._count += 1
        self._refs.append((custom_id_hash(custom_id), self._count))
        if len(self._refs) == _NOTED:
            self._flush()
        return request + b"\n"

    def _flush(self) -> None:
        from batch_gateway.core.planning import LineRef

        self._index.add(
            LineRef(number, 0, 0, "", b"", 0, digest, b"") for digest, number in self._refs
        )
        self._refs = []

    def check(self) -> None:
        """Raise CommandError where a custom_id was written twice."""
        self._flush()
        found = self._index.duplicates(_MOST_DUPLICATES)
        if found:
            where = "; ".join(map(self._place, found))
            raise CommandError(
                f"custom_ids that occurred before: {where}. --rename makes them differ", BAD_END
            )

    def _place(self, written: int) -> str:
        before, name = next(one for one in reversed(self._files) if one[0] < written)
        return f"request {written - before} of {name}"
