"""Who was visited: with every request Caddy reads a file, and the kernel notes when. Blocking.

A file that has not been read since it was looked at says that it was read last in 1970, and
written a second later. The next read puts the time right, wherever times of reading are kept
(`relatime`, the default, or `strictatime`). It costs the request nothing.
"""

import os
from collections.abc import Iterable
from pathlib import Path

UNREAD = (0, 1)
"""The times of last reading and writing of a file that nobody has read."""
COUNTED = (".upstream", ".site")
SOCKET = b"unix/"
"""How an upstream begins that is a socket: who listens there sees the visitors itself."""


def expect(file: Path) -> None:
    """Let the next read of a file show."""
    os.utime(file, UNREAD)


def counted(generations: Path) -> tuple[str, ...]:
    """Return the files that are read for visitors, in all generations of a tenant."""
    try:
        folders = [folder for folder in generations.iterdir() if not folder.name.startswith(".")]
    except FileNotFoundError:
        return ()
    return tuple(file for folder in folders for file in counted_in(folder))


def counted_in(folder: Path) -> tuple[str, ...]:
    """Return the files of one generation that are read for visitors."""
    try:
        return tuple(str(file) for file in folder.iterdir() if file.suffix in COUNTED)
    except FileNotFoundError:  # replaced at this moment
        return ()


def take(files: Iterable[str]) -> bool:
    """Return whether one was read for a visitor since this was asked last.

    A visit that comes in between the question and the answer is in the answer.
    """
    return sum([_take(file) for file in files]) > 0  # each: `any` would stop at the first


def _take(file: str) -> bool:
    try:
        if not os.stat(file).st_atime_ns:  # noqa: PTH116  thousands of times
            return False
        text = Path(file).read_bytes()
        expect(Path(file))
    except FileNotFoundError:  # replaced at this moment, and looked at by who replaced it
        return False
    return not text.startswith(SOCKET)


def show(folder: Path) -> bool:
    """Return whether reading a file in this folder leaves a trace."""
    probe = folder / ".read"
    probe.write_text("probe")
    try:
        expect(probe)
        probe.read_text()
        return probe.stat().st_atime_ns != 0
    finally:
        probe.unlink()
