"""Units of generations: started, waited for, stopped."""

import asyncio
from collections.abc import Sequence
from functools import partial

from kennel.crashpoint import reached
from kennel.domain import Env, Manifest, Tenant, Unit, UnitState
from kennel.plan import Generation, within
from kennel.reconcile import variables
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.ready import Probe
from kennel.store import Store, releases


class Units:
    """Does to units what has to be done, for not more than `parallel` tenants at a time.

    Only the work counts, not waiting for what was started: who waits keeps nobody from working.
    """

    def __init__(self, store: Store, providers: Providers, rules: Rules, parallel: int) -> None:
        self._store = store
        self._providers = providers
        self._rules = rules
        self._places = asyncio.Semaphore(parallel)
        self._probe = Probe()

    async def close(self) -> None:
        await self._probe.close()

    async def given(self, tenant: Tenant, manifest: Manifest) -> Env:
        """Give the tenant its resources. Raises ProviderError."""
        async with self._places:
            return await variables.provisioned(tenant, manifest, self._providers.provisioners)

    async def start(self, generation: Generation, env: Env) -> None:
        """Start a generation. Raises ProviderError if it cannot be executed."""
        unit = self._unit(generation)
        async with self._places:
            await self._providers.supervisor.ensure(
                unit, variables.listening(env, port=generation.port)
            )
        reached("unit-started")

    async def wait(self, generation: Generation, host: str) -> None:
        """Wait until a generation is ready. Raises NotReady."""

        async def ended() -> str | None:
            status = (await self._providers.supervisor.observe()).get(generation.unit)
            if status is None:
                return "it ended"
            return f"it failed ({status.reason})" if status.state is UnitState.FAILED else None

        ready = generation.service.ready
        timeout = ready.timeout or self._rules.ready_timeout
        unit = self._unit(generation)
        await self._probe.wait(unit, ready, within=timeout, host=host, ended=ended)

    async def rest(self, generations: Sequence[Generation]) -> None:
        """Stop generations that will be started again."""
        if generations:
            remove = self._providers.supervisor.remove
            await asyncio.gather(*(remove(one.unit) for one in generations))
            reached("unit-stopped")

    async def stop(self, generations: Sequence[Generation]) -> None:
        """Stop generations and forget them."""
        if not generations:
            return
        await self.rest(generations)
        await self._store.write(partial(releases.drop, generation_ids=[g.id for g in generations]))
        reached("generations-dropped")

    def _unit(self, generation: Generation) -> Unit:
        allowed = self._rules.policy.limits_of(generation.key.tenant)
        return Unit(
            name=generation.unit,
            key=generation.key,
            command=generation.command,
            port=generation.port,
            limits=within(generation.service.limits, allowed),
            fields={"KENNEL_BUILD": str(generation.build)},
            schedule=generation.service.schedule,
        )
