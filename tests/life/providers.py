"""Providers that can be in trouble, note what is asked of them, and ask the model what they may."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from kennel.domain import Env, Route, Secret, Target, Tenant, Unit, UnitStatus, names
from kennel.errors import ProviderError, Rejected
from kennel.plugin import Router, RouterState, Supervisor
from kennel.testing import MemoryProvisioner
from tests.life.model import Broken, Model


class Troubles:
    """What is wrong with the providers: the next calls of a kind that fail, and how.

    Who says no for good says it to a tenant: what is asked about all of them fails for a while.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._left: dict[str, tuple[ProviderError, int]] = {}

    def begin(self, kind: str, error: ProviderError, calls: int) -> None:
        self._left[kind] = (error, calls)

    def end(self) -> None:
        self._left.clear()

    def meet(self, kind: str, tenant: Tenant | None = None) -> None:
        """Raise what is wrong with a kind of provider, if anything is."""
        error, calls = self._left.get(kind, (None, 0))
        if error is None or calls == 0 or (isinstance(error, Rejected) and tenant is None):
            return
        self._left[kind] = (error, calls - 1)
        if isinstance(error, Rejected) and tenant is not None and kind != "router":
            self._model.of(tenant).refused = True
        raise error


class JudgedProvisioner(MemoryProvisioner):
    """Asks the model before it removes anything, and may lose what it made.

    What is made again then is reached otherwise.
    """

    def __init__(self, model: Model, troubles: Troubles) -> None:
        super().__init__()
        self._model = model
        self._troubles = troubles
        self._losses: Counter[Tenant] = Counter()

    def lose(self, tenant: Tenant) -> None:
        """Lose what a tenant has: somebody dropped it on the server."""
        del self.server[names.database(tenant)]
        self._losses[tenant] += 1
        self._model.loses(self._model.of(tenant))

    def url(self, tenant: Tenant) -> str:
        """Return how what a tenant has is reached now."""
        return f"memory:///{names.database(tenant)}?{self._losses[tenant]}"

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        await asyncio.sleep(0)
        self._troubles.meet("provisioner", tenant)
        await super().ensure(tenant, options)
        self._model.ensures(self._model.of(tenant))
        await asyncio.sleep(0)
        return {"MEMORY_URL": Secret(self.url(tenant))}

    async def remove(self, tenant: Tenant) -> None:
        await asyncio.sleep(0)
        self._troubles.meet("provisioner", tenant)
        try:
            self._model.removes(self._model.of(tenant), there=tenant in self.tenants)
        except Broken as broken:
            self._model.broken.append(broken)
        await super().remove(tenant)
        await asyncio.sleep(0)


class NotedSupervisor(Supervisor):
    """Notes the units that it is given, and what each is made of."""

    name: ClassVar[str] = "noted"

    def __init__(self, inner: Supervisor, troubles: Troubles) -> None:
        self.inner = inner
        self.units: dict[str, Unit] = {}
        self.contents: dict[str, str] = {}
        self.urls: dict[str, str] = {}
        self._troubles = troubles

    @property
    def survives(self) -> bool:  # type: ignore[override]
        return self.inner.survives

    async def check(self) -> None:
        await self.inner.check()

    async def observe(self) -> Mapping[str, UnitStatus]:
        self._troubles.meet("supervisor")
        return await self.inner.observe()

    async def ensure(self, unit: Unit, env: Env) -> None:
        self._troubles.meet("supervisor", unit.key.tenant)
        self.units.pop(unit.name, None)
        self.units[unit.name] = unit
        self.contents[unit.name] = env["CONTENT"].value
        self.urls[unit.name] = env["MEMORY_URL"].value if "MEMORY_URL" in env else ""
        await self.inner.ensure(unit, env)

    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        self._troubles.meet("supervisor", unit.key.tenant)
        return await self.inner.run(unit, env, within=within)

    async def remove(self, unit: str) -> None:
        self._troubles.meet("supervisor")
        await self.inner.remove(unit)

    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        return await self.inner.logs(unit, lines)


class NotedRouter(Router):
    """Notes the routes and targets that are in force."""

    name: ClassVar[str] = "noted"

    def __init__(self, inner: Router, troubles: Troubles, model: Model) -> None:
        self.inner = inner
        self.routes: frozenset[Route] = frozenset()
        self.targets: dict[Tenant, Mapping[str, Target]] = {}
        self._troubles = troubles
        self._model = model

    async def check(self) -> None:
        await self.inner.check()

    async def observe(self) -> RouterState:
        self._troubles.meet("router")
        return await self.inner.observe()

    async def publish(self, routes: Collection[Route]) -> None:
        await asyncio.sleep(0)
        self._troubles.meet("router")
        await self.inner.publish(routes)
        self.routes = frozenset(routes)

    async def switch(self, tenant: Tenant, targets: Mapping[str, Target]) -> None:
        await asyncio.sleep(0)
        self._troubles.meet("router", tenant)
        await self.inner.switch(tenant, targets)
        self.targets[tenant] = targets

    async def remove(self, tenant: Tenant) -> None:
        await asyncio.sleep(0)
        self._troubles.meet("router", tenant)
        await self.inner.remove(tenant)
        self.targets.pop(tenant, None)

    async def visited(self) -> Collection[Tenant] | None:
        try:
            self._troubles.meet("router")
        except ProviderError:
            self._model.sees_no_visits()
            raise
        return await self.inner.visited()

    def url(self, host: str) -> str:
        return self.inner.url(host)
