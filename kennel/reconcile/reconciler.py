"""The loop that keeps the world like the store.

A pass reads what should be, reads what is with a handful of calls, plans, and starts a task for
every tenant that needs anything. It waits for none of them, so a service that is slow to get
ready holds up nobody else. It remembers nothing that it could not find out again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from kennel.domain import Route, Tenant
from kennel.domain.route import digest_of
from kennel.errors import KennelError, ProviderError
from kennel.plan import Actual, Plan, Steps, Wanted, make_plan, routes_of
from kennel.plugin import RouterState
from kennel.reconcile.backoff import Backoff
from kennel.reconcile.settle import Providers, Rules, Settler
from kennel.reconcile.variables import Fingerprint
from kennel.store import Store, snapshot, tenants

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the latest pass saw."""

    wanted: Sequence[Wanted]
    actual: Actual
    plan: Plan


@dataclass(frozen=True, slots=True)
class Settling:
    """A tenant's task, and what it was started for."""

    steps: Steps
    task: asyncio.Task[None]


class Reconciler:
    """Runs passes, one at a time: at the start, when woken, and every so often."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        rules: Rules,
        fingerprint: Fingerprint,
        *,
        every: float = 30.0,
        parallel: int = 16,
        on_publish: Callable[[frozenset[Route]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._providers = providers
        self._rules = rules
        self._every = every
        self._settler = Settler(store, providers, rules, fingerprint, self._publish)
        self._places = asyncio.Semaphore(parallel)
        self._wake = asyncio.Event()
        self._settling: dict[Tenant, Settling] = {}
        self._backoff: Backoff[Tenant] = Backoff()
        self._publishing = asyncio.Lock()
        self._published: frozenset[Route] | None = None
        self._upcoming: dict[Tenant, frozenset[Route]] = {}
        self._cached: tuple[int, list[Wanted]] | None = None
        self._projects_left = True
        self.world: World | None = None
        self.troubles: dict[Tenant, str] = {}
        self.passes = 0
        self.last_pass_seconds = 0.0
        self._on_publish = on_publish

    def wake(self) -> None:
        """Ask for a pass as soon as the present one is over."""
        self._wake.set()

    async def run(self) -> None:
        """Run passes until cancelled. A pass that fails is logged and tried again."""
        while True:
            self._wake.clear()
            pause = await self._pass_or_log()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def stop(self) -> None:
        """Cut off what is under way. The next start goes on from there."""
        running = [settling.task for settling in self._settling.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._settler.close()

    async def _pass_or_log(self) -> float:
        try:
            plan = await self.run_pass()
        except ProviderError as error:
            log.warning("cannot look at the world", reason=str(error))
        except Exception:
            log.exception("a pass failed")
        else:
            return min(self._every, plan.again_in or self._every)
        return min(self._every, 5.0)

    async def run_pass(self) -> Plan:
        """Observe, plan, publish the routes, start settling whoever needs it.

        Raises ProviderError when the supervisor cannot be asked: nothing is done blindly.
        """
        begun = time.perf_counter()
        world = await self.look()
        self.world = world
        if self.passes == 0:
            self._on_publish(world.plan.routes)
        if world.plan.publish:
            await self._publish_plan(world.plan)
        for wanted in world.wanted:
            if steps := world.plan.steps.get(wanted.record.tenant):
                self._begin(wanted, steps)
        await self._forget_projects(world)
        self.passes += 1
        self.last_pass_seconds = time.perf_counter() - begun
        return world.plan

    async def settled(self) -> None:
        """Run passes until there is nothing left to do but wait. For tests and benchmarks."""
        while True:
            plan = await self.run_pass()
            if self._settling:
                await asyncio.wait([settling.task for settling in self._settling.values()])
            elif plan.again_in is not None:
                await asyncio.sleep(plan.again_in)
            elif plan.is_empty:
                return

    async def look(self) -> World:
        """Observe and plan, and change nothing."""
        wanted = await self.wanted()
        units, state = await asyncio.gather(
            self._providers.supervisor.observe(), self._router_state(wanted)
        )
        actual = Actual(units=units, live=state.live, routes=state.routes)
        plan = make_plan(wanted, actual, now=time.time(), drain=self._rules.drain)
        return World(wanted=wanted, actual=actual, plan=plan)

    async def wanted(self) -> list[Wanted]:
        """Return what should be of every tenant, read again if anything was written."""
        changes = self._store.changes
        if self._cached is None or self._cached[0] != changes:
            rows = await self._store.read(partial(snapshot.wanted, host=self._rules.host))
            self._cached = (changes, rows)
        return self._cached[1]

    async def _router_state(self, wanted: Sequence[Wanted]) -> RouterState:
        """Ask the router. Where it does not answer, its state counts as right: switching works
        without it, and it is asked again on the next pass.
        """
        try:
            return await self._providers.router.observe()
        except ProviderError as error:
            log.warning("cannot see the router", reason=str(error))
        live = {one.record.tenant: digest_of(one.targets) for one in wanted if one.live}
        routes = frozenset(route for one in wanted for route in routes_of(one))
        return RouterState(routes=routes, live=live)

    # Routes.

    async def _publish_plan(self, plan: Plan) -> None:
        """Write the table of the plan, with the routes of tenants that are becoming live."""
        async with self._publishing:
            self._published = None
            try:
                await self._write(plan.routes)
            except ProviderError as error:
                log.warning("cannot publish routes", reason=str(error))

    async def _publish(self, tenant: Tenant, routes: frozenset[Route]) -> None:
        """Make sure that the routes of a tenant that is becoming live are in the table."""
        self._upcoming[tenant] = routes
        async with self._publishing:
            if self._published is None or not routes <= self._published:
                stored = [route for one in await self.wanted() for route in routes_of(one)]
                await self._write(frozenset(stored))

    async def _write(self, stored: frozenset[Route]) -> None:
        others = {route for route in stored if route.key.tenant not in self._upcoming}
        table = frozenset(others.union(*self._upcoming.values()))
        self._on_publish(table)  # before: the proxy may ask at once whether a host is ours
        await self._providers.router.publish(table)
        self._published = table

    # Tenants.

    def _begin(self, wanted: Wanted, steps: Steps) -> None:
        """Start settling a tenant, unless that is under way or was tried just now."""
        tenant = wanted.record.tenant
        if current := self._settling.get(tenant):
            if _is_overtaken(current.steps, steps):
                current.task.cancel()
            return
        if self._is_waiting(tenant, steps):
            return
        task = asyncio.create_task(self._attempt(wanted, steps), name=f"settle {tenant}")
        self._settling[tenant] = Settling(steps, task)
        task.add_done_callback(partial(self._ended, tenant))

    async def _attempt(self, wanted: Wanted, steps: Steps) -> None:
        tenant = wanted.record.tenant
        async with self._places:
            if steps.start:
                self._backoff.note(tenant)
            try:
                await self._settler.settle(wanted, steps)
            except KennelError as error:
                log.warning("cannot settle", tenant=str(tenant), reason=str(error))
                self.troubles[tenant] = str(error)
                return
            except Exception as error:  # a bug in one plugin must not cost the other tenants
                log.exception("settling failed", tenant=str(tenant))
                self.troubles[tenant] = f"internal error: {type(error).__name__}"
                return
        self.troubles.pop(tenant, None)
        self.wake()

    def _is_waiting(self, tenant: Tenant, steps: Steps) -> bool:
        """Return whether what keeps going wrong was tried too recently. A new build never is."""
        again = bool(steps.start) or tenant in self.troubles
        return steps.deploy is None and again and self._backoff.wait(tenant) > 0

    def _ended(self, tenant: Tenant, task: asyncio.Task[None]) -> None:
        del self._settling[tenant]
        self._upcoming.pop(tenant, None)
        if task.cancelled():
            self.wake()

    async def _forget_projects(self, world: World) -> None:
        """Drop the rows of removed projects once their last tenant is gone."""
        evicting = any(steps.evict for steps in world.plan.steps.values())
        if self._projects_left and not evicting:
            for name in await self._store.write(tenants.forget_projects):
                log.info("project removed", project=name)
        self._projects_left = evicting


def _is_overtaken(current: Steps, needed: Steps) -> bool:
    """Return whether what is under way is not wanted any more: a newer build, or the end."""
    if needed.evict:
        return not current.evict
    return current.deploy is not None and needed.deploy != current.deploy
