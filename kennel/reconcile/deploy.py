"""Make a build live.

secrets -> resources -> generations are recorded -> the seed and the release command have run
-> units start beside the old -> all are ready -> requests are switched -> routes are published
-> recorded as live
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import structlog

from kennel.crashpoint import reached
from kennel.domain import Route, Service, Target, Tenant
from kennel.domain.record import Build
from kennel.errors import ProviderError, Rejected
from kennel.plan import Generation, Wanted, needs_start
from kennel.reconcile.candidate import Candidate, Preparer
from kennel.reconcile.errands import Errands
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.provisioning import Provisioning
from kennel.reconcile.ready import NotReady
from kennel.reconcile.reasons import told, with_last_lines
from kennel.reconcile.units import Units
from kennel.reconcile.variables import Fingerprint
from kennel.secrets.resolve import Resolver
from kennel.store import Store, builds, releases

log = structlog.get_logger(__name__)
GRACE = 1.0
"""Seconds that the other services of a build have left once one of them has failed: what is wrong
with them is told as well."""

Publish: TypeAlias = Callable[[Tenant, frozenset[Route]], Awaitable[None]]


class Deployer:
    """Makes builds live. `publish` brings the routes of a tenant into the router's table."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        rules: Rules,
        fingerprint: Fingerprint,
        *,
        units: Units,
        provisioning: Provisioning,
        secrets: Resolver,
        publish: Publish,
    ) -> None:
        self._store = store
        self._providers = providers
        self._rules = rules
        self._units = units
        self._publish = publish
        self._preparer = Preparer(
            store, providers, rules, fingerprint, provisioning=provisioning, secrets=secrets
        )
        self._errands = Errands(store, self._preparer, fingerprint, units)

    async def deploy(self, wanted: Wanted, build: Build) -> None:
        """Make a build live, or record why it cannot be. Raises Unavailable to try again."""
        bound = log.bind(tenant=str(wanted.record.tenant), build=build.id)
        try:
            candidate = await self._preparer.prepare(wanted, build)
            await self._errands.seed(wanted, candidate)
            await self._errands.release(wanted, candidate)
            await self._bring_up(wanted, candidate)
        except Rejected as error:
            bound.warning("deployment failed", reason=str(error))
            await self._fail(build, str(error))
            return
        if await self._cut_over(wanted, candidate):
            bound.info("live", urls=[self._providers.router.url(h.host) for h in candidate.hosts])

    async def _bring_up(self, wanted: Wanted, candidate: Candidate) -> None:
        """Start the units that do not run yet, wait until all are ready. Raises Rejected.

        A unit that runs has not shown that it is ready, unless it is live, and was asked the same:
        a Kennel that was killed, or a build that was overtaken, may have started it a moment ago.
        What has a schedule comes last: its predecessor keeps to the same times until all is live.
        """
        running = await self._providers.supervisor.observe()
        live = {d.generation.id: d.generation.service for d in wanted.live if d.generation}
        fresh = [g for g in candidate.generations if needs_start(running.get(g.unit))]
        unproven = [g for g in candidate.generations if g in fresh or not _asks(live.get(g.id), g)]
        for timed in (False, True):
            for generation in (g for g in fresh if (g.service.schedule is not None) is timed):
                await self._units.start(generation, candidate.environments[generation.key.name])
            if not timed:
                await self._all_ready(unproven, candidate)
        reached("units-ready")

    async def _all_ready(self, generations: Sequence[Generation], candidate: Candidate) -> None:
        """Wait until all are ready. Raises Rejected soon after the first of them has failed."""
        if not generations:
            return
        waits = [asyncio.create_task(self._problem(one, candidate)) for one in generations]
        try:
            await _first_problem(waits)
            problems = [task.result() for task in waits if task.done()]
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if found := [problem for problem in problems if problem]:
            raise Rejected("\n".join(found))

    async def _problem(self, generation: Generation, candidate: Candidate) -> str | None:
        """Wait for a unit. Return what a developer should know if it does not become ready."""
        try:
            await self._units.wait(generation, candidate.host_of(generation.key.name))
        except NotReady as error:
            lines = await self._units.last_lines(generation)
            text = with_last_lines(f"{generation.key.name}: {error}", lines)
            return told(text, candidate.around.hidden)
        return None

    async def _cut_over(self, wanted: Wanted, candidate: Candidate) -> bool:
        """Send requests to the new generation, then record it. False: it is not wanted any more."""
        tenant, build_id = wanted.record.tenant, candidate.build.id
        current = await self._store.read(partial(builds.get, build_id=build_id))
        if current.state != "built":
            return False
        # The table still speaks of names that are not in the new manifest: they go on until it is
        # written, with what they were.
        before = self._before(wanted)
        leaving = {n: t for n, t in before.items() if n not in candidate.targets}
        if first := {**leaving, **candidate.targets}:
            await self._providers.router.switch(tenant, first)
        reached("requests-switched")
        try:
            await self._publish(tenant, self._routes(wanted, candidate))
        except ProviderError:
            if before:  # until it is recorded, what was live is live
                await self._providers.router.switch(tenant, before)
            raise
        reached("routes-published")
        live = await self._recorded(wanted, candidate)
        reached("live-recorded")
        if live and leaving and candidate.targets:
            await self._providers.router.switch(tenant, candidate.targets)
        return live

    def _before(self, wanted: Wanted) -> Mapping[str, Target]:
        """Return where requests go as long as nothing else is recorded."""
        asleep = any(d.generation and d.generation.retired_at is not None for d in wanted.live)
        waker = self._rules.policy.waker
        return wanted.targets_at_rest(waker) if asleep else wanted.targets

    async def _recorded(self, wanted: Wanted, candidate: Candidate) -> bool:
        """Record what is live. Return False if the build was cancelled meanwhile."""
        return await self._store.write(
            partial(
                releases.go_live,
                tenant_id=wanted.record.id,
                build_id=candidate.build.id,
                host=self._rules.host,
                services=candidate.generations,
                sites=[
                    (name, str(candidate.targets[name]), site.spa)
                    for name, site in candidate.manifest.sites.items()
                ],
                wanted_hosts=list(candidate.hosts),
                now=time.time(),
            )
        )

    def _routes(self, wanted: Wanted, candidate: Candidate) -> frozenset[Route]:
        """Return the routes the store will ask for once the candidate is live."""
        return releases.routes(wanted.record, candidate.manifest, candidate.hosts)

    async def _fail(self, build: Build, reason: str) -> None:
        await self._store.write(
            partial(builds.failed, build_id=build.id, reason=reason, now=time.time())
        )


def _asks(live: Service | None, generation: Generation) -> bool:
    """Return whether what is live was asked whether it is ready as a generation is to be."""
    return live is not None and live.ready == generation.service.ready


async def _first_problem(waits: Sequence[asyncio.Task[str | None]]) -> None:
    """Return when all is well, or a moment after the first problem. Raises what a wait raises."""
    pending = set(waits)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if any(task.result() for task in done):
            if pending:
                await asyncio.wait(pending, timeout=GRACE)
            return
