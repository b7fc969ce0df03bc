"""Visitors who never stop: requests at a rate, and WebSockets that stay."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import websockets

PATIENCE = 10.0
"""Seconds after which a request counts as failed."""
FRESH = 10
"""One request in so many comes over a new connection."""
EVERY = 0.1
"""Seconds between two messages on a WebSocket."""


class Connection:
    """A connection over TLS, and as little of HTTP as will do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int, host: str, context: ssl.SSLContext) -> "Connection":
        return cls(
            *await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=host, limit=1 << 20
            )
        )

    @property
    def is_open(self) -> bool:
        """Whether the server has not said goodbye: a browser does not use such a one either."""
        return not self._reader.at_eof()

    async def get(self, host: str) -> tuple[int, str]:
        self._writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await self._reader.readexactly(length)
        return int(head.split()[1]), body.decode()

    def close(self) -> None:
        self._writer.close()


@dataclass
class Load:
    """Requests to one host, each sent when it is due, whatever has become of those before."""

    host: str
    port: int
    context: ssl.SSLContext
    rate: int
    took: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    texts: set[str] = field(default_factory=set)
    _pool: list[Connection] = field(default_factory=list)

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """Keep it up for the length of the block."""
        over = asyncio.Event()
        task = asyncio.create_task(self._go_on(over))
        try:
            yield
        finally:
            over.set()
            await task
            for connection in self._pool:
                connection.close()

    async def _go_on(self, over: asyncio.Event) -> None:
        begin, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as tasks:
            while not over.is_set():
                tasks.create_task(self._one(fresh=number % FRESH == 0))
                number += 1
                await asyncio.sleep(max(0.0, begin + number / self.rate - time.perf_counter()))

    async def _one(self, *, fresh: bool) -> None:
        due = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                connection, status, text = await self._get(None if fresh else self._kept())
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.failures[f"{type(error).__name__}: {error}"] += 1
            return
        self.took.append(time.perf_counter() - due)
        self._pool.append(connection)
        if status != 200:
            self.failures[f"status {status}"] += 1
        self.texts.add(text.partition("\n")[0])

    async def _get(self, kept: Connection | None) -> tuple[Connection, int, str]:
        """Ask, and once more where a kept connection was closed before it answered anything.

        Every browser does that, as RFC 9112 (9.3.1) allows: a server may close what is idle.
        """
        if kept is not None:
            try:
                return kept, *await kept.get(self.host)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                kept.close()
                if getattr(error, "partial", b""):
                    raise
                self.retried += 1
        new = await Connection.open(self.port, self.host, self.context)
        return new, *await new.get(self.host)

    def _kept(self) -> Connection | None:
        while self._pool:
            connection = self._pool.pop()
            if connection.is_open:
                return connection
            connection.close()
        return None

    async def until(self, text: str, seconds: float = 60.0) -> None:
        """Wait until somebody has read a text."""
        async with asyncio.timeout(seconds):
            while text not in self.texts:
                await asyncio.sleep(0.01)


@dataclass
class Talkers:
    """WebSockets that say something all the time, and hear it again."""

    host: str
    port: int
    context: ssl.SSLContext
    count: int
    messages: int = 0
    cut: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        over, talking = asyncio.Event(), asyncio.Semaphore(0)
        tasks = [asyncio.create_task(self._talk(over, talking)) for _ in range(self.count)]
        for _ in tasks:
            await talking.acquire()
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*tasks)

    async def _talk(self, over: asyncio.Event, talking: asyncio.Semaphore) -> None:
        try:
            async with websockets.connect(
                f"wss://{self.host}:{self.port}/",
                host="127.0.0.1",
                port=self.port,
                ssl=self.context,
                server_hostname=self.host,
                proxy=None,
                close_timeout=1,
            ) as connection:
                talking.release()
                while not over.is_set():
                    await connection.send("hello")
                    async with asyncio.timeout(PATIENCE):
                        assert await connection.recv() == "hello"
                    self.messages += 1
                    with suppress(TimeoutError):
                        await asyncio.wait_for(over.wait(), EVERY)
        except (websockets.WebSocketException, OSError, TimeoutError) as error:
            talking.release()
            self.cut.append(f"{type(error).__name__}: {error}")
