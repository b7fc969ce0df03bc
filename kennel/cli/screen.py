"""How things are shown: lines that align, on a terminal with colours, in a pipe without.

Nothing is ever cut or folded for a pipe. On a terminal that is too narrow, the columns that one
can do without are left out.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from rich.console import Console
from rich.style import Style
from rich.text import Text

GAP = "  "
LONG = 24
"""Cells a column may take on a terminal that is too narrow, unless it is shown whole."""
_ESCAPES = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.?")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

STYLES = {
    "live": "green",
    "done": "green",
    "queued": "yellow",
    "building": "yellow",
    "built": "yellow",
    "starting": "yellow",
    "waiting": "yellow",
    "removing": "yellow",
    "failing": "red",
    "failed": "red",
    "kept": "dim",
    "asleep": "dim",
    "stopped": "dim",
    "scheduled": "green",
    "cancelled": "dim",
    "prod": "bold",
}
"""How the words of Kennel look on a terminal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `spare`: 0 is always shown; the highest goes first where there is no room.

    `whole`: never shortened; a cell that is too long for its column has a line that is folded.
    """

    title: str
    spare: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row: a cell for each column, and a remark that gets a line of its own below it."""

    cells: Sequence[str | Text]
    remark: str = ""


class Screen:
    """Where a command writes: results to stdout, what it is doing to stderr."""

    def __init__(self) -> None:
        self.out = console(sys.stdout)
        self.err = console(sys.stderr)

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Write one line of the result."""
        self.out.print(text, style=style or None, soft_wrap=True)

    def pair(self, title: str, value: str | Text) -> None:
        """Write what, and its value: further lines of it stand below its first one."""
        if isinstance(value, Text):
            self.line(Text.assemble((title + GAP, "dim"), value))
            return
        first, *more = harmless(value).splitlines() or [""]
        self.line(Text.assemble((title + GAP, "dim"), first))
        for line in more:
            self.line(" " * len(title + GAP) + line)

    def note(self, text: str | Text, style: str = "") -> None:
        """Tell what is going on."""
        self.err.print(text, style=style or None, soft_wrap=True)

    def table(self, columns: Sequence[Column], rows: Sequence[Row], *, indent: str = "") -> None:
        """Write rows below their titles, aligned."""
        room = self.out.width if self.out.is_terminal else None
        for line in aligned(columns, rows, indent=indent, room=room):
            self.line(line)

    def raw(self, text: str) -> None:
        """Write the output of somebody's program to stdout, and nothing it could do harm with."""
        self.out.file.write(harmless(text, colours=_colourful(self.out)))
        self.out.file.flush()


def console(stream: IO[str]) -> Console:
    """Return a console that shows text as it is: no markup, no guesses, no emoji."""
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _colourful(on: Console) -> bool:
    return on.is_terminal and not on.no_color


def harmless(text: str, *, colours: bool = False) -> str:
    """Return text without control characters and escapes, but for tabs, newlines, colours.

    Logs are written by anybody's code: they must not move the cursor, set a title or clear.
    """

    def keep(match: re.Match[str]) -> str:
        return match[0] if colours and _COLOUR.fullmatch(match[0]) else ""

    parts = _ESCAPES.split(text)
    kept = [keep(match) for match in _ESCAPES.finditer(text)]
    clean = [_CONTROLS.sub("", part) for part in parts]
    return "".join(part + escape for part, escape in zip(clean, [*kept, ""], strict=True))


def word(text: str) -> Text:
    """Return a state or environment in its colour."""
    return Text(text, STYLES.get(text, ""))


def link(url: str) -> Text:
    """Return a URL that a terminal lets one click."""
    return Text(url, Style(color="cyan", link=url)) if url else Text("-", "dim")


def aligned(
    columns: Sequence[Column], rows: Sequence[Row], *, indent: str, room: int | None
) -> list[Text]:
    """Return the lines of a table. `room`: the width there is, None where there is no limit."""
    table = [[_cell(cell) for cell in row.cells] for row in rows]
    space = room - len(indent) if room is not None else None
    widths = _widths(columns, table)
    if space is not None and _total(widths) > space:
        table = [_shortened(columns, line) for line in table]
        widths = _widths(columns, table)
    shown = _fitting(columns, widths, space)
    if space is not None and _total([widths[i] for i in shown]) > space:
        # one line that is folded is better than all of them
        widths = _widths(columns, table, most=space // 2)
        shown = _fitting(columns, widths, space)
    lines = [_line([Text(column.title, "dim") for column in columns], widths, shown, indent)]
    for row, cells in zip(rows, table, strict=True):
        lines.append(_line(cells, widths, shown, indent))
        lines += [Text(f"{indent}{GAP}{line}", "dim") for line in harmless(row.remark).splitlines()]
    return lines


def _cell(cell: str | Text) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(harmless(cell).replace("\n", " ").replace("\t", " "))


def _widths(
    columns: Sequence[Column], table: Sequence[Sequence[Text]], *, most: int | None = None
) -> list[int]:
    """Return how wide each column is. A cell of more than `most` does not make it wider."""
    return [
        max(
            [len(column.title)]
            + [line[i].cell_len for line in table if most is None or line[i].cell_len <= most]
        )
        for i, column in enumerate(columns)
    ]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _shortened(columns: Sequence[Column], line: Sequence[Text]) -> list[Text]:
    """Return a line whose long cells end in `…`, but for those that are shown whole."""
    cells = [cell.copy() for cell in line]
    for column, cell in zip(columns, cells, strict=True):
        if not column.whole:
            cell.truncate(LONG, overflow="ellipsis")
    return cells


def _fitting(columns: Sequence[Column], widths: Sequence[int], room: int | None) -> list[int]:
    """Return the numbers of the columns to show."""
    shown = list(range(len(columns)))
    while room is not None and _total([widths[i] for i in shown]) > room:
        most = max(shown, key=lambda i: columns[i].spare)
        if columns[most].spare == 0:
            break
        shown.remove(most)
    return shown


def _line(cells: Sequence[Text], widths: Sequence[int], shown: Sequence[int], indent: str) -> Text:
    line = Text(indent)
    for i in shown:
        line.append_text(cells[i])
        if i != shown[-1]:
            line.append(" " * max(0, widths[i] - cells[i].cell_len) + GAP)
    line.rstrip()
    return line
