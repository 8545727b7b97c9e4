"""Tables and texts: for people as wide as their terminal, for pipes as wide as needed."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import typer

Row = Sequence[str]

_GAP = 2  # blanks between columns
_INDENT = "  "


def print_table(titles: Row, rows: Iterable[Row]) -> None:
    """A line of titles and a line for each row; nothing is cut.

    On a terminal that is too narrow the last columns leave the table: their cells stand below each
    row, with their titles. In a pipe each row is one line.
    """
    found = [list(row) for row in rows]
    if not sys.stdout.isatty():
        for line in columns([titles, *found]):
            typer.echo(line)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    shown = _that_fit([titles, *found], console.width)
    head, *lines = columns([row[:shown] for row in [titles, *found]])
    console.print(Text(head, style="bold"))
    for line, row in zip(lines, found, strict=True):
        console.print(Text(line))
        for below in _below(titles[shown:], row[shown:], console.width):
            console.print(Text(below))


def print_row(cells: Row) -> None:
    """A line; on a terminal that is too narrow the last cells stand below it."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    shown = _that_fit([cells], width)
    print_text((" " * _GAP).join(cells[:shown]))
    for below in _below([""] * (len(cells) - shown), cells[shown:], width):
        print_text(below)


def print_text(text: str, *, err: bool = False) -> None:
    """Lines of words. On a terminal a line that is too long continues below, indented; in a pipe it
    stays one line."""
    if (sys.stderr if err else sys.stdout).isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(folded for line in text.split("\n") for folded in _folded(line, width))
    typer.echo(text, err=err)


def _folded(line: str, width: int) -> Sequence[str]:
    line = line.expandtabs()
    if len(line) <= width:
        return [line]
    import textwrap

    return textwrap.wrap(
        line, max(width, 20), subsequent_indent=_INDENT * 2, break_on_hyphens=False
    )


def _that_fit(rows: Sequence[Row], width: int) -> int:
    """How many columns fit beside one another: at least one."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ends = accumulate(widths, lambda end, each: end + _GAP + each)
    return max(1, sum(end <= width for end in ends))


def _below(titles: Row, cells: Row, width: int) -> Iterator[str]:
    """Cells with their titles, as many on a line as fit."""
    line = ""
    for title, cell in zip(titles, cells, strict=True):
        if not cell:
            continue
        field = f"{title.lower()} {cell}".strip()
        longer = f"{line}{' ' * _GAP}{field}" if line else f"{_INDENT}{field}"
        if line and len(longer) > width:
            yield line
            longer = f"{_INDENT}{field}"
        line = longer
    if line:
        yield line


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """A line for each field: its name, and its value beside it."""
    found = list(fields)
    if not sys.stdout.isatty():
        for line in columns(found):
            typer.echo(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in found:
        table.add_row(name, Text(value))
    Console(highlight=False).print(table)


def columns(rows: Sequence[Row]) -> Iterator[str]:
    """Rows whose cells are aligned, as wide as needed."""
    if not rows:
        return
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
