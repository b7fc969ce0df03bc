"""Units of generations: started, waited for, run, stopped."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from kennel.crashpoint import reached
from kennel.domain import Env, Unit, UnitState, UnitStatus, Upstream
from kennel.errors import Unavailable
from kennel.plan import Generation
from kennel.reconcile import probe, variables
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.ready import LIFE_EVERY, answers, runs
from kennel.reconcile.reasons import LOG_LINES
from kennel.store import Store, releases


class Lookout:
    """Looks at all units for everybody who waits for one of them: one call serves many."""

    def __init__(self, observe: Callable[[], Awaitable[Mapping[str, UnitStatus]]]) -> None:
        self._observe = observe
        self._looking = asyncio.Lock()
        self._begun = 0.0
        self._seen: Mapping[str, UnitStatus] = {}

    async def at(self, unit: str) -> UnitStatus | None:
        """Return how a unit is doing now. Raises ProviderError."""
        asked = time.monotonic()
        async with self._looking:
            if self._begun <= asked:
                begun = time.monotonic()
                self._seen = await self._observe()
                self._begun = begun
        return self._seen.get(unit)


class Units:
    """Does to units what has to be done, for as many tenants at a time as there are `places`.

    Only the work counts, not waiting for what was started: who waits keeps nobody from working.
    """

    def __init__(
        self, store: Store, providers: Providers, rules: Rules, places: asyncio.Semaphore
    ) -> None:
        self._store = store
        self._providers = providers
        self._rules = rules
        self._places = places
        self._lookout = Lookout(providers.supervisor.observe)

    async def start(self, generation: Generation, env: Env) -> None:
        """Start a generation that does not run. Raises ProviderError if it cannot be executed.

        Raises Unavailable while another program listens on its port: that would be taken for it.
        """
        unit = self._unit(generation)
        async with self._places:
            if generation.port and await probe.is_taken(Upstream(port=generation.port)):
                raise Unavailable(
                    f"{generation.key.name}: another program listens on its port"
                    f" {generation.port}: stop that, or keep it out of services.ports"
                )
            await self._providers.supervisor.ensure(
                unit, variables.listening(env, port=generation.port)
            )
        reached("unit-started")

    async def wait(self, generation: Generation, host: str) -> None:
        """Wait until a generation is ready. Raises NotReady, ProviderError.

        What has a schedule is ready as soon as that was understood.
        """
        service, settle = generation.service, self._rules.settle_time
        within = service.ready.timeout or self._rules.ready_timeout
        life = partial(self._lookout.at, generation.unit)
        if generation.port is not None:
            at = Upstream(port=generation.port)
            look = partial(probe.look, at, service.ready, host=host)
            await answers(look, life, within=within, settle=settle)
        elif service.schedule is None:
            await runs(life, within=within, settle=settle)

    async def run(self, generation: Generation, env: Env, *, within: float) -> str | None:
        """Run what is run once to its end. Return None if it ended well, else why not."""
        return await self._providers.supervisor.run(self._unit(generation), env, within=within)

    async def ended(self, generations: Sequence[Generation]) -> None:
        """Wait until none of what is run once is under way."""
        for one in generations:
            while (status := await self._lookout.at(one.unit)) is not None:
                if status.state is UnitState.FAILED:
                    break
                await asyncio.sleep(LIFE_EVERY)

    async def last_lines(self, generation: Generation) -> Sequence[str]:
        """Return what a generation wrote last: nothing where that cannot be told."""
        try:
            return await self._providers.supervisor.logs(generation.unit, LOG_LINES)
        except Unavailable:
            return ()

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
            limits=generation.service.limits.within(allowed),
            fields={"KENNEL_BUILD": str(generation.build)},
            schedule=generation.service.schedule,
        )
