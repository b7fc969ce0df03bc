"""Reads the log of a build while it is written."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kennel.plugin import in_thread

PAUSE = 0.1
"""Seconds between two looks at a file that does not grow."""
CHUNK = 256 * 1024
MARK = re.compile(rb"^=== (\d{15}) bytes left out ===\n", re.MULTILINE)
"""What `BuildLog` writes in place of the middle, with a line feed before it."""


async def follow(path: Path, is_over: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
    """Yield the text of a log as it is written, until `is_over` says that nothing more comes.

    A file that is not there yet is waited for. Where the log was shortened meanwhile nothing comes
    twice, and nothing that was still there is missed.
    """
    reader = _Reader(path)
    try:
        while True:
            over = await is_over()  # before the last look: what came until then is still seen
            while chunk := await in_thread(reader.read):
                yield chunk.decode(errors="replace")
            if over:
                return
            await asyncio.sleep(PAUSE)
    finally:
        reader.close()


@dataclass(slots=True)
class _Reader:
    """A place in a log. `seen`: where in the log it is, counting what was left out too."""

    path: Path
    file: BinaryIO | None = None
    seen: int = 0

    def read(self) -> bytes:
        """Return what comes next: whole lines where possible, b"" if there is nothing now."""
        while file := self.file or self._open():
            if chunk := self._chunk(file):
                return chunk
            if not self._replaced(file):
                break
            self.close()
        return b""

    def _chunk(self, file: BinaryIO) -> bytes:
        start = file.tell()
        chunk = file.read(CHUNK)
        whole = chunk.rfind(b"\n") + 1
        if 0 < whole < len(chunk):
            file.seek(start + whole)
            chunk = chunk[:whole]
        self.seen += len(chunk)
        for mark in MARK.finditer(chunk):
            self.seen += int(mark[1]) - len(mark[0]) - 1
        return chunk

    def _open(self) -> BinaryIO | None:
        try:
            self.file = self.path.open("rb")
        except FileNotFoundError:
            return None
        if self.seen:
            self._go_on(self.file, self.file.read())
        return self.file

    def _go_on(self, file: BinaryIO, content: bytes) -> None:
        """Go to where in a shortened file the text begins that was not seen yet."""
        mark = MARK.search(content)
        if mark is None or self.seen < mark.start():
            file.seek(min(self.seen, len(content)))
            return
        place = self.seen - int(mark[1]) + len(mark[0]) + 1
        if place < mark.end():  # what comes next was left out: show that
            place = self.seen = mark.start()
        file.seek(min(place, len(content)))

    def _replaced(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self.file:
            self.file.close()
        self.file = None
