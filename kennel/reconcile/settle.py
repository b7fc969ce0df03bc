"""Bring one tenant where it should be.

    resources -> generations are recorded -> units start beside the old -> all are ready ->
    requests are switched -> routes are published -> recorded as live -> drain -> old units stop

Whatever is started was recorded before, and nothing is stopped before its successor answers. So
this may be cut off at any point, and the next pass goes on from what it finds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from kennel.crashpoint import reached
from kennel.domain import (
    Env,
    Environment,
    Limits,
    Manifest,
    Ready,
    Route,
    Target,
    Tenant,
    Unit,
    UnitState,
)
from kennel.domain.record import Build, Project
from kennel.domain.route import Files, Upstream
from kennel.errors import ProviderError, Rejected
from kennel.plan import Generation, Steps, Wanted, needs_start
from kennel.plugin import Provisioner, Router, Supervisor
from kennel.reconcile import variables
from kennel.reconcile.ready import NotReady, Probe
from kennel.store import Store, builds, hosts, projects, releases, tenants

log = structlog.get_logger(__name__)
LOG_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """The providers in use, opened."""

    supervisor: Supervisor
    router: Router
    provisioners: Mapping[str, Provisioner] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator decided about how services run. `drain` in seconds."""

    host: str
    ephemeral: str
    ports: range
    limits: Limits
    drain: float
    is_free: Callable[[int], bool] = releases.can_bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A build about to become live: its units with their environments, its hosts and targets."""

    build: Build
    manifest: Manifest
    generations: Sequence[Generation]
    environments: Mapping[str, Env]
    hosts: Sequence[hosts.Host]
    targets: Mapping[str, Target]

    def host_of(self, name: str) -> str:
        """Return the host a service is asked at: its custom domain, if it has one."""
        mine = [host for host in self.hosts if host.name == name]
        return max(mine, key=lambda host: host.custom).host


class Settler:
    """Takes the steps of a plan, tenant by tenant."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        rules: Rules,
        fingerprint: variables.Fingerprint,
        publish: Callable[[Tenant, frozenset[Route]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._providers = providers
        self._rules = rules
        self._fingerprint = fingerprint
        self._publish = publish
        self._probe = Probe()

    async def close(self) -> None:
        await self._probe.close()

    async def settle(self, wanted: Wanted, steps: Steps) -> None:
        """Take the steps of a tenant. Raises ProviderError for what has to wait."""
        if steps.evict:
            await self._evict(wanted)
            return
        trouble = await self._healed(wanted, steps)
        if steps.deploy is not None:
            await self._deploy(wanted, steps.deploy)
        if steps.close:
            await self._providers.router.remove(wanted.record.tenant)
            reached("route-closed")
        if steps.deploy is None:  # it may have taken up again what was to be stopped
            await self._stop(steps.stop)
        if trouble is not None:
            raise trouble

    # What is live and should run.

    async def _healed(self, wanted: Wanted, steps: Steps) -> ProviderError | None:
        """Start what is live and does not run, send requests there. Return what went wrong."""
        trouble: ProviderError | None = None
        if steps.start:
            try:
                await self._restart(wanted, steps.start)
            except ProviderError as error:
                trouble = error
        if steps.switch:
            await self._providers.router.switch(wanted.record.tenant, wanted.targets)
            reached("requests-switched")
        return trouble

    async def _restart(self, wanted: Wanted, generations: Sequence[Generation]) -> None:
        tenant = wanted.record.tenant
        build = await self._store.read(partial(builds.get, build_id=wanted.live[0].build))
        given = await self._given(tenant, build.manifest or Manifest())
        urls = {name: self._providers.router.url(held[-1]) for name, held in wanted.hosts.items()}
        log.info("starting what is live", tenant=str(tenant), units=[g.unit for g in generations])
        async with asyncio.TaskGroup() as group:
            waits = [
                group.create_task(
                    self._start_again(
                        one,
                        variables.for_service(
                            one.service,
                            tenant=tenant,
                            environment=wanted.record.environment,
                            url=urls.get(one.key.name, ""),
                            given=given,
                        ),
                        wanted.hosts.get(one.key.name, ("localhost",))[-1],
                    )
                )
                for one in generations
            ]
        for problem in filter(None, (wait.result() for wait in waits)):
            raise problem

    async def _start_again(
        self, generation: Generation, env: Env, host: str
    ) -> ProviderError | None:
        unit = self._unit(generation)
        try:
            await self._start(unit, env)
            await self._await(unit, generation.service.ready, host)
        except ProviderError as error:
            return error
        except NotReady as error:
            return Rejected(f"{generation.key.name}: {error}")
        return None

    # What is built and should become live.

    async def _deploy(self, wanted: Wanted, build: Build) -> None:
        """Make a build live, or record why it cannot be. Raises Unavailable to try again."""
        bound = log.bind(tenant=str(wanted.record.tenant), build=build.id)
        try:
            candidate = await self._prepare(wanted, build)
            await self._bring_up(candidate)
        except Rejected as error:
            bound.warning("deployment failed", reason=str(error))
            await self._fail(build, str(error))
            return
        if await self._cut_over(wanted, candidate):
            bound.info("live", urls=[self._providers.router.url(h.host) for h in candidate.hosts])

    async def _prepare(self, wanted: Wanted, build: Build) -> Candidate:
        """Provision, choose hosts and ports, and record every generation before it exists."""
        tenant = wanted.record.tenant
        manifest, outputs = build.manifest, build.outputs
        if manifest is None or outputs is None:
            raise Rejected("the build left no record of what it gave: build the commit again")
        given = await self._given(tenant, manifest)
        reached("resources-ensured")
        reserved = await self._reserve(wanted, manifest)
        first = {host.name: host for host in sorted(reserved, key=lambda h: h.custom)}
        environments = {
            name: variables.for_service(
                service,
                tenant=tenant,
                environment=wanted.record.environment,
                url=self._providers.router.url(first[name].host),
                given=given,
            )
            for name, service in manifest.services.items()
        }
        claims = [
            releases.Claim(
                service=service,
                command=(command := (outputs.programs[name], *service.args)),
                digest=self._fingerprint.of(service, command, environments[name]),
            )
            for name, service in manifest.services.items()
        ]
        generations = await self._store.write(
            partial(
                releases.claim,
                tenant_id=wanted.record.id,
                tenant=tenant,
                build_id=build.id,
                claims=claims,
                host=self._rules.host,
                ports=self._rules.ports,
                is_free=self._rules.is_free,
                now=time.time(),
            )
        )
        reached("generations-recorded")
        targets: dict[str, Target] = {g.key.name: Upstream(port=g.port) for g in generations}
        targets |= {
            name: Files(root=outputs.paths[site.package]) for name, site in manifest.sites.items()
        }
        return Candidate(
            build=build,
            manifest=manifest,
            generations=generations,
            environments=environments,
            hosts=reserved,
            targets=targets,
        )

    async def _reserve(self, wanted: Wanted, manifest: Manifest) -> list[hosts.Host]:
        project = await self._project(wanted.record.tenant.project)
        return await self._store.write(
            partial(
                hosts.reserve,
                tenant_id=wanted.record.id,
                tenant=wanted.record.tenant,
                manifest=manifest,
                ephemeral=self._rules.ephemeral,
                custom=wanted.record.environment is Environment.PROD,
                granted=project.domains,
            )
        )

    async def _project(self, name: str) -> Project:
        return await self._store.read(partial(projects.by_name, name=name))

    async def _given(self, tenant: Tenant, manifest: Manifest) -> Env:
        return await variables.provisioned(tenant, manifest, self._providers.provisioners)

    async def _bring_up(self, candidate: Candidate) -> None:
        """Start the units that do not run yet, wait until all are ready. Raises Rejected."""
        running = await self._providers.supervisor.observe()
        fresh = [g for g in candidate.generations if needs_start(running.get(g.unit))]
        for generation in fresh:
            await self._start(self._unit(generation), candidate.environments[generation.key.name])
        problems = await asyncio.gather(*(self._problem(g, candidate) for g in fresh))
        if found := [problem for problem in problems if problem]:
            raise Rejected("\n".join(found))
        reached("units-ready")

    async def _problem(self, generation: Generation, candidate: Candidate) -> str | None:
        """Wait for a unit. Return what a developer should know if it does not become ready."""
        host = candidate.host_of(generation.key.name)
        try:
            await self._await(self._unit(generation), generation.service.ready, host)
        except NotReady as error:
            lines = await self._providers.supervisor.logs(generation.unit, LOG_LINES)
            said = "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"
            return f"{generation.key.name}: {error}\nits last lines:\n{said}"
        return None

    async def _cut_over(self, wanted: Wanted, candidate: Candidate) -> bool:
        """Send requests to the new generation, then record it. False: it is not wanted any more."""
        tenant = wanted.record.tenant
        build_id = candidate.build.id
        current = await self._store.read(partial(builds.get, build_id=build_id))
        if current.state != "built":
            return False
        await self._providers.router.switch(tenant, candidate.targets)
        reached("requests-switched")
        await self._publish(tenant, self._routes(tenant, candidate))
        reached("routes-published")
        live = await self._store.write(
            partial(
                releases.go_live,
                tenant_id=wanted.record.id,
                build_id=build_id,
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
        reached("live-recorded")
        return live

    def _routes(self, tenant: Tenant, candidate: Candidate) -> frozenset[Route]:
        """Return the routes the store will ask for once the candidate is live."""
        return releases.routes(tenant, candidate.manifest, candidate.hosts)

    async def _fail(self, build: Build, reason: str) -> None:
        await self._store.write(
            partial(builds.failed, build_id=build.id, reason=reason, now=time.time())
        )

    # Units.

    def _unit(self, generation: Generation) -> Unit:
        return Unit(
            name=generation.unit,
            key=generation.key,
            command=generation.command,
            port=generation.port,
            limits=within(generation.service.limits, self._rules.limits),
            fields={"KENNEL_BUILD": str(generation.build)},
        )

    async def _start(self, unit: Unit, env: Env) -> None:
        await self._providers.supervisor.ensure(unit, variables.listening(env, port=unit.port))
        reached("unit-started")

    async def _await(self, unit: Unit, ready: Ready, host: str) -> None:
        async def ended() -> str | None:
            status = (await self._providers.supervisor.observe()).get(unit.name)
            if status is None:
                return "it ended"
            return f"it failed ({status.reason})" if status.state is UnitState.FAILED else None

        await self._probe.wait(unit, ready, host=host, ended=ended)

    async def _stop(self, generations: Sequence[Generation]) -> None:
        if not generations:
            return
        await asyncio.gather(*(self._providers.supervisor.remove(g.unit) for g in generations))
        reached("unit-stopped")
        await self._store.write(partial(releases.drop, generation_ids=[g.id for g in generations]))
        reached("generations-dropped")

    # What is gone.

    async def _evict(self, wanted: Wanted) -> None:
        """Take away everything of a tenant whose ref is gone: requests, units, resources, row."""
        tenant = wanted.record.tenant
        await self._providers.router.remove(tenant)
        reached("route-closed")
        await self._stop(wanted.generations)
        for provisioner in self._providers.provisioners.values():
            await provisioner.remove(tenant)
        reached("resources-removed")
        if await self._store.write(partial(tenants.forget, tenant_id=wanted.record.id)):
            log.info("removed", tenant=str(tenant))
        reached("tenant-forgotten")


def within(asked: Limits, allowed: Limits) -> Limits:
    """Return what a service asked for, as far as it is allowed."""

    def least(one: int | None, other: int | None) -> int | None:
        return other if one is None else one if other is None else min(one, other)

    return replace(
        allowed,
        memory_max=least(asked.memory_max, allowed.memory_max),
        cpu_weight=least(asked.cpu_weight, allowed.cpu_weight),
        tasks_max=least(asked.tasks_max, allowed.tasks_max),
    )
