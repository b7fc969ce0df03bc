"""The scenery of a world of real parts: processes or units, Kennel's own Caddy, and the waker."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import httpx

from kennel.builtin.caddy import CaddyRouter, Config
from kennel.builtin.process import ProcessConfig, ProcessSupervisor
from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Socket
from kennel.plugin import Supervisor
from kennel.plugin.settings import Host
from kennel.residents import KnownResidents
from kennel.settings import Settings
from kennel.store import Store, tenants
from kennel.testing.host import Box
from kennel.testing.probe import eventually, free_port
from kennel.waker import Waker
from tests.life.model import WAKER, Model
from tests.life.providers import NotedRouter, NotedSupervisor, Troubles

PERSON, CRAWLER = "curl/8.9.1", "Googlebot/2.1"
"""Who wakes whom they visit, and who does not."""

MakeSupervisor: TypeAlias = Callable[[Host], Supervisor]


def processes(host: Host) -> Supervisor:
    """Return what runs services as processes: they end with Kennel, which starts them again."""
    return ProcessSupervisor(
        ProcessConfig(restart_delay=0.05, start_limit=3, stop_timeout=1.0), host
    )


def units_of(box: Box) -> MakeSupervisor:
    """Return what makes a supervisor whose units are a box's: they go on without Kennel."""
    config = SystemdConfig(
        bus=box.bus,
        journal=box.journal,
        restart_delay=0.05,
        start_limit=3,
        stop_timeout=1.0,
        firewall="off",
    )
    return lambda host: SystemdSupervisor(config, host)


class RealScenery:
    """A real supervisor and a real Caddy. Caddy ends with Kennel, and the next one starts it."""

    patience = 20.0
    watched = True

    def __init__(
        self, make_supervisor: MakeSupervisor, model: Model, troubles: Troubles, ports: range
    ) -> None:
        self.ports = ports
        self._make_supervisor = make_supervisor
        self._model, self._troubles = model, troubles
        self._web = free_port(), free_port()
        self._guests: set[asyncio.Task[str]] = set()
        self._waker: Waker | None = None

    async def open(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._supervisor, self._router = await self._opened()
        self.supervisor = NotedSupervisor(self._supervisor, self._troubles)
        self.router = NotedRouter(self._router, self._troubles, self._model)
        self._client = httpx.AsyncClient(trust_env=False, timeout=60.0)

    async def _opened(self) -> tuple[Supervisor, CaddyRouter]:
        here = self._settings
        host = Host(state_dir=here.state_dir, run_dir=here.run_dir, domain=here.domains.ephemeral)
        http, https = self._web
        caddy = CaddyRouter(Config(http_port=http, https_port=https, tls="none"), host)
        supervisor = self._make_supervisor(host)
        await supervisor.__aenter__()
        await caddy.__aenter__()
        return supervisor, caddy

    async def close(self) -> None:
        for unit in await self._supervisor.observe():
            await self._supervisor.remove(unit)
        await self._shut()
        await self._client.aclose()

    async def _shut(self) -> None:
        for guest in self._guests:
            guest.cancel()
        await asyncio.gather(*self._guests, return_exceptions=True)
        if self._waker:
            await self._waker.__aexit__(None, None, None)
        self._waker = None
        await self._router.__aexit__(None, None, None)
        await self._supervisor.__aexit__(None, None, None)

    async def crash(self) -> None:
        await self._shut()
        self._supervisor, self._router = await self._opened()
        self.supervisor.inner, self.router.inner = self._supervisor, self._router

    async def admit(self, residents: KnownResidents) -> None:
        self._residents = residents
        self._waker = Waker(self._settings.waker_socket, residents)
        await self._waker.__aenter__()

    async def visit(self, host: str) -> bool:
        """Visit a host, and go away as soon as that is noted: who waits wakes it again."""
        route = next(route for route in self.router.routes if host in route.hosts)
        tenant = route.key.tenant
        target = self.router.targets.get(tenant, {}).get(route.key.name)
        found = self._residents.find(host)
        guest = asyncio.create_task(self._got(host, PERSON))
        self._guests.add(guest)
        guest.add_done_callback(self._guests.discard)
        if not isinstance(target, Socket) or found is None or found.stopped:
            await asyncio.wait({guest}, timeout=5)
            return False

        async def noted() -> bool:
            record = await self._store.read(partial(tenants.find, tenant=tenant))
            return record is None or record.active_at == time.time() or guest.done()

        await eventually(noted)
        guest.cancel()
        await asyncio.gather(guest, return_exceptions=True)
        return True

    async def sees(self, host: str) -> str:
        return await self._got(host, CRAWLER)

    async def _got(self, host: str, who: str) -> str:
        url = httpx.URL(self.router.url(host))
        headers = {"Host": url.netloc.decode(), "User-Agent": who}
        answer = await self._client.get(url.copy_with(host="127.0.0.1"), headers=headers)
        if answer.status_code == 503 and "This deployment" in answer.text:
            return WAKER
        return answer.text if answer.is_success else f"status {answer.status_code}"

    def listens(self, port: int) -> bool:
        with contextlib.closing(socket.socket()) as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    async def kill(self, unit: str, *, well: bool) -> None:
        port = self.supervisor.units[unit].port
        if port is None:
            await self._supervisor.remove(unit)
            return
        before = (await self._supervisor.observe()).get(unit)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # it does not listen yet
            return
        writer.write(f"exit {0 if well else 3}\n".encode())
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

        async def seen() -> bool:
            return (await self._supervisor.observe()).get(unit) != before

        await eventually(seen)
