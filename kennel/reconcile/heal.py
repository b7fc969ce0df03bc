"""Start again what is live and does not run."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from kennel.domain import Env, Manifest
from kennel.errors import ProviderError, Rejected
from kennel.plan import Generation, Wanted
from kennel.reconcile.candidate import manifest_of
from kennel.reconcile.providers import Providers
from kennel.reconcile.provisioning import Provisioning
from kennel.reconcile.ready import NotReady
from kennel.reconcile.units import Units
from kennel.reconcile.variables import Surroundings
from kennel.secrets.resolve import Resolver, scopes_of
from kennel.store import Store, builds

log = structlog.get_logger(__name__)


class Healer:
    """Starts the generations that are live again, as they were."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        units: Units,
        provisioning: Provisioning,
        secrets: Resolver,
    ) -> None:
        self._store = store
        self._url = providers.router.url
        self._units = units
        self._provisioning = provisioning
        self._secrets = secrets

    async def restart(
        self,
        wanted: Wanted,
        generations: Sequence[Generation],
        *,
        hung: Sequence[Generation] = (),
        wait: bool,
    ) -> None:
        """Start generations, those that are `hung` after they were stopped.

        With `wait`, return when all that listen are ready. Raises ProviderError; before anything
        is touched if what it was given cannot be had.
        """
        tenant = wanted.record.tenant
        around = await self._around(wanted)
        log.info("starting what is live", tenant=str(tenant), units=[g.unit for g in generations])
        await self._units.rest(hung)
        problems = await asyncio.gather(
            *(self._start(one, around.env(one.service), wanted, wait) for one in generations)
        )
        for problem in filter(None, problems):
            raise problem

    async def _around(self, wanted: Wanted) -> Surroundings:
        """Return what the services found when they became live. Raises ProviderError."""
        build = await self._store.read(partial(builds.get, build_id=wanted.live[0].build))
        manifest = manifest_of(wanted.record, build.manifest or Manifest())
        secrets = await self._secrets.resolve(wanted.record, build)
        given = await self._provisioning.given(wanted, manifest)
        urls = {name: self._url(held[-1]) for name, held in wanted.hosts.items()}
        return Surroundings.of(
            wanted.record,
            manifest,
            given=given,
            urls=urls,
            secrets=secrets,
            scopes=scopes_of(build),
        )

    async def _start(
        self, generation: Generation, env: Env, wanted: Wanted, wait: bool
    ) -> ProviderError | None:
        host = wanted.hosts.get(generation.key.name, ("localhost",))[-1]
        try:
            await self._units.start(generation, env)
            if wait and generation.service.listens:
                await self._units.wait(generation, host)
        except ProviderError as error:
            return error
        except NotReady as error:
            return Rejected(f"{generation.key.name}: {error}")
        return None
