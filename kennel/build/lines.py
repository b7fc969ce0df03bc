"""Lines out of whatever bytes a program writes."""

import asyncio
import re
from collections.abc import AsyncIterator

CHUNK = 64 * 1024
LONGEST = 16 * 1024
"""Characters of a line; what is longer loses its end."""

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def plain(text: str) -> str:
    """Return a line as a terminal would leave it: no colours, nothing that was written over."""
    return CONTROL.sub("", ANSI.sub("", text.rstrip("\r").rpartition("\r")[2]))


async def batches(stream: asyncio.StreamReader, longest: int = 1 << 20) -> AsyncIterator[list[str]]:
    """Yield the lines of a stream, as many as are there at a time, until it ends.

    Bytes that are not UTF-8 become U+FFFD. A line longer than `longest` bytes comes in pieces.
    """
    rest = b""
    while chunk := await stream.read(CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > longest:
            whole, rest = [*whole, rest], b""
        if whole:
            yield [line.decode(errors="replace").rstrip("\r") for line in whole]
    if rest:
        yield [rest.decode(errors="replace")]
