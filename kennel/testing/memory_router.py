"""A router that keeps its table in memory."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from kennel.domain import Files, Route, Socket, Target, Tenant, Upstream
from kennel.domain.route import digest_of
from kennel.plugin import Router, RouterState

if TYPE_CHECKING:
    from kennel.errors import ProviderError

UNIX = "unix/"


@dataclass(slots=True)
class MemoryProxy:
    """What a `MemoryRouter` talks to.

    `visited`: who was, and nobody asked yet. `writes`: how often its table was written.
    """

    routes: frozenset[Route] = frozenset()
    live: dict[str, str] = field(default_factory=dict)
    visited: set[Tenant] = field(default_factory=set)
    writes: int = 0


class MemoryRouter(Router):
    """Keeps its table in memory.

    Give the same proxy to another one and it stands for a new start. `problem`: what every call
    raises, to play a proxy that is out of reach.
    """

    name: ClassVar[str] = "memory"

    def __init__(self, proxy: MemoryProxy | None = None) -> None:
        self.proxy = proxy or MemoryProxy()
        self.problem: ProviderError | None = None

    async def check(self) -> None:
        if self.problem:
            raise self.problem

    async def observe(self) -> RouterState:
        await self.check()
        live = {Tenant.parse(tenant): digest_of(self._read(tenant)) for tenant in self.proxy.live}
        return RouterState(routes=self.proxy.routes, live=live)

    async def publish(self, routes: Collection[Route]) -> None:
        await self.check()
        if self.proxy.routes != frozenset(routes):
            self.proxy.routes = frozenset(routes)
            self.proxy.writes += 1

    async def switch(self, tenant: Tenant, targets: Mapping[str, Target]) -> None:
        await self.check()
        pairs = {name: [isinstance(target, Files), str(target)] for name, target in targets.items()}
        self.proxy.live[str(tenant)] = json.dumps(pairs)

    async def remove(self, tenant: Tenant) -> None:
        await self.check()
        self.proxy.live.pop(str(tenant), None)
        self.proxy.visited.discard(tenant)

    async def visited(self) -> Collection[Tenant] | None:
        await self.check()
        found, self.proxy.visited = self.proxy.visited, set()
        return found

    def url(self, host: str) -> str:
        return f"http://{host}"

    def route(self, host: str) -> Route | None:
        """Return the route that a host is in."""
        return next((r for r in self.proxy.routes if host.lower() in r.hosts), None)

    def redirect(self, host: str) -> str | None:
        """Return the host that one leads to, None: it does not lead to another."""
        found = (r.hosts[-1] for r in self.proxy.routes if host.lower() in r.redirects)
        return next(found, None)

    def visit(self, host: str) -> Target | None:
        """Visit a host, and return where one ends up."""
        route, target = self.route(host), self.target(host)
        if route and target and not isinstance(target, Socket):
            self.proxy.visited.add(route.key.tenant)
        return target

    def target(self, host: str) -> Target | None:
        """Return where a visit to a host would end up at the moment."""
        route = self.route(host)
        if route is None:
            return None
        return self._read(str(route.key.tenant)).get(route.key.name)

    def _read(self, tenant: str) -> dict[str, Target]:
        pairs = json.loads(self.proxy.live.get(tenant, "{}"))
        return {name: _target(*pair) for name, pair in pairs.items()}


def _target(files: bool, text: str) -> Target:
    if files:
        return Files(root=text)
    if text.startswith(UNIX):
        return Socket(path=text.removeprefix(UNIX))
    address, _, port = text.rpartition(":")
    return Upstream(port=int(port), address=address)
