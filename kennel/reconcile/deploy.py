"""Make a build live.

resources -> generations are recorded -> units start beside the old -> all are ready ->
requests are switched -> routes are published -> recorded as live
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import structlog

from kennel.crashpoint import reached
from kennel.domain import Env, Environment, Manifest, Route, Secret, Target, Tenant
from kennel.domain.record import Build
from kennel.domain.route import Files
from kennel.errors import ProviderError, Rejected
from kennel.plan import Generation, Wanted, needs_start
from kennel.reconcile import variables
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.ready import NotReady
from kennel.reconcile.units import Units
from kennel.store import Store, builds, hosts, projects, releases

log = structlog.get_logger(__name__)
LOG_LINES = 20
MOST_REASON = 8000
SHORTEST_SECRET = 6
"""What is shorter is in every other word: taking it out would say more than leaving it in."""

Publish: TypeAlias = Callable[[Tenant, frozenset[Route]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A build about to become live: its units with their environments, its hosts and targets.

    `given`: what Kennel provisioned for it, secrets among them.
    """

    build: Build
    manifest: Manifest
    given: Env
    generations: Sequence[Generation]
    environments: Mapping[str, Env]
    hosts: Sequence[hosts.Host]
    targets: Mapping[str, Target]

    def host_of(self, name: str) -> str:
        """Return the host a service is asked at: its custom domain, if it has one."""
        mine = [host for host in self.hosts if host.name == name]
        return max(mine, key=lambda host: host.custom).host if mine else "localhost"


class Deployer:
    """Makes builds live. `publish` brings the routes of a tenant into the router's table."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        rules: Rules,
        fingerprint: variables.Fingerprint,
        *,
        units: Units,
        publish: Publish,
    ) -> None:
        self._store = store
        self._providers = providers
        self._rules = rules
        self._fingerprint = fingerprint
        self._units = units
        self._publish = publish

    async def deploy(self, wanted: Wanted, build: Build) -> None:
        """Make a build live, or record why it cannot be. Raises Unavailable to try again."""
        bound = log.bind(tenant=str(wanted.record.tenant), build=build.id)
        try:
            candidate = await self._prepare(wanted, build)
            await self._bring_up(wanted, candidate)
        except Rejected as error:
            bound.warning("deployment failed", reason=str(error))
            await self._fail(build, str(error))
            return
        if await self._cut_over(wanted, candidate):
            bound.info("live", urls=[self._providers.router.url(h.host) for h in candidate.hosts])

    async def _prepare(self, wanted: Wanted, build: Build) -> Candidate:
        """Provision, choose hosts and ports, and record every generation before it exists."""
        tenant = wanted.record.tenant
        if build.manifest is None or build.outputs is None:
            raise Rejected("the build left no record of what it gave: build the commit again")
        preview = wanted.record.environment is Environment.PREVIEW
        manifest = build.manifest.of_preview() if preview else build.manifest
        outputs = build.outputs
        given = await self._units.given(tenant, manifest)
        reached("resources-ensured")
        reserved = await self._reserve(wanted, manifest)
        first = {host.name: host for host in sorted(reserved, key=lambda h: h.custom)}
        environments = {
            name: variables.for_service(
                service,
                tenant=tenant,
                environment=wanted.record.environment,
                url=self._providers.router.url(first[name].host) if name in first else "",
                given=given,
            )
            for name, service in manifest.services.items()
        }
        claims = [
            releases.Claim(
                service=service,
                command=(command := (outputs.programs[name], *service.args)),
                digest=self._fingerprint.of(
                    service, command, environments[name], restarts=wanted.record.restarts
                ),
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
        targets: dict[str, Target] = {
            g.key.name: target for g in generations if (target := releases.target_of(g))
        }
        targets |= {
            name: Files(root=outputs.paths[site.package]) for name, site in manifest.sites.items()
        }
        return Candidate(
            build=build,
            manifest=manifest,
            given=given,
            generations=generations,
            environments=environments,
            hosts=reserved,
            targets=targets,
        )

    async def _reserve(self, wanted: Wanted, manifest: Manifest) -> list[hosts.Host]:
        name = wanted.record.tenant.project
        project = await self._store.read(partial(projects.by_name, name=name))
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

    async def _bring_up(self, wanted: Wanted, candidate: Candidate) -> None:
        """Start the units that do not run yet, wait until all are ready. Raises Rejected.

        A unit that runs has not shown that it is ready, unless it is live: a Kennel that was
        killed, or a build that was overtaken, may have started it a moment ago.
        """
        running = await self._providers.supervisor.observe()
        live = {d.generation.id for d in wanted.live if d.generation}
        fresh = [g for g in candidate.generations if needs_start(running.get(g.unit))]
        unproven = [g for g in candidate.generations if g in fresh or g.id not in live]
        for generation in fresh:
            await self._units.start(generation, candidate.environments[generation.key.name])
        problems = await asyncio.gather(*(self._problem(g, candidate) for g in unproven))
        if found := [problem for problem in problems if problem]:
            raise Rejected("\n".join(found))
        reached("units-ready")

    async def _problem(self, generation: Generation, candidate: Candidate) -> str | None:
        """Wait for a unit. Return what a developer should know if it does not become ready."""
        try:
            await self._units.wait(generation, candidate.host_of(generation.key.name))
        except NotReady as error:
            lines = await self._providers.supervisor.logs(generation.unit, LOG_LINES)
            said = "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"
            text = f"{generation.key.name}: {error}\nits last lines:\n{said}"
            return told(text, candidate.given)
        return None

    async def _cut_over(self, wanted: Wanted, candidate: Candidate) -> bool:
        """Send requests to the new generation, then record it. False: it is not wanted any more."""
        tenant, build_id = wanted.record.tenant, candidate.build.id
        current = await self._store.read(partial(builds.get, build_id=build_id))
        if current.state != "built":
            return False
        # The table still speaks of names that are not in the new manifest: they go on until it is
        # written, with what they were.
        leaving = {n: t for n, t in wanted.targets.items() if n not in candidate.targets}
        await self._providers.router.switch(tenant, {**leaving, **candidate.targets})
        reached("requests-switched")
        try:
            await self._publish(tenant, self._routes(tenant, candidate))
        except ProviderError:
            if wanted.live:  # until it is recorded, what was live is live
                await self._providers.router.switch(tenant, wanted.targets)
            raise
        reached("routes-published")
        live = await self._recorded(wanted, candidate)
        reached("live-recorded")
        if live and leaving:
            await self._providers.router.switch(tenant, candidate.targets)
        return live

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

    def _routes(self, tenant: Tenant, candidate: Candidate) -> frozenset[Route]:
        """Return the routes the store will ask for once the candidate is live."""
        return releases.routes(tenant, candidate.manifest, candidate.hosts)

    async def _fail(self, build: Build, reason: str) -> None:
        await self._store.write(
            partial(builds.failed, build_id=build.id, reason=reason, now=time.time())
        )


def told(text: str, env: Mapping[str, Secret]) -> str:
    """Return what a service said, fit to be kept and shown.

    Without the values it was given, without what no database takes, and not without end.
    """
    values = {secret.value for secret in env.values() if len(secret.value) >= SHORTEST_SECRET}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "[secret]")
    text = text.replace("\0", "")
    if len(text) > MOST_REASON:
        text = f"{text[: MOST_REASON // 2]}\n  …\n{text[-MOST_REASON // 2 :]}"
    return text
