"""Tables for people."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeAlias

Cell: TypeAlias = str | float | int | None


@dataclass(frozen=True, slots=True)
class Table:
    """What a subject shows. `notes` go below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())

    def __str__(self) -> str:
        lines = [list(self.columns), *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        body = ["  ".join(_placed(line, widths)).rstrip() for line in lines]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.title, "", body[0], rule, *body[1:], *_noted(self.notes)])


def _placed(line: Sequence[str], widths: Sequence[int]) -> Sequence[str]:
    first, *rest = line
    return [
        first.ljust(widths[0]),
        *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)),
    ]


def _noted(notes: Sequence[str]) -> Sequence[str]:
    return ["", *notes] if notes else []


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def middle(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return round(1000 * median(seconds), 2)


def worst(seconds: Sequence[float]) -> float:
    """Return the longest in milliseconds."""
    return round(1000 * max(seconds), 2)


def ratio(one: float | None, other: float | None) -> float | None:
    """Return how many times `other` fits into `one`."""
    return round(one / other, 3) if one is not None and other else None
