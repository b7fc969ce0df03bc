"""The options that the documentation promises, read from its text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.nixos.evaluation import ROOT

PLACE = ROOT / "nixos" / "tests" / "promised"
TYPE = re.compile(r"Type: (?P<types>[^,]+?)(?:, (?:defaults?: (?P<values>.+)|required .*))?")
ENTRY = re.compile(r"• (?P<name>\w+) \((?P<type>[^,]+), default: (?P<value>.+?)\)(?: .*)?")


@dataclass(frozen=True, slots=True)
class Promise:
    """An option: its name with dots, its type and default as Nix has them, where they are told.

    `within`: it is one of each entry of that option.
    """

    name: str
    type: str | None = None
    default: str | None = None
    within: str | None = None


def promises(page: str, prefix: str) -> list[Promise]:
    """Return what a page promises of the options whose names begin with `prefix` and a dot."""
    return list(_read((PLACE / page).read_text().splitlines(), prefix))


def _read(lines: list[str], prefix: str) -> Iterator[Promise]:
    heading = re.compile(rf"{prefix}\.[\w.]+(?: / {prefix}\.[\w.]+)*")
    starts = [number for number, line in enumerate(lines) if heading.fullmatch(line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield from _option(lines[start].split(" / "), "\n".join(lines[start + 1 : end]))


def _option(names: list[str], text: str) -> Iterator[Promise]:
    entries = list(ENTRY.finditer(text.replace("\n    ", " ")))
    found = re.search(rf"^{TYPE.pattern}$", text, re.MULTILINE)
    if entries:
        [whole] = names
        each = found is not None and found["types"] == "attrsOf submodule"
        if each:
            yield Promise(whole, "attrsOf (submodule { })")
        for entry in entries:
            name = f"{whole}.{entry['name']}"
            yield Promise(name, entry["type"], entry["value"], whole if each else None)
    elif found:
        values = (found["values"] or "").split(" / ")
        for name, of, value in zip(names, found["types"].split(" / "), values, strict=True):
            yield Promise(name, of, value or None)
    elif text.strip():  # else it is the title of a section
        yield from map(Promise, names)
