"""Lines out of whatever bytes a program writes."""

import asyncio
import re
from collections.abc import AsyncIterator

CHUNK = 64 * 1024
LONGEST_READ = 8 * 1024 * 1024
"""Bytes of a line that is read whole: room for all that a flake may declare."""
LONGEST = 16 * 1024
"""Characters of a line; what is longer loses its end."""

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def plain(text: str) -> str:
    """Return a line as a terminal would leave it: no colours, nothing that was written over."""
    return CONTROL.sub("", ANSI.sub("", text.rstrip("\r").rpartition("\r")[2]))


async def batches(
    stream: asyncio.StreamReader, longest: int = LONGEST_READ
) -> AsyncIterator[list[str]]:
    """Yield the lines of a stream, as many as are there at a time, until it ends.

    Bytes that are not UTF-8 become U+FFFD. A line longer than `longest` bytes comes in pieces.
    """
    rest = bytearray()
    while chunk := await stream.read(CHUNK):
        rest += chunk
        if b"\n" in chunk or len(rest) > longest:
            *whole, last = bytes(rest).split(b"\n")
            if len(last) > longest:
                whole, last = [*whole, last], b""
            rest = bytearray(last)
            yield [line.decode(errors="replace").rstrip("\r") for line in whole]
    if rest:
        yield [rest.decode(errors="replace")]
