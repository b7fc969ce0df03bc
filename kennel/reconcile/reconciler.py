"""The loop that keeps the world like the store.

A pass reads what should be, reads what is with a handful of calls, plans, and starts a task for
every tenant that needs anything. It waits for none of them, so a service that is slow to get
ready holds up nobody else. It remembers nothing that it could not find out again.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from kennel.domain import Route, Tenant
from kennel.domain.route import digest_of
from kennel.errors import KennelError, ProviderError
from kennel.plan import Actual, Plan, Steps, Wanted, make_plan, routes_of
from kennel.plugin import RouterState
from kennel.reconcile.backoff import Backoff
from kennel.reconcile.liveness import Liveness
from kennel.reconcile.names import Names, Publishing
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.resources import Resources
from kennel.reconcile.settle import Settler
from kennel.reconcile.table import Table
from kennel.reconcile.variables import Fingerprint
from kennel.reconcile.visits import Visits
from kennel.store import Store, snapshot, tenants

log = structlog.get_logger(__name__)
DISTANT = 60.0
"""Seconds for which nobody waits until all is settled: a preview sleeps after days."""
SOON = 5.0
"""Seconds until something that went wrong is tried again, where nothing is known of it."""


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
        on_evict: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare. `on_publish`: is told every table of routes before it is written.

        `on_evict`: is called when a ref or a project was forgotten.
        """
        self._store = store
        self._providers = providers
        self._rules = rules
        self._every = every
        self._table = Table(providers.router, self.wanted, on_publish)
        self._settler = Settler(
            store, providers, rules, fingerprint, self._table.publish, parallel=parallel
        )
        self._wake = asyncio.Event()
        self._settling: dict[Tenant, Settling] = {}
        self._held: frozenset[Tenant] = frozenset()
        self._backoff: Backoff[Tenant] = Backoff()
        self._tried: dict[Tenant, Steps] = {}
        self._asked_again: set[Tenant] = set()
        self._cached: tuple[int, list[Wanted]] | None = None
        self._projects_left = True
        self.world: World | None = None
        self.troubles: dict[Tenant, str] = {}
        self.passes = 0
        """Passes that came to their end."""
        self.tries = 0
        """Passes that were begun and are over, well or not: the loop is alive."""
        self.last_pass_seconds = 0.0
        self._on_publish = on_publish
        self._on_evict = on_evict
        self.names = Names(
            store,
            providers.dns,
            Publishing(
                target=rules.target,
                ephemeral=rules.ephemeral,
                wildcard=rules.wildcard,
                every=every,
            ),
        )
        self._visits = Visits(store, providers.router, rules.policy)
        self._resources = Resources(providers.provisioners, changed=self.wake)
        self._news = asyncio.Event()
        self._liveness = Liveness(rules, every=min(every, rules.look_every), changed=self.wake)

    @property
    def news(self) -> asyncio.Event:
        """Return what is set when a tenant was settled next, or a pass has ended."""
        return self._news

    def _tell(self) -> None:
        """Wake everybody who waits for news; who waits from here on waits for the next ones."""
        self._news.set()
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Ask for a pass as soon as the present one is over."""
        self._wake.set()

    async def run(self) -> None:
        """Run passes until cancelled. A pass that fails is logged and tried again."""
        while True:
            self._wake.clear()
            pause = await self._pass_or_log()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):  # wait_for may lose a cancellation before 3.12
                    await self._wake.wait()

    async def stop(self) -> None:
        """Cut off what is under way. The next start goes on from there."""
        running = [settling.task for settling in self._settling.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._liveness.stop()
        await self.names.stop()
        await self._resources.stop()

    async def _pass_or_log(self) -> float:
        try:
            plan = await self.run_pass()
        except ProviderError as error:
            log.warning("cannot look at the world", reason=str(error))
        except Exception:
            log.exception("a pass failed")
        else:
            return min(self._every, plan.again_in or self._every)
        finally:
            self.tries += 1
        return min(self._every, SOON)

    async def run_pass(self) -> Plan:
        """Observe, plan, publish the routes, start settling whoever needs it.

        Raises ProviderError when the supervisor cannot be asked: nothing is done blindly.
        """
        begun = time.perf_counter()
        await self._visits.note(await self.wanted())
        busy = set(self._settling)
        await self._resources.look(await self.wanted())
        world = await self.look()
        self.world = world
        if self.passes == 0:
            self._on_publish(world.plan.routes)
        pauses = [world.plan.again_in]
        if world.plan.publish and not await self._table.restore():
            pauses.append(SOON)
        self._forget_what_is_over(world)
        pauses += [self._take(one, world.plan, busy) for one in world.wanted]
        self._look_after(world)
        self.names.look(world.wanted)
        await self._forget_projects(world)
        self.passes += 1
        self._tell()
        self.last_pass_seconds = time.perf_counter() - begun
        return replace(world.plan, again_in=min((p for p in pauses if p is not None), default=None))

    def _take(self, wanted: Wanted, plan: Plan, busy: set[Tenant]) -> float | None:
        """Begin, unless what was seen of the tenant is old by now: it was settled meanwhile."""
        tenant = wanted.record.tenant
        steps = plan.steps.get(tenant)
        if steps is None:
            return None
        if tenant in busy and tenant not in self._settling:
            self.wake()
            return None
        return self._begin(wanted, steps)

    def _look_after(self, world: World) -> None:
        """Look whether what is live answers: the next pass knows. What starts is waited for."""
        starting = {g.unit for one in self._settling.values() for g in one.steps.start}
        self._liveness.look(world.wanted, world.plan.fates, world.actual.units, but=starting)

    async def settled(self) -> None:
        """Run passes until there is nothing left to do but wait. For tests and benchmarks."""
        while True:
            plan = await self.run_pass()
            if self._settling:
                await asyncio.wait([settling.task for settling in self._settling.values()])
            elif plan.again_in is not None and plan.again_in < DISTANT:
                await asyncio.sleep(plan.again_in)
            elif plan.is_empty:
                return

    async def look(self) -> World:
        """Observe and plan, and change nothing."""
        wanted = await self.wanted()
        units, state = await asyncio.gather(
            self._providers.supervisor.observe(), self._router_state(wanted)
        )
        actual = Actual(
            units=units,
            live=state.live,
            routes=state.routes,
            ailing=self._liveness.ailing,
            hung=self._liveness.hung,
            lacking=self._resources.lacking,
        )
        plan = make_plan(wanted, actual, self._rules.policy, now=time.time())
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

    # Tenants.

    @property
    def settling(self) -> frozenset[Tenant]:
        """Return the tenants that something is being done to."""
        return frozenset(self._settling)

    @contextlib.asynccontextmanager
    async def held(self, tenants: Collection[Tenant]) -> AsyncIterator[None]:
        """Let nothing be done to tenants for the length of the block.

        What is being done to them is waited for, and who holds one of them already.
        """
        wanted = frozenset(tenants)
        while wanted & self._held:
            await self._news.wait()
        self._held |= wanted
        try:
            while tasks := [one.task for t, one in self._settling.items() if t in wanted]:
                await asyncio.wait(tasks)
                await asyncio.sleep(0)
            yield
        finally:
            self._held -= wanted
            self._tell()
            self.wake()

    def _begin(self, wanted: Wanted, steps: Steps) -> float | None:
        """Start settling a tenant, unless that is under way or was tried just now.

        Return the seconds after which it may be tried again.
        """
        tenant = wanted.record.tenant
        if current := self._settling.get(tenant):
            if not (_is_overtaken(current.steps, steps) or self._mends(tenant, steps)):
                self._asked_again |= {tenant} if steps != current.steps else set()
            elif not current.task.cancelling():
                current.task.cancel()
            return None
        if tenant in self._held:
            return None  # there is a pass when it is let go of
        if pause := self._pause(tenant, steps):
            return pause
        task = asyncio.create_task(self._attempt(wanted, steps), name=f"settle {tenant}")
        self._settling[tenant] = Settling(steps, task)
        task.add_done_callback(partial(self._ended, tenant))
        return None

    def _mends(self, tenant: Tenant, needed: Steps) -> bool:
        """Return whether what is live is to be started now, while a release command runs.

        That may take long, and nothing is lost when who waits for it is cut off.
        """
        build = needed.deploy
        releases = build is not None and build.manifest is not None and build.manifest.release
        if build is None or not releases or build.released_at is not None:
            return False
        return bool(needed.start) and not self._pause(tenant, needed)

    async def _attempt(self, wanted: Wanted, steps: Steps) -> None:
        tenant = wanted.record.tenant
        again = _restarts(steps) or steps == self._tried.get(tenant)
        self._tried[tenant] = steps
        if again:
            self._backoff.note(tenant)
        try:
            await self._settler.settle(wanted, steps)
        except KennelError as error:
            log.warning("cannot settle", tenant=str(tenant), reason=str(error))
            self.troubles[tenant] = str(error)
        except Exception as error:  # a bug in one plugin must not cost the other tenants
            log.exception("settling failed", tenant=str(tenant))
            self.troubles[tenant] = f"internal error: {type(error).__name__}"
        else:
            self.troubles.pop(tenant, None)
            self._liveness.forget(g.unit for g in steps.start)
            self.wake()
            if steps.evict:
                self._on_evict()
            return
        if not again:
            self._backoff.note(tenant)
        self.wake()  # the next pass knows how soon it may be tried again

    def _pause(self, tenant: Tenant, steps: Steps) -> float:
        """Return how long to wait with what keeps going wrong. What is new never waits."""
        tried = self._tried.get(tenant, Steps())
        if steps.evict and not tried.evict:
            return 0.0
        if steps.deploy is not None and steps.deploy != tried.deploy:
            return 0.0
        again = _restarts(steps) or tenant in self.troubles or steps == tried
        return self._backoff.wait(tenant) if again else 0.0

    def _ended(self, tenant: Tenant, task: asyncio.Task[None]) -> None:
        del self._settling[tenant]
        self._tell()
        self._table.settled(tenant)
        if task.cancelled() or tenant in self._asked_again:
            self._asked_again.discard(tenant)
            self.wake()

    def _forget_what_is_over(self, world: World) -> None:
        """Drop what was remembered of tenants that need nothing any more, or are gone."""
        busy = world.plan.steps.keys() | self._settling.keys()
        self.troubles = {t: why for t, why in self.troubles.items() if t in busy}
        self._tried = {t: steps for t, steps in self._tried.items() if t in busy}
        self._backoff.keep({one.record.tenant for one in world.wanted})

    async def _forget_projects(self, world: World) -> None:
        """Drop the rows of removed projects once their last tenant is gone."""
        evicting = any(steps.evict for steps in world.plan.steps.values())
        if self._projects_left and not evicting:
            for name in await self._store.write(tenants.forget_projects):
                log.info("project removed", project=name)
                self._on_evict()
        self._projects_left = evicting


def _restarts(steps: Steps) -> bool:
    """Return whether something that should run does not: to wake who slept is not that."""
    return bool(steps.start) and not steps.wake


def _is_overtaken(current: Steps, needed: Steps) -> bool:
    """Return whether what is under way is not wanted any more: a newer build, or the end."""
    if needed.evict:
        return not current.evict
    if needed.deploy is None:
        return current.deploy is not None
    if current.deploy is None:
        return bool(current.start)
    return needed.deploy.id != current.deploy.id
