"""A connection and its end."""

import asyncio
import select
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 64 * 1024
LINGER = 2.0
"""Seconds that the other side may take to close after it has all that was sent."""
LOOK = 0.5
"""Seconds between two looks at who has gone."""


@dataclass(frozen=True, slots=True)
class Line:
    """A connection, with both of its directions. `number`: of the open file."""

    reader: StreamReader
    writer: StreamWriter
    number: int

    @classmethod
    def of(cls, reader: StreamReader, writer: StreamWriter) -> "Line":
        """Return a connection that was made just now. Nothing waits in it: see `send`."""
        writer.transport.set_write_buffer_limits(high=0)
        return cls(reader, writer, writer.get_extra_info("socket").fileno())

    async def read(self) -> bytes:
        """Return what came, b"" when nothing will come any more."""
        return await self.reader.read(CHUNK)

    async def send(self, data: bytes) -> None:
        """Send something; return when the kernel has all of it."""
        self.writer.write(data)
        await self.writer.drain()

    async def finish(self) -> None:
        """Let the other side close.

        If we did while it sends, it might never read what we had sent before.
        """
        with suppress(OSError, TimeoutError):
            self.writer.write_eof()
            async with asyncio.timeout(LINGER):
                while await self.read():
                    pass

    def cut(self) -> None:
        """End the connection at once."""
        self.writer.transport.abort()


class Farewells:
    """Notices who has closed a connection that nobody reads from at the time.

    A held request may have a body. It is not read before there is somebody to send it to, so the
    end that comes after it would not be seen either. The kernel tells both apart.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, tuple[Line, Callable[[], object]]] = {}

    def watch(self, line: Line, gone: Callable[[], object]) -> None:
        """Have `gone` called, once, when the other side of a connection has gone."""
        self._watched[line.number] = line, gone
        self._poll.register(line.number, select.POLLHUP)

    def forget(self, line: Line) -> None:
        """Watch a connection no more, unless its number is another's by now."""
        if self._watched.get(line.number, (None,))[0] is line:
            self._drop(line.number)

    def _drop(self, number: int) -> None:
        del self._watched[number]
        self._poll.unregister(number)

    async def run(self) -> None:
        """Look every now and then, for ever."""
        while True:
            await asyncio.sleep(LOOK)
            for number, _ in self._poll.poll(0):
                _, gone = self._watched[number]
                self._drop(number)
                gone()
