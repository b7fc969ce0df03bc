"""The files that systemd reads a service's environment from.

A value given as a unit's property could be read over D-Bus by everyone on the machine. So values
go through a file of root's (or Kennel's) alone, on a tmpfs; only its path is visible. It is read
at every start, the automatic ones too, and therefore stays as long as its unit.
"""

import os
import re
import secrets
from collections.abc import Collection
from pathlib import Path

from kennel.domain import Env
from kennel.errors import Rejected

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SUFFIX = ".env"
PATTERN = re.compile(r"[*?\[\]\\]")
"""What systemd would read as a pattern in the path of an environment file."""


def encode(env: Env, *, unit: str) -> bytes:
    """Return the text of an environment file (man 5 systemd.exec, EnvironmentFile=).

    Every value but one with NUL comes out as it went in. Raises Rejected with the name of the
    variable that cannot be passed on, never with its value.
    """
    return b"".join(_line(name, secret.value, unit) for name, secret in env.items())


def _line(name: str, value: str, unit: str) -> bytes:
    if not NAME.fullmatch(name):
        raise Rejected(
            f"{unit}: {name!r} cannot be the name of a variable: only letters, digits and _,"
            " and no digit first"
        )
    if "\0" in value:
        raise Rejected(f"{unit}: the value of {name} holds a NUL, which no environment can")
    quoted = re.sub(r'([\\"`$])', r"\\\1", value)
    try:
        return f'{name}="{quoted}"\n'.encode()
    except UnicodeEncodeError:
        raise Rejected(f"{unit}: the value of {name} is not text in UTF-8") from None


class EnvironmentFiles:
    """One file for every unit, in a folder nobody else may enter. All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make the folder. Raises Rejected where systemd would misread its path."""
        if PATTERN.search(str(self._folder)):
            raise Rejected(
                f"run_dir: systemd takes *, ?, [, ] and \\ in {self._folder} for a pattern:"
                " choose a path without them"
            )
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)

    def path(self, unit: str) -> Path:
        return self._folder / f"{unit}{SUFFIX}"

    def write(self, unit: str, text: bytes) -> None:
        """Put the file in its place in one step: it is never there in part."""
        draft = self._folder / f".{unit}.{secrets.token_hex(4)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        draft.rename(self.path(unit))

    def remove(self, unit: str) -> None:
        self.path(unit).unlink(missing_ok=True)

    def keep_only(self, units: Collection[str]) -> None:
        """Remove the files of all other units, and drafts that were never finished."""
        wanted = {self.path(unit) for unit in units}
        for path in self._folder.iterdir():
            if path not in wanted:
                path.unlink(missing_ok=True)
