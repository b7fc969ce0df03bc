"""The log of one build: a file that is written as the build goes on, and never grows too long."""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from kennel.build.lines import LONGEST, plain
from kennel.plugin import in_thread

MARK = "=== {:015d} bytes left out ===\n"
"""Stands on a line of its own where the middle of a long log was. Always equally long."""

HIDDEN = "[hidden]"
DAY = 86400.0


class BuildLog:
    """Writes the log of one build.

    It may have `most` bytes: the first half of them stays, then the oldest of the rest goes. The
    values of `secrets` never get into it. (They have no business there. This is the second lock.)
    """

    def __init__(self, path: Path, *, most: int, secrets: Collection[str] = ()) -> None:
        self._path = path
        self._head = most // 2
        self._most = most
        self._secrets = [secret for secret in secrets if secret]
        self._left_out = 0
        self._file: BinaryIO | None = None
        self._closed = False
        self._lock = Lock()
        self.phase = "starting"

    async def enter(self, phase: str) -> None:
        """Note what the build is doing from here on, in words that go on from "while"."""
        self.phase = phase
        await self.say(f"=== {phase} ===")

    def hide(self, secret: str) -> None:
        """Keep one more value out of the log."""
        if secret:
            self._secrets.append(secret)

    def clean(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    async def say(self, *lines: str) -> None:
        """Write lines."""
        await in_thread(self.write, lines)

    def write(self, lines: Sequence[str]) -> None:
        """Write lines, from any thread."""
        with self._lock:  # a step that was cancelled may still be writing
            if not lines or self._closed:
                return
            file = self._file or self._open()
            file.write(b"".join(self._encoded(line) for line in lines))
            file.flush()
            if file.tell() > self._most:
                self._shorten()

    def _encoded(self, line: str) -> bytes:
        cut = plain(line)
        if len(cut) > LONGEST:
            cut = f"{cut[:LONGEST]}… ({len(cut) - LONGEST} characters more)"
        return self.clean(cut).encode(errors="replace") + b"\n"

    def _open(self) -> BinaryIO:
        """Begin the file anew: a build that was interrupted begins from the start."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _created(self._path.with_suffix(".new"))
        self._path.with_suffix(".new").replace(self._path)
        return self._file

    def _shorten(self) -> None:
        """Take the oldest of the second half out. A new file replaces the old one whole.

        Whoever reads the old one reads it to its end, and goes on in the new one: see `follow`.
        """
        kept = self._path.read_bytes()
        mark = len(MARK.format(0)) + 1
        rest = kept[self._head + (mark if self._left_out else 0) :]
        tail = rest[-(self._most // 4) :]
        self._left_out += len(rest) - len(tail)
        new = self._path.with_suffix(".new")
        file = _created(new)
        file.write(kept[: self._head] + b"\n" + MARK.format(self._left_out).encode() + tail)
        file.flush()
        new.replace(self._path)
        if self._file:
            self._file.close()
        self._file = file

    def close(self) -> None:
        """Write no more: what still comes is dropped."""
        with self._lock:
            self._closed = True
            if self._file:
                self._file.close()


def _created(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def expire(folder: Path, *, days: int, now: float, running: Collection[int]) -> list[str]:
    """Remove logs that nothing was written to for so many days. Return their names."""
    old = [path for path in _logs(folder) if path.stat().st_mtime < now - days * DAY]
    gone = [path for path in old if path.stem not in {str(number) for number in running}]
    for path in gone:
        path.unlink(missing_ok=True)
    return [path.name for path in gone]


def _logs(folder: Path) -> Iterable[Path]:
    return [*folder.glob("*.log"), *folder.glob("*.new")]
