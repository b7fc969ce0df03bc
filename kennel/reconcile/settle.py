"""Bring one tenant where it should be.

    start what is live and does not run -> deploy what is built -> close -> stop what is over

Whatever is started was recorded before, and nothing is stopped before its successor answers. So
this may be cut off at any point, and the next pass goes on from what it finds.
"""

from functools import partial

import structlog

from kennel.crashpoint import reached
from kennel.errors import ProviderError
from kennel.plan import Steps, Wanted
from kennel.reconcile.deploy import Deployer, Publish
from kennel.reconcile.heal import Healer
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.units import Units
from kennel.reconcile.variables import Fingerprint
from kennel.store import Store, tenants

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
        self._providers = providers
        self._units = Units(store, providers, rules, parallel)
        self._healer = Healer(store, providers, self._units)
        self._deployer = Deployer(
            store, providers, rules, fingerprint, units=self._units, publish=publish
        )

    async def close(self) -> None:
        await self._units.close()

    async def settle(self, wanted: Wanted, steps: Steps) -> None:
        """Take the steps of a tenant. Raises ProviderError for what has to wait."""
        if steps.evict:
            await self._evict(wanted)
            return
        trouble = await self._healed(wanted, steps)
        if steps.deploy is not None:
            await self._deployer.deploy(wanted, steps.deploy)
            return  # it may have taken up again what was to be stopped, or healed
        if steps.close:
            await self._providers.router.remove(wanted.record.tenant)
            reached("route-closed")
        await self._units.stop(steps.stop)
        if trouble is not None:
            raise trouble

    async def _healed(self, wanted: Wanted, steps: Steps) -> ProviderError | None:
        """Start what is live and does not run, send requests there. Return what went wrong.

        A build that waits to be deployed may be what mends it: that does not wait for it.
        """
        trouble: ProviderError | None = None
        if steps.start:
            try:
                await self._healer.restart(wanted, steps.start, wait=steps.deploy is None)
            except ProviderError as error:
                log.warning("cannot heal", tenant=str(wanted.record.tenant), reason=str(error))
                trouble = error
        if steps.switch:
            await self._providers.router.switch(wanted.record.tenant, wanted.targets)
            reached("requests-switched")
        return trouble

    async def _evict(self, wanted: Wanted) -> None:
        """Take away everything of a tenant whose ref is gone: requests, units, resources, row."""
        tenant = wanted.record.tenant
        await self._providers.router.remove(tenant)
        reached("route-closed")
        await self._units.stop(wanted.generations)
        for provisioner in self._providers.provisioners.values():
            await provisioner.remove(tenant)
        reached("resources-removed")
        if await self._store.write(partial(tenants.forget, tenant_id=wanted.record.id)):
            log.info("removed", tenant=str(tenant))
        reached("tenant-forgotten")
