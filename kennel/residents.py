"""Who lives at which host, and how they are woken: it stands behind `kennel.waker`."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

from kennel.domain import Tenant, Upstream
from kennel.lifecycle import Fate, fate_of
from kennel.plan import Generation, Policy, Wanted
from kennel.reconcile import Reconciler
from kennel.store import Store, tenants
from kennel.waker import NotWoken, Resident

SOON = 5.0
"""Seconds after which it is worth asking again for what could not be woken."""


class KnownResidents:
    """Answers the waker from what the reconciler saw last, and wakes through the store."""

    def __init__(self, store: Store, reconciler: Reconciler, policy: Policy) -> None:
        self._store = store
        self._reconciler = reconciler
        self._policy = policy
        self._waking = asyncio.Lock()
        self._listed: Sequence[Wanted] = ()
        self._by_host: Mapping[str, tuple[Wanted, str]] = {}

    def find(self, host: str) -> Resident | None:
        """Return which service has a host, awake or not."""
        wanted, name = self._hosts().get(host, (None, ""))
        if wanted is None:
            return None
        service = _service(wanted, name)
        if service is None:
            return None
        record = wanted.record
        return Resident(key=service.key, environment=record.environment, stopped=record.stopped)

    def _hosts(self) -> Mapping[str, tuple[Wanted, str]]:
        world = self._reconciler.world
        if world is not None and world.wanted is not self._listed:
            self._listed = world.wanted
            self._by_host = {
                host: (one, name)
                for one in world.wanted
                for name, hosts in one.hosts.items()
                for host in hosts
            }
        return self._by_host

    async def wake(self, tenant: Tenant) -> None:
        """Record that a tenant is visited; the next pass wakes it if it sleeps."""
        record = await self._store.read(partial(tenants.find, tenant=tenant))
        if record is not None:
            change = partial(tenants.active, tenant_ids=[record.id], now=time.time())
            await self._store.write(change)
            self._reconciler.wake()

    async def awake(self, tenant: Tenant, name: str) -> Upstream:
        """Return where a service takes requests, as soon as it does. Raises NotWoken."""
        while True:
            news = self._reconciler.news
            wanted = await self._reconciler.wanted()
            mine = next((one for one in wanted if one.record.tenant == tenant), None)
            service = _service(mine, name) if mine else None
            if mine is None or service is None:
                raise NotWoken("There is nothing at this address any more.")
            if service.retired_at is None and service.port is not None:
                return Upstream(port=service.port)
            self._refuse(mine)
            if self._sleeps(mine):  # or fell asleep again while somebody was on the way
                await self._wake_once(mine)
            else:
                await news.wait()

    def _sleeps(self, wanted: Wanted) -> bool:
        """Return whether it sleeps, and will until somebody visits it."""
        record = wanted.record
        terms = self._policy.terms_of(record.tenant)
        return fate_of(record, terms, now=time.time()) is Fate.ASLEEP

    async def _wake_once(self, wanted: Wanted) -> None:
        """Wake a tenant unless somebody else has by now."""
        async with self._waking:
            now = await self._reconciler.wanted()
            if any(one.record.id == wanted.record.id and self._sleeps(one) for one in now):
                await self.wake(wanted.record.tenant)

    def _refuse(self, wanted: Wanted) -> None:
        """Raise NotWoken if it will not be woken as things are."""
        tenant, world = wanted.record.tenant, self._reconciler.world
        if wanted.record.stopped:
            raise NotWoken("It was stopped by the people who run it.")
        if world is not None and tenant in world.plan.waiting:
            raise NotWoken("There is no room for it at the moment.", again=SOON)
        asked = world is not None and world.plan.fates.get(tenant) is Fate.AWAKE
        if asked and tenant in self._reconciler.troubles:
            raise NotWoken("It could not be started.", again=SOON)


def _service(wanted: Wanted, name: str) -> Generation | None:
    found = (one.generation for one in wanted.live if one.key.name == name)
    return next(found, None)
