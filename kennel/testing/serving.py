"""Small services and sites for a router to send requests to."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from kennel.domain import Files, Socket, Upstream

Answering: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SLOW = 0.5
"""Seconds that a service takes for `/slow`."""


@asynccontextmanager
async def serving(text: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Upstream]:
    """Run a service that answers every request with a text; `/slow` takes `SLOW` seconds.

    `headers`: of every answer.
    """
    server = await asyncio.start_server(_answering(text, headers or {}), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    yield Upstream(port=port)
    server.close()


@asynccontextmanager
async def serving_on_socket(text: str) -> AsyncIterator[Socket]:
    """Run the same on a unix socket, whose path is short enough for one."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="ks"))
    path = str(folder / "sock")
    server = await asyncio.start_unix_server(_answering(text, {}), path)
    yield Socket(path=path)
    server.close()
    await asyncio.to_thread(shutil.rmtree, folder)


def _answering(text: str, headers: Mapping[str, str]) -> Answering:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = text.encode()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.split()[1] == b"/slow":
                    await asyncio.sleep(SLOW)
                length = f"Content-Length: {len(body)}".encode()
                writer.write(b"HTTP/1.1 200 OK\r\n" + more + length + b"\r\n\r\n" + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return answer


def write_site(folder: Path, files: Mapping[str, str | bytes]) -> Files:
    """Write a folder of files the way the Nix store has them: all from one second after 1970."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(file, (1, 1))
    return Files(root=str(folder))
