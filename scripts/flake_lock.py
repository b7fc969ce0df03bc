"""Writes flake.lock from nixos/pins.json: `python scripts/flake_lock.py`.

Where Nix and the network are, `nix flake update` writes flake.lock by itself; then this writes
nixos/pins.json from it: `python scripts/flake_lock.py --take`. A test compares the two.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "flake.lock"
PINS = ROOT / "nixos" / "pins.json"

FOLLOWS = {
    "nixpkgs": (),
    "pyproject-build-systems": ("nixpkgs", "pyproject-nix", "uv2nix"),
    "pyproject-nix": ("nixpkgs",),
    "uv2nix": ("nixpkgs", "pyproject-nix"),
}
"""The inputs of flake.nix, and which of ours they are made to take for their own."""


def lock(pins: dict[str, Any]) -> str:
    """Return the text of flake.lock. `pins`: input → what is locked, and what was asked for."""
    nodes: dict[str, Any] = {"root": {"inputs": {name: name for name in FOLLOWS}}}
    for name, followed in FOLLOWS.items():
        inputs = {"inputs": {other: [other] for other in followed}} if followed else {}
        nodes[name] = {**inputs, **pins[name]}
    return _text({"nodes": nodes, "root": "root", "version": 7})


def pins_of(lock: dict[str, Any]) -> str:
    """Return the text of pins.json for a flake.lock."""
    nodes = {name: lock["nodes"][lock["nodes"]["root"]["inputs"][name]] for name in FOLLOWS}
    return _text(
        {name: {key: node[key] for key in ("locked", "original")} for name, node in nodes.items()}
    )


def _text(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--take"]:
        PINS.write_text(pins_of(json.loads(LOCK.read_text())))
    else:
        LOCK.write_text(lock(json.loads(PINS.read_text())))
