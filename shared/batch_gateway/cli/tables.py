"""Tables on standard output: for people as wide as their terminal, for pipes as wide as needed."""

import sys
from collections.abc import Iterable, Iterator, Sequence

import typer

Row = Sequence[str]


def print_table(titles: Row, rows: Iterable[Row], *, whole: Sequence[int] = (0,)) -> None:
    """A line of titles and a line for each row.

    On a terminal cells that do not fit are wrapped, except those of the columns ``whole`` (ids,
    which are copied). In a pipe each row is one line, and nothing is cut.
    """
    found = [list(row) for row in rows]
    if not sys.stdout.isatty():
        for line in columns([titles, *found]):
            typer.echo(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, title in enumerate(titles):
        table.add_column(title, no_wrap=number in whole, overflow="fold")
    for row in found:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console(highlight=False).print(table)


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
