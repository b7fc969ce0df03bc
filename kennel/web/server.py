"""Runs an application on a listener, inside the loop that is running."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from socket import socket

import uvicorn
from litestar import Litestar

from kennel.plugin import in_thread
from kennel.web.listener import BACKLOG, Listener
from kennel.web.protocol import LimitedProtocol

GRACE = 10
"""Seconds that requests under way get when the server stops."""


class _Server(uvicorn.Server):
    """A uvicorn that leaves signals to the daemon and says when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.told_to_stop = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Wait to be told to stop. Once a second the time in the answers is renewed."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.told_to_stop.wait(), 1.0)

    def stop(self) -> None:
        self.should_exit = True
        self.told_to_stop.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A server at work. `port` is 0 on a unix socket."""

    port: int
    task: asyncio.Task[None]

    async def ended(self) -> None:
        """Wait until the server has ended, which it does by itself only through an error."""
        await asyncio.shield(self.task)


@asynccontextmanager
async def serve(
    app: Litestar,
    listener: Listener,
    *,
    trusted_proxies: Sequence[str] = (),
    grace: int = GRACE,
) -> AsyncIterator[Serving]:
    """Answer requests for as long as the context is open; then finish those under way.

    `trusted_proxies`: addresses whose X-Forwarded-For is believed. `grace`: seconds after which
    requests that are not finished are cut off.
    """
    server = _Server(_config(app, trusted_proxies, grace))
    task = asyncio.create_task(server.serve(sockets=[listener.socket]), name="web")
    try:
        await _started(server, task)
        yield Serving(port=listener.port, task=task)
    finally:
        server.stop()
        await _stopped(server, task)
        await in_thread(listener.close)


def _config(app: Litestar, trusted_proxies: Sequence[str], grace: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        backlog=BACKLOG,
        timeout_graceful_shutdown=grace,
    )


async def _started(server: _Server, task: asyncio.Task[None]) -> None:
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if task.done():
        task.result()
        raise RuntimeError("the web server ended before it had started")


async def _stopped(server: _Server, task: asyncio.Task[None]) -> None:
    """Wait for the server, then for the requests that it has cut off."""
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
