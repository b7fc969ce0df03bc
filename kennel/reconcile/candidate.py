"""Everything a build needs to become live: provisioned, chosen and recorded before it exists."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from kennel.crashpoint import reached
from kennel.domain import Env, Environment, Manifest, Target
from kennel.domain.record import Build, TenantRecord
from kennel.domain.route import Files
from kennel.errors import Rejected
from kennel.plan import Generation, Wanted
from kennel.reconcile import variables
from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.provisioning import Provisioning
from kennel.secrets.resolve import Resolver, scopes_of
from kennel.store import Store, hosts, projects, releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A build about to become live: its units with their environments, its hosts and targets."""

    build: Build
    manifest: Manifest
    around: variables.Surroundings
    generations: Sequence[Generation]
    environments: Mapping[str, Env]
    hosts: Sequence[hosts.Host]
    targets: Mapping[str, Target]

    def host_of(self, name: str) -> str:
        """Return the host a service is asked at: its custom domain, if it has one."""
        return hosts.by_name(self.hosts).get(name, ("localhost",))[-1]


class Preparer:
    """Makes candidates of builds."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        rules: Rules,
        fingerprint: variables.Fingerprint,
        *,
        provisioning: Provisioning,
        secrets: Resolver,
    ) -> None:
        self._store = store
        self._url = providers.router.url
        self._rules = rules
        self._fingerprint = fingerprint
        self._provisioning = provisioning
        self._secrets = secrets

    async def prepare(self, wanted: Wanted, build: Build) -> Candidate:
        """Look up secrets, provision, choose hosts and ports, record what is about to exist.

        Raises ProviderError.
        """
        if build.manifest is None or build.outputs is None:
            raise Rejected("the build left no record of what it gave: build the commit again")
        manifest = manifest_of(wanted.record, build.manifest)
        secrets = await self._secrets.resolve(wanted.record, build)
        given = await self._provisioning.given(wanted, manifest)
        reserved = await self._reserve(wanted, manifest)
        urls = {name: self._url(held[-1]) for name, held in hosts.by_name(reserved).items()}
        around = variables.Surroundings.of(
            wanted.record,
            manifest,
            given=given,
            urls=urls,
            secrets=secrets,
            scopes=scopes_of(build),
        )
        environments = {name: around.env(one) for name, one in manifest.services.items()}
        claims = [
            releases.Claim(
                service=service,
                command=(command := (build.outputs.programs[name], *service.args)),
                digest=self._fingerprint.of(
                    service, command, environments[name], restarts=wanted.record.restarts
                ),
            )
            for name, service in manifest.services.items()
        ]
        generations = await self.claim(wanted, build, claims)
        reached("generations-recorded")
        targets: dict[str, Target] = {
            g.key.name: target for g in generations if (target := releases.target_of(g))
        }
        targets |= {
            name: Files(root=build.outputs.paths[site.package])
            for name, site in manifest.sites.items()
        }
        return Candidate(
            build=build,
            manifest=manifest,
            around=around,
            generations=generations,
            environments=environments,
            hosts=reserved,
            targets=targets,
        )

    async def claim(
        self, wanted: Wanted, build: Build, claims: Sequence[releases.Claim]
    ) -> list[Generation]:
        """Record generations of a build. Raises Unavailable when no port is left."""
        return await self._store.write(
            partial(
                releases.claim,
                tenant_id=wanted.record.id,
                tenant=wanted.record.tenant,
                build_id=build.id,
                claims=claims,
                host=self._rules.host,
                ports=self._rules.ports,
                is_free=self._rules.is_free,
                now=time.time(),
            )
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


def manifest_of(record: TenantRecord, manifest: Manifest) -> Manifest:
    """Return what of a manifest a tenant has."""
    return manifest.of_preview() if record.environment is Environment.PREVIEW else manifest
