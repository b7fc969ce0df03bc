"""The scenery of a world in memory: units are coroutines that really listen."""

import asyncio
import contextlib
import socket
from concurrent.futures import Executor, Future
from typing import Any

from kennel.domain import Files, Socket, Upstream
from kennel.residents import KnownResidents
from kennel.settings import Settings
from kennel.store import Store
from kennel.testing import MemoryRouter, MemorySupervisor
from kennel.testing.memory_supervisor import MemoryHost
from tests.life.model import WAKER, Model
from tests.life.providers import NotedRouter, NotedSupervisor, Troubles


class AtOnce(Executor):
    """Runs what is submitted before it returns: what a store does then has one order."""

    def submit(self, function: Any, /, *args: Any, **more: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **more))
        except Exception as error:
            future.set_exception(error)
        return future


class MemoryScenery:
    """Memory, and a store that does everything in one order."""

    patience = 5.0
    watched = False

    def __init__(self, model: Model, troubles: Troubles, ports: range) -> None:
        self.ports = ports
        self._host = MemoryHost()
        self._router = MemoryRouter()
        self.supervisor = NotedSupervisor(MemorySupervisor(host=self._host), troubles)
        self.router = NotedRouter(self._router, troubles, model)
        self._residents: KnownResidents | None = None

    async def open(self, settings: Settings, store: Store) -> None:
        store._writers, store._readers = AtOnce(), AtOnce()  # type: ignore[assignment]

    async def close(self) -> None:
        for unit in list(self._host.units):
            await self.supervisor.inner.remove(unit)

    async def crash(self) -> None:
        """Nothing: what is here outlives Kennel."""

    async def admit(self, residents: KnownResidents) -> None:
        self._residents = residents

    async def visit(self, host: str) -> bool:
        target = self._router.visit(host)
        found = self._residents.find(host) if self._residents else None
        if not isinstance(target, Socket) or found is None or found.stopped:
            return False
        assert self._residents
        await self._residents.wake(found.key.tenant)
        return True

    async def sees(self, host: str) -> str:
        target = self._router.target(host)
        if isinstance(target, Socket):
            return WAKER
        if isinstance(target, Files):
            return target.root.rpartition("/")[2].replace("-", " ")
        if isinstance(target, Upstream):
            units = self._host.units.values()
            here = [one.env["CONTENT"].value for one in units if one.unit.port == target.port]
            return ", ".join(here) or "nobody"
        return "nothing"

    def listens(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.setblocking(False)
            return probe.connect_ex(("127.0.0.1", port)) in {0, 115} and _connected(probe)

    async def kill(self, unit: str, *, well: bool) -> None:
        there = self._host.units[unit]
        if well or there.unit.port is None:
            await self.supervisor.inner.remove(unit)
            return
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", there.unit.port)
            writer.write(b"exit 3\n")
            await reader.read()
            writer.close()


def _connected(probe: socket.socket) -> bool:
    """Return whether a connection on this machine has come about: it has at once, or never."""
    with contextlib.suppress(OSError):
        probe.getpeername()
        return True
    return False
