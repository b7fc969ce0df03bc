"""Writes docs/options.md from the modules for NixOS and devenv: `python scripts/nix_options.py`.

It takes Nix, and nothing else: what the modules use of nixpkgs is in nixos/tests. A test compares
the two, so the book cannot fall behind the code.
"""

import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "docs" / "options.md"

INTRODUCTION = """\
# Options of the modules for NixOS and devenv

Written from the modules themselves. [Kennel on NixOS](nixos.md) and
[One module in devenv.nix](devenv.md) tell how to use them.
"""
CHAPTERS = {"nixos": "NixOS: services.kennel", "devenv": "devenv: scottylabs"}


def expression(module: str) -> str:
    """Return the expression that lists the options of a module: "nixos" or "devenv"."""
    return f'import {ROOT}/nixos/tests/options.nix {{ module = "{module}"; }}'


def options(module: str) -> list[dict[str, Any]]:
    """Return the options of a module, as Nix says."""
    words = ["nix-instantiate", "--readonly-mode", "--eval", "--strict", "--json", "-E"]
    done = subprocess.run([*words, expression(module)], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def book(modules: dict[str, list[dict[str, Any]]]) -> str:
    """Return the whole page. `modules`: the options of each."""
    chapters = (_chapter(CHAPTERS[name], found) for name, found in modules.items())
    return "\n".join([INTRODUCTION, *chapters])


def _chapter(title: str, found: Iterable[dict[str, Any]]) -> str:
    head = [f"## {title}\n", "| option | type | default | |", "|---|---|---|---|"]
    return "\n".join([*head, *_rows(found)]) + "\n"


def _rows(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    for option in found:
        default = "" if option["default"] is None else f"`{option['default']}`"
        text = " ".join(option["description"].split())
        if option["readOnly"]:
            text += " Read-only."
        if option["example"] is not None:
            text += f" Example: `{option['example']}`"
        cells = (f"`{option['name']}`", option["type"], default, text)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    BOOK.write_text(book({module: options(module) for module in CHAPTERS}))
