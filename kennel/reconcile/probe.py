"""Asks a service on this machine how it does: one request, and the first line of the answer."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from kennel.domain import Ready, Upstream

TIMEOUT = 5.0
"""Seconds a service may take to answer."""
LINGER = 0.1
MOST = 1 << 16
"""Seconds and bytes that the rest of an answer is read for: it may have no end, and who is hung up
on complains in its log."""

TAKEN = 0.5
"""Seconds until a port counts as nobody's: who is not there refuses at once, or never answers."""

STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: |\r?\n)")
OK, BAD = 200, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with a service, in words.

    `answers`: it has said so itself. `late`: it did not say anything in time; it may be busy.
    """

    what: str
    answers: bool = False
    late: bool = False

    def __str__(self) -> str:
        return self.what


async def look(at: Upstream, ready: Ready, *, host: str) -> Trouble | None:
    """Ask once. Return None if what listens there does well.

    `host` goes into the Host header, since some frameworks refuse others.
    """
    asked = f"GET http://{at}{ready.path}" if ready.path else f"connecting to {at}"
    try:
        async with asyncio.timeout(TIMEOUT), _connected(at) as (reader, writer):
            if ready.path is None:
                return None
            writer.write(_request(ready.path, host))
            line, status = await _answer(reader)
            await _rest(reader)
    except TimeoutError:
        return Trouble(what=f"{asked}: no answer within {TIMEOUT:g} s", late=True)
    except (OSError, ValueError) as error:
        return Trouble(what=f"{asked}: {_plain(error, at)}")
    if status is None:
        return Trouble(what=f"{asked}: {_no_http(line)}")
    return Trouble(what=f"{asked}: status {status}", answers=True) if status >= BAD else None


async def is_taken(at: Upstream) -> bool:
    """Return whether anybody takes connections there."""
    try:
        async with asyncio.timeout(TAKEN), _connected(at):
            return True
    except OSError:  # TimeoutError is one
        return False


@contextlib.asynccontextmanager
async def _connected(
    at: Upstream,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(at.address, at.port, limit=MOST)
    try:
        yield reader, writer
    finally:
        writer.close()


def _request(path: str, host: str) -> bytes:
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: kennel",
        "Accept: */*",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, int | None]:
    """Return the first line of the final answer, and the status in it."""
    while True:
        line = await reader.readline()
        found = STATUS.match(line)
        if found is None or int(found[1]) >= OK:
            return line, int(found[1]) if found else None
        while (await reader.readline()).strip():
            pass  # the headers of "103 Early Hints" and the like


async def _rest(reader: asyncio.StreamReader) -> None:
    left = MOST
    with contextlib.suppress(OSError):
        async with asyncio.timeout(LINGER):
            while left > 0 and (data := await reader.read(left)):
                left -= len(data)


def _no_http(line: bytes) -> str:
    if not line:
        return "it hung up without an answer"
    return f"it answers no HTTP, but {line[:60].decode(errors='replace').rstrip()!r}"


def _plain(error: Exception, at: Upstream) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens there. Does the service listen on $PORT (here {at.port})?"
    if isinstance(error, ValueError):
        return f"its first line has more than {MOST} bytes"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
