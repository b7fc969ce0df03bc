"""Kennel's Nix code, evaluated by the real Nix with stand-ins for nixpkgs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = ROOT / "nixos" / "tests" / "configurations"
GOLDEN = Path(__file__).parent / "golden"
HASHED = re.compile(r"/\S*?/[0-9a-df-np-sv-z]{32}-")
KENNEL = Path(sys.executable).with_name("kennel")

CONF = """\
experimental-features = nix-command flakes
build-users-group =
sandbox = false
substituters =
flake-registry =
"""


class Refused(Exception):
    """Nix refuses; the message is Nix's."""


@dataclass(frozen=True, slots=True)
class Nix:
    """A Nix with a store of its own. `folder`: where all of it is."""

    folder: Path

    @property
    def variables(self) -> Mapping[str, str]:
        places = {"STORE": "store", "STATE": "var", "LOG": "log", "CONF": "conf"}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "NIX_REMOTE": "local",
            **{f"NIX_{name}_DIR": str(self.folder / place) for name, place in places.items()},
        }

    def run(self, *words: str) -> str:
        """Return what a command prints. Raises Refused with what it says instead."""
        done = subprocess.run(
            words,
            env=self.variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, which may use paths of the repository: ./nixos."""
        return json.loads(
            self.run("nix-instantiate", "--eval", "--strict", "--json", "-E", expression)
        )

    def build(self, expression: str) -> Path:
        """Build a derivation and return where it is."""
        return Path(self.run("nix-build", "--no-out-link", "-E", expression).strip())


def configuration(name: str, modules: Sequence[str] = (), **arguments: str) -> str:
    """Return the expression that evaluates a configuration, with more modules and arguments."""
    given = "".join(f"{key} = {json.dumps(value)}; " for key, value in arguments.items())
    return (
        f"import ./nixos/tests/evaluate.nix {{ {given} configuration = {path(name)};"
        f" modules = [ {' '.join(f'({text})' for text in modules)} ]; }}"
    )


def project(name: str, modules: Sequence[str] = (), **arguments: str) -> str:
    """Return the expression that evaluates a project's devenv.nix; as `configuration` does."""
    given = "".join(f"{key} = {json.dumps(value)}; " for key, value in arguments.items())
    return (
        f"import ./nixos/tests/devenv.nix {{ {given} project = ./nixos/tests/projects/{name}.nix;"
        f" modules = [ {' '.join(f'({text})' for text in modules)} ]; }}"
    )


def path(name: str) -> str:
    return f"./{(CONFIGURATIONS / name).relative_to(ROOT)}.nix"


def agreed(name: str, text: str) -> str:
    """Return the golden file of that name, for `text` to be compared with.

    With KENNEL_WRITE_GOLDEN=1 it is written first: look at what `git diff` says then.
    """
    file = GOLDEN / name
    if os.environ.get("KENNEL_WRITE_GOLDEN") == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return file.read_text()


def without_hashes(text: str) -> str:
    """Return a text with the same store paths on every machine."""
    return HASHED.sub("/nix/store/HASH-", text)
