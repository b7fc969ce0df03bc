"""Where the body of a request ends, so that nothing behind it is passed on. Pure."""

import re
from typing import Protocol

LONGEST_LINE = 8192
"""Bytes of a line between chunks, or of a trailer."""
SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;[^\n]*)?\r?\n")


class Malformed(ValueError):
    """A request that cannot be understood, or must not be."""


class Body(Protocol):
    """Follows a body. `over`: all of it was seen."""

    @property
    def over(self) -> bool: ...

    def follow(self, data: bytes) -> int:
        """Return how many of these bytes, which come next, belong to it."""


class Counted:
    """A body of known length; none is one of 0 bytes."""

    def __init__(self, length: int = 0) -> None:
        self._left = length

    @property
    def over(self) -> bool:
        return not self._left

    def follow(self, data: bytes) -> int:
        taken = min(self._left, len(data))
        self._left -= taken
        return taken


class Chunked:
    """A body in chunks, with trailers behind the last one."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._left = 0
        self._trailers = False
        self.over = False

    def follow(self, data: bytes) -> int:
        at = 0
        while at < len(data) and not self.over:
            at += self._skip(data, at) if self._left else self._read(data, at)
        return at

    def _skip(self, data: bytes, at: int) -> int:
        """Go on within a chunk."""
        taken = min(self._left, len(data) - at)
        self._left -= taken
        return taken

    def _read(self, data: bytes, at: int) -> int:
        """Go on within a line."""
        end = data.find(b"\n", at) + 1 or len(data)
        self._line += data[at:end]
        if len(self._line) > LONGEST_LINE:
            raise Malformed("a line between chunks is too long")
        if self._line.endswith(b"\n"):
            self._understand(bytes(self._line))
            self._line.clear()
        return end - at

    def _understand(self, line: bytes) -> None:
        if self._trailers:
            self.over = line in (b"\r\n", b"\n")
        elif found := SIZE.fullmatch(line):
            size = int(found[1], 16)
            self._left = size + len(b"\r\n") if size else 0
            self._trailers = not size
        else:
            raise Malformed("a chunk has no size")
