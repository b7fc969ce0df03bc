"""Bring one tenant where it should be.

    sleep -> provide -> start what is live and does not run -> deploy what is built -> close -> stop

Whatever is started was recorded before, and nothing is stopped before its successor answers. So
this may be cut off at any point, and the next pass goes on from what it finds.
"""

import asyncio
import time
from functools import partial

import structlog

from kennel.crashpoint import reached
from kennel.domain import Tenant
from kennel.errors import ProviderError
from kennel.lifecycle import Fate, fate_of
from kennel.plan import Steps, Wanted
from kennel.reconcile.deploy import Deployer, Publish
from kennel.reconcile.heal import Healer
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.provisioning import Provisioning
from kennel.reconcile.units import Units
from kennel.reconcile.variables import Fingerprint
from kennel.secrets.library import Library
from kennel.secrets.resolve import Resolver
from kennel.store import Store, releases, tenants

log = structlog.get_logger(__name__)


class Settler:
    """Takes the steps of a plan, tenant by tenant. `parallel`: how many work at a time."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        rules: Rules,
        fingerprint: Fingerprint,
        publish: Publish,
        *,
        parallel: int,
    ) -> None:
        self._store = store
        self._rules = rules
        self._providers = providers
        places = asyncio.Semaphore(parallel)
        self._units = Units(store, providers, rules, places)
        self._provisioning = Provisioning(store, providers.provisioners, fingerprint, places)
        secrets = Resolver(
            providers.secret_sources, Library(rules.secrets_dir), rules.grants, places
        )
        self._healer = Healer(store, providers, self._units, self._provisioning, secrets)
        self._deployer = Deployer(
            store,
            providers,
            rules,
            fingerprint,
            units=self._units,
            provisioning=self._provisioning,
            secrets=secrets,
            publish=publish,
        )

    async def settle(self, wanted: Wanted, steps: Steps) -> None:
        """Take the steps of a tenant. Raises ProviderError for what has to wait."""
        if steps.expire:
            await self._expire(wanted)
            return
        if steps.evict:
            await self._evict(wanted)
            return
        if steps.sleep:
            await self._lay_to_rest(wanted)
        trouble = await self._provided(wanted, steps)
        trouble = await self._healed(wanted, steps) or trouble
        if steps.deploy is not None:
            await self._deployer.deploy(wanted, steps.deploy)
            return  # it may have taken up again what was to be stopped, or healed
        if steps.close:
            await self._providers.router.remove(wanted.record.tenant)
            reached("route-closed")
        await self._units.rest(steps.rest)
        await self._units.stop(steps.stop)
        if trouble is not None:
            raise trouble

    async def _provided(self, wanted: Wanted, steps: Steps) -> ProviderError | None:
        """Give what is live the resources it lacks. Return what went wrong.

        That keeps nobody from starting what runs without, or from deploying what mends it.
        """
        try:
            if steps.provide:
                await self._provisioning.provide(wanted, steps.provide)
            if steps.renew:
                await self._provisioning.renew(wanted)
        except ProviderError as error:
            log.warning("cannot provide", tenant=str(wanted.record.tenant), reason=str(error))
            return error
        return None

    async def _healed(self, wanted: Wanted, steps: Steps) -> ProviderError | None:
        """Start what is live and does not run, send requests there. Return what went wrong.

        A build that waits to be deployed may be what mends it: that does not wait for it. Who
        cannot be woken sleeps on: its requests stay with the waker, who knows what to say.
        """
        trouble: ProviderError | None = None
        if steps.start:
            try:
                await self._healer.restart(
                    wanted, steps.start, hung=steps.hung, wait=steps.deploy is None
                )
            except ProviderError as error:
                log.warning("cannot heal", tenant=str(wanted.record.tenant), reason=str(error))
                trouble = error
        if steps.switch and not (steps.wake and trouble):
            await self._providers.router.switch(wanted.record.tenant, wanted.targets)
            reached("requests-switched")
        if steps.wake and trouble is None:
            await self._store.write(partial(releases.rouse, generation_ids=_live(wanted)))
            log.info("awake", tenant=str(wanted.record.tenant))
        return trouble

    async def _lay_to_rest(self, wanted: Wanted) -> None:
        """Send the requests for services to the waker. They are stopped once they have drained."""
        tenant = wanted.record.tenant
        if wanted.targets:
            targets = wanted.targets_at_rest(self._rules.policy.waker)
            await self._providers.router.switch(tenant, targets)
        reached("requests-to-waker")
        change = partial(releases.lay_to_rest, generation_ids=_live(wanted), now=time.time())
        await self._store.write(change)
        reached("rest-recorded")
        log.info("stopped" if wanted.record.stopped else "asleep", tenant=str(tenant))

    async def _expire(self, wanted: Wanted) -> None:
        """Let go of a ref that nobody needed for long. What it has goes like that of any other."""
        record = wanted.record
        change = partial(
            tenants.expire, tenant_id=record.id, active_at=record.active_at, now=time.time()
        )
        if await self._store.write(change):
            log.info("expired", tenant=str(wanted.record.tenant))

    async def _evict(self, wanted: Wanted) -> None:
        """Take away everything of a tenant whose ref is gone: requests, units, resources, row."""
        tenant = wanted.record.tenant
        await self._providers.router.remove(tenant)
        reached("route-closed")
        await self._units.stop(wanted.generations)
        # It may be back by now: stopping takes its time.
        if not await self._provisioning.remove(wanted, partial(self._is_gone, tenant)):
            log.info("is back: what it has stays", tenant=str(tenant))
            return
        reached("resources-removed")
        if await self._store.write(partial(tenants.forget, tenant_id=wanted.record.id)):
            log.info("removed", tenant=str(tenant))
        reached("tenant-forgotten")

    async def _is_gone(self, tenant: Tenant) -> bool:
        """Return whether a ref is still to go with everything it has."""
        record = await self._store.read(partial(tenants.find, tenant=tenant))
        return record is not None and fate_of(record) is Fate.GONE


def _live(wanted: Wanted) -> list[int]:
    return [one.generation.id for one in wanted.live if one.generation]
