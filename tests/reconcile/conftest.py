"""A reconciler on a real store, with a supervisor and a router that live in memory."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from kennel.domain import Limits, Manifest, Outputs, Ready, Ref, SecretSpec, Service, Site, Tenant
from kennel.domain.record import Build
from kennel.errors import NotFound
from kennel.lifecycle import Terms
from kennel.plan import Policy
from kennel.plugin import DnsProvider, SecretSource
from kennel.reconcile import Providers, Reconciler, Rules
from kennel.reconcile.variables import Fingerprint
from kennel.secrets import Grants
from kennel.store import Store, builds, projects, snapshot, tenants
from kennel.testing import MemoryProvisioner, MemoryRouter, MemorySupervisor

MAIN = Ref.branch("main")
FIRST_PORT = 10_000 + os.getpid() % 200 * 100
"""Tests that run beside these take others."""
TARGET = "203.0.113.7"
"""Where custom domains lead."""


@dataclass
class Town:
    """Everything a test wants to do to a reconciler and its world."""

    store: Store
    folder: Path
    supervisor: MemorySupervisor
    router: MemoryRouter
    provisioner: MemoryProvisioner
    reconciler: Reconciler
    drain: float = 0.0
    ready_timeout: float = 60.0
    settle_time: float = 0.05
    look_every: float = 60.0
    parallel: int = 16
    terms: Terms = field(default_factory=Terms)
    terms_of: Callable[[Tenant], Terms] | None = None
    memory_max: int | None = None
    others: Sequence[MemoryProvisioner] = ()
    dns: Mapping[str, DnsProvider] = field(default_factory=dict)
    secrets: Sequence[SecretSource] = ()
    grants: Callable[[str], Grants] = lambda project: Grants(project=project)
    wildcard: bool = False
    commits: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def restarted(self) -> "Town":
        """Return the town with a new Kennel on the same store and world."""
        self.reconciler = make_reconciler(self)
        return self

    async def project(self, name: str = "shop", **more: object) -> int:
        try:
            return (await self.store.read(partial(projects.by_name, name=name))).id
        except NotFound:
            register = partial(
                projects.register,
                now=1.0,
                forge="forgejo",
                full_name=f"acme/{name}",
                clone_url="https://git.example/x",
                name=name,
                **more,  # type: ignore[arg-type]
            )
            return (await self.store.write(register)).id

    async def built(
        self,
        manifest: Manifest,
        *,
        ref: Ref = MAIN,
        project: str = "shop",
        version: int = 1,
        secrets: SecretSpec | None = None,
        trusted: bool = True,
    ) -> int:
        """Put a build that waits to be deployed into the store. `version` is in every path."""
        project_id = await self.project(project)
        commit = f"{next(self.commits):040x}"
        now = time.time()
        seen = partial(tenants.seen, project_id=project_id, ref=ref, trusted=trusted, now=now)
        await self.store.write(seen)
        queue = partial(
            builds.queue, project_id=project_id, ref=ref, commit=commit, trusted=trusted, now=2.0
        )
        number = await self.store.write(queue)
        assert number is not None
        assert await self.store.write(partial(builds.claim, now=3.0)) is not None
        outputs = Outputs(
            paths={package: f"/nix/store/{package}-{version}" for package in manifest.packages},
            programs={name: f"/nix/store/{name}-{version}/bin/x" for name in manifest.services},
            release="/nix/store/release/bin/x" if manifest.release else None,
            seed="/nix/store/seed/bin/x" if manifest.seed else None,
        )
        done = partial(
            builds.built,
            build_id=number,
            manifest=manifest,
            outputs=outputs,
            secrets=secrets,
            now=4.0,
        )
        assert await self.store.write(done)
        return number

    async def gone(self, *, ref: Ref = MAIN, project: str = "shop") -> None:
        project_id = await self.project(project)
        await self.store.write(partial(tenants.gone, project_id=project_id, ref=ref, now=5.0))

    async def settle(self) -> None:
        async with asyncio.timeout(20):
            await self.reconciler.settled()

    async def build(self, number: int) -> Build:
        return await self.store.read(partial(builds.get, build_id=number))

    async def units(self) -> set[str]:
        return set(await self.supervisor.observe())

    async def live(self, ref: Ref = MAIN, project: str = "shop") -> dict[str, str]:
        """Return what should be live of a tenant: name → target."""
        tenant = Tenant(project, ref)
        wanted = await self.store.read(partial(snapshot.wanted, host="here"))
        mine = [one for one in wanted if one.record.tenant == tenant]
        return {d.key.name: str(d.target) for one in mine for d in one.live}


def make_reconciler(town: Town) -> Reconciler:
    providers = Providers(
        supervisor=town.supervisor,
        router=town.router,
        provisioners={one.name: one for one in (town.provisioner, *town.others)},
        dns=town.dns,
        secret_sources={one.name: one for one in town.secrets},
    )
    rules = Rules(
        host="here",
        ephemeral="example.net",
        ports=range(FIRST_PORT, FIRST_PORT + 100),
        policy=Policy(
            drain=town.drain,
            limits_of=lambda _: Limits(memory_max=1 << 30, cpu_weight=100, tasks_max=100),
            terms_of=town.terms_of or (lambda _: town.terms),
            previews_memory_max=town.memory_max,
        ),
        ready_timeout=town.ready_timeout,
        settle_time=town.settle_time,
        look_every=town.look_every,
        target=TARGET,
        wildcard=town.wildcard,
        grants=town.grants,
        secrets_dir=town.folder / "secrets",
    )
    return Reconciler(
        town.store,
        providers,
        rules,
        Fingerprint(town.folder / "key"),
        every=60.0,
        parallel=town.parallel,
    )


@pytest.fixture
async def town(sqlite_store: Store, tmp_path: Path) -> AsyncIterator[Town]:
    supervisor, router, provisioner = MemorySupervisor(), MemoryRouter(), MemoryProvisioner()
    town = Town(
        store=sqlite_store,
        folder=tmp_path,
        supervisor=supervisor,
        router=router,
        provisioner=provisioner,
        reconciler=None,  # type: ignore[arg-type]
    ).restarted()
    yield town
    await town.reconciler.stop()
    for unit in await town.units():
        await supervisor.remove(unit)


Serving = Callable[..., Manifest]


@pytest.fixture
def serving() -> Serving:
    """Return a function that makes a manifest of services and one site."""

    def make(
        *names: str,
        site: bool = False,
        timeout: float | None = 5.0,
        resources: tuple[str, ...] = (),
    ) -> Manifest:
        ready = Ready(timeout=timeout)
        return Manifest(
            services={n: Service(name=n, package=n, ready=ready) for n in names},
            sites={"docs": Site(name="docs", package="docs")} if site else {},
            resources={name: {} for name in resources},
        )

    return make


Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Return a function that waits until something is so, and fails if it is not within 10 s."""

    async def wait(question: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while not await question():
                await asyncio.sleep(0.01)

    return wait
