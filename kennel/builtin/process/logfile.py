"""What a service wrote, in a file that does not grow for ever. Everything here blocks."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

DAY = 24 * 60 * 60


class LogFile:
    """The last output of a unit, in two files: half of `max_bytes` each, the older one `.1`."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._older = path.with_suffix(path.suffix + ".1")
        self._half = max_bytes // 2

    def append(self, data: bytes) -> None:
        """Write, after making room: the newer file becomes the older one when it is full."""
        data = data[-self._half :]
        size = self._size()
        if size and size + len(data) > self._half:
            self._path.replace(self._older)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with os.fdopen(os.open(self._path, flags, 0o600), "ab") as file:
            file.write(data)

    def tail(self, lines: int) -> Sequence[str]:
        """Return the last lines, oldest first; none if there never was anything."""
        text = b"".join(_read(path) for path in (self._older, self._path))
        found = text.decode(errors="replace").removesuffix("\n").split("\n") if text else []
        return found[-lines:] if lines > 0 else []

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def prune(folder: Path, days: int) -> None:
    """Remove the files that nobody has written to for so many days."""
    oldest = time.time() - days * DAY
    for path in folder.iterdir():
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
