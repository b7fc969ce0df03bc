"""Start again what is live and does not run."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from kennel.domain import Env, Manifest
from kennel.errors import ProviderError, Rejected
from kennel.plan import Generation, Wanted
from kennel.reconcile import variables
from kennel.reconcile.providers import Providers
from kennel.reconcile.ready import NotReady
from kennel.reconcile.units import Units
from kennel.store import Store, builds

log = structlog.get_logger(__name__)


class Healer:
    """Starts the generations that are live again, as they were."""

    def __init__(self, store: Store, providers: Providers, units: Units) -> None:
        self._store = store
        self._url = providers.router.url
        self._units = units

    async def restart(
        self, wanted: Wanted, generations: Sequence[Generation], *, wait: bool
    ) -> None:
        """Start generations; with `wait`, return when all are ready. Raises ProviderError."""
        tenant = wanted.record.tenant
        build = await self._store.read(partial(builds.get, build_id=wanted.live[0].build))
        given = await self._units.given(tenant, build.manifest or Manifest())
        log.info("starting what is live", tenant=str(tenant), units=[g.unit for g in generations])
        problems = await asyncio.gather(
            *(self._start(one, self._env(wanted, one, given), wanted, wait) for one in generations)
        )
        for problem in filter(None, problems):
            raise problem

    def _env(self, wanted: Wanted, generation: Generation, given: Env) -> Env:
        held = wanted.hosts.get(generation.key.name, ())
        return variables.for_service(
            generation.service,
            tenant=wanted.record.tenant,
            environment=wanted.record.environment,
            url=self._url(held[-1]) if held else "",
            given=given,
        )

    async def _start(
        self, generation: Generation, env: Env, wanted: Wanted, wait: bool
    ) -> ProviderError | None:
        host = wanted.hosts.get(generation.key.name, ("localhost",))[-1]
        try:
            await self._units.start(generation, env)
            if wait:
                await self._units.wait(generation, host)
        except ProviderError as error:
            return error
        except NotReady as error:
            return Rejected(f"{generation.key.name}: {error}")
        return None
