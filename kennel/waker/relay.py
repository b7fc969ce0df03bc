"""Passes one request on to a service, and what it answers back, byte by byte.

Caddy sends the requests of all tenants over the same socket, and a service may be anybody's. So
one connection carries one request: what comes behind its body is never passed on, whatever the
service and Caddy make of each other, and Caddy is told to close it after the answer.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field

from kennel.domain import Upstream
from kennel.waker.body import Body, Malformed
from kennel.waker.head import Head
from kennel.waker.line import Line

LONGEST_HEAD = 64 * 1024
"""Bytes of the head of an answer."""
DIALLING = 1.0
"""Seconds for which a port that refuses is tried: its process may have been replaced."""
AGAIN = 0.05
SLOWEST_DIAL = 5.0
STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
"""Read as strictly as Caddy does: both must agree on which answer is the last one."""
SWITCHING = 101


class NoAnswer(Exception):
    """The service did not answer, and nobody was told anything yet."""


async def relay(head: Head, body: Body, caddy: Line, upstream: Upstream) -> None:
    """Have a request answered by a service. Raises NoAnswer.

    Returns when the answer has ended, or nobody is there any more to hear it.
    """
    service = await _dial(upstream)
    try:
        await _Exchange(head, body, caddy, service).run()
    finally:
        service.cut()


async def _dial(upstream: Upstream) -> Line:
    clock = asyncio.get_running_loop().time
    deadline = clock() + DIALLING
    while True:
        try:
            async with asyncio.timeout(SLOWEST_DIAL):
                return Line.of(*await asyncio.open_connection(upstream.address, upstream.port))
        except (OSError, TimeoutError) as error:
            if clock() > deadline:
                raise NoAnswer(str(error)) from error
        await asyncio.sleep(AGAIN)


@dataclass(frozen=True, slots=True)
class _Exchange:
    head: Head
    body: Body
    caddy: Line
    service: Line
    switched: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        sending = asyncio.create_task(self._send())
        receiving = asyncio.create_task(self._receive())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
        for task in (sending, receiving):
            if not task.cancelled():
                task.result()

    # Towards the service

    async def _send(self) -> None:
        """Send the request. Return when Caddy goes, or sends more than this request."""
        await self._pass_on(self.head.for_service())
        with suppress(Malformed):
            while not self.body.over:
                data = await self.caddy.read()
                taken = self.body.follow(data)
                await self._pass_on(data[:taken])
                if not data or taken < len(data):
                    return
            await self._after_the_body()

    async def _after_the_body(self) -> None:
        """Wait until Caddy goes. What comes before that is for what the connection became."""
        while data := await self.caddy.read():
            if not self.head.upgrades:
                return
            await self.switched.wait()
            await self._pass_on(data)

    async def _pass_on(self, data: bytes) -> None:
        # One that does not want to hear more may answer yet.
        with suppress(ConnectionError):
            await self.service.send(data)

    # Towards Caddy

    async def _receive(self) -> None:
        """Pass the answer on until the service ends it. Raises NoAnswer."""
        try:
            await self._receive_head()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise NoAnswer(str(error)) from error
        with suppress(OSError):
            while data := await self.service.read():
                await self.caddy.send(data)

    async def _receive_head(self) -> None:
        """Pass on the head of the answer, and what comes before it, such as 100 Continue."""
        while True:
            first = await self._line()
            found = STATUS.fullmatch(first)
            if not found:
                raise NoAnswer("the service does not speak HTTP/1.1")
            status, (fields, end) = int(found[1]), await self._fields()
            if status == SWITCHING and self.head.upgrades:
                await self.caddy.send(first + fields + end)
                self.switched.set()
                return
            if status == SWITCHING:
                raise NoAnswer("the service made something else of the connection, unasked")
            if status >= 200:  # noqa: PLR2004  what is below is not the answer yet
                # Last: a line after it that begins with a blank would be read as a part of it.
                await self.caddy.send(first + fields + b"Connection: close\r\n" + end)
                return
            await self.caddy.send(first + fields + end)

    async def _fields(self) -> tuple[bytes, bytes]:
        """Return what follows the first line, and the empty line after that.

        A line that begins with a blank would be read as a part of the one before it: no server
        has a reason to send one any more (RFC 9112, 5.2).
        """
        fields = bytearray()
        while len(fields) <= LONGEST_HEAD:
            line = await self._line()
            if line.startswith((b" ", b"\t")):
                raise NoAnswer("a header of the answer is folded")
            if line in (b"\r\n", b"\n"):
                return bytes(fields), line
            fields += line
        raise NoAnswer("the head of the answer is too long")

    async def _line(self) -> bytes:
        return await self.service.reader.readuntil(b"\n")
