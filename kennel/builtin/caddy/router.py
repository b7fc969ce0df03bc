"""Caddy as Kennel's router."""

import asyncio
import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self
from weakref import WeakValueDictionary

from kennel.builtin.caddy import program
from kennel.builtin.caddy.admin import Admin, Seen, Stale
from kennel.builtin.caddy.config import Config
from kennel.builtin.caddy.embedded import Layout
from kennel.builtin.caddy.graft import Graft
from kennel.builtin.caddy.links import Links
from kennel.builtin.caddy.live import Live
from kennel.builtin.caddy.place import (
    addresses_for,
    admin_socket,
    group_id,
    private,
    refuse_taken,
)
from kennel.builtin.caddy.process import Caddy
from kennel.domain import Files, Route, Target, Tenant
from kennel.errors import Rejected, Unavailable
from kennel.plugin import Router, RouterState, in_thread
from kennel.plugin.settings import Host

Json = dict[str, Any]

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""How often a write is tried that somebody else's writes come before."""

DYING = 5.0
"""Seconds that a Caddy which was killed may take to let go of its ports."""


class Shape(Protocol):
    """What a configuration looks like with Kennel's routes in it."""

    def __call__(self, config: Json, routes: Collection[Route]) -> Json: ...


class CaddyRouter(Router):
    """Routes in one Caddy: Kennel's own, or one that somebody else runs.

    Hosts are in Caddy's configuration, which is written only when they change. Where a host's
    requests go is in files that Caddy reads as it serves: see `kennel.builtin.caddy.live`.
    """

    name: ClassVar[str] = "caddy"

    def __init__(self, config: Config, host: Host) -> None:
        self._config = config
        self._host = host
        self._folder = host.run_dir / "caddy"
        self._state = host.state_dir / "caddy"
        self._group = -1
        self._live = Live(host.run_dir)
        self._links = Links()
        self._caddy: Caddy | None = None
        self._routes: frozenset[Route] | None = None
        self._seen: Seen | None = None
        self._verdict = False
        self._shows_visits = False
        self._saw_visits = config.embedded
        self._publishing = asyncio.Lock()
        self._switching: WeakValueDictionary[Tenant, asyncio.Lock] = WeakValueDictionary()

    # Opening and closing

    async def __aenter__(self) -> Self:
        await in_thread(lambda: self._config.ports)
        self._group = await in_thread(group_id, self._config.group)
        self._live = Live(self._host.run_dir, self._group)
        await in_thread(self._live.open)
        await self._look_for_visits()
        await (self._start_own() if self._config.embedded else self._find_other())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._caddy:
            await self._caddy.stop()
        await self._admin.__aexit__(kind, error, trace)

    async def _look_for_visits(self) -> None:
        self._shows_visits = await in_thread(self._live.shows_visits)
        if not self._shows_visits:
            log.warning(
                "%s keeps no times of reading (noatime?): Kennel does not see who is visited, and"
                " puts nobody to sleep for want of visitors. Mount it with relatime",
                self._host.run_dir,
            )

    async def _start_own(self) -> None:
        binary = await program.find(self._config.binary)
        await in_thread(private, self._folder, self._state)
        layout = Layout(
            config=self._config,
            live=self._live.links,
            socket=admin_socket(self._folder),
            state=self._state,
            addresses=await in_thread(addresses_for, self._config.addresses, self._host.domain),
            permission=self._permission,
        )
        self._shape: Shape = lambda _, routes: layout.document(routes)
        self._admin = Admin(f"unix/{layout.socket}")
        self._caddy = Caddy(
            self._folder, self._state, self._admin, layout.admin, self._last_document
        )
        try:
            patience = DYING if await in_thread(self._caddy.sweep) else 0.0
            for kind, ports in layout.listens.items():
                await in_thread(refuse_taken, layout.addresses, ports, kind, patience)
            await self._caddy.start(binary)
        except BaseException:
            await self._admin.__aexit__(None, None, None)
            raise

    def _last_document(self) -> bytes:
        """Return the configuration to start with: with what was published last."""
        return json.dumps(self._shape({}, self._routes or ())).encode()

    async def _find_other(self) -> None:
        graft = Graft(
            config=self._config,
            live=self._live.links,
            domain=self._host.domain,
            permission=self._permission,
        )
        self._shape = graft.document
        self._admin = Admin(str(self._config.admin))
        if self._config.admin_port is not None:
            log.warning(
                "every program on this machine may give orders to Caddy at %s: let it answer on a"
                " socket, and set admin to that. Services are kept from port %d if it is in"
                " deny_local_ports of [plugins.systemd]",
                *(self._config.admin, self._config.admin_port),
            )
        try:
            await self._refuse_old()
        except Unavailable:
            return  # it may come up yet; asked again before anything is written
        except BaseException:
            await self._admin.__aexit__(None, None, None)
            raise

    async def _refuse_old(self) -> Seen:
        """Read the configuration from a Caddy that is new enough.

        The admin API does not tell its version. 2.8 is the first that gives the ETag as a header.
        """
        seen = await self._admin.read()
        if not seen.etag:
            raise Rejected(
                f"The Caddy at {self._admin.place} is older than 2.8 (it gives no ETag)."
                f" {program.ADVICE.partition(':')[0]}: upgrade it"
            )
        return seen

    @property
    def group(self) -> int:
        return self._group

    @property
    def _permission(self) -> str:
        return f"{self._host.api_url}/internal/caddy/permission"

    # The port

    async def check(self) -> None:
        await self._refuse_old()

    async def observe(self) -> RouterState:
        seen, live = await asyncio.gather(self._refuse_old(), in_thread(self._live.observe))
        return RouterState(routes=self._in_force(seen), live=live)

    def _in_force(self, seen: Seen) -> frozenset[Route] | None:
        """Return the last table if it is what Caddy has, to the letter."""
        routes = self._routes
        if routes is None:
            return None
        if self._seen is None or self._seen.raw != seen.raw:
            config = seen.config
            self._verdict = self._shape(config, routes) == config
            self._seen = seen
        return routes if self._verdict else None

    async def publish(self, routes: Collection[Route]) -> None:
        async with self._publishing:
            table = frozenset(routes)
            for _ in range(ATTEMPTS):
                try:
                    await self._write(table)
                except Stale:
                    continue
                if table != self._routes:
                    self._routes, self._seen = table, None
                return
        raise Unavailable(
            f"Caddy's configuration at {self._admin.place} changes faster than it can be written"
        )

    async def _write(self, routes: frozenset[Route]) -> None:
        """Write the table in one call, and nothing if it is there."""
        seen = await self._refuse_old()
        if routes == self._routes == self._in_force(seen):
            return
        config = seen.config
        wanted = self._shape(config, routes)
        if wanted == config:
            return
        if _differ_only_in_apps(config, wanted):
            write = self._admin.replace if config.get("apps") else self._admin.put
            await write("apps", wanted["apps"], seen)
        elif self._caddy:  # somebody loaded something else into the Caddy that is ours alone
            await self._admin.load(wanted)
        else:
            await self._admin.put("", wanted, seen)

    async def switch(self, tenant: Tenant, targets: Mapping[str, Target]) -> None:
        roots = [target.root for target in targets.values() if isinstance(target, Files)]
        await in_thread(self._links.refuse_escapes, tenant, roots)
        async with self._lock(tenant):
            await in_thread(self._live.switch, tenant, targets)

    async def remove(self, tenant: Tenant) -> None:
        async with self._lock(tenant):
            await in_thread(self._live.remove, tenant)

    async def visited(self) -> Collection[Tenant] | None:
        """Return who was visited.

        Whether another's Caddy leaves traces, too, only a first visit can show: its own view of
        `run_dir` may be read-only, as systemd's ProtectSystem=strict makes it.
        """
        if not self._shows_visits:
            return None
        found = await in_thread(self._live.visited)
        self._saw_visits = self._saw_visits or bool(found)
        return found if self._saw_visits else None

    def _lock(self, tenant: Tenant) -> asyncio.Lock:
        return self._switching.setdefault(tenant, asyncio.Lock())

    def url(self, host: str) -> str:
        return self._config.url(host)

    # Beyond the port

    @property
    def ca_certificate(self) -> Path | None:
        """Return where the root certificate is that people must trust, if there is one."""
        if self._config.embedded and self._config.tls_mode == "internal":
            return self._state / "pki" / "authorities" / "local" / "root.crt"
        return None


def _differ_only_in_apps(config: Json, wanted: Json) -> bool:
    return bool(config) and {**config, "apps": None} == {**wanted, "apps": None}
