"""A control with everything behind it."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from kennel import views
from kennel.build.places import Places
from kennel.build.remote import Remote
from kennel.control import Control
from kennel.domain import Manifest, Outputs, Service, Site
from kennel.plan import Policy
from kennel.plugin import PluginSettings
from kennel.plugin.manager import Plugins
from kennel.reconcile import Providers, Reconciler, Rules
from kennel.reconcile.variables import Fingerprint
from kennel.registry import Registry
from kennel.settings import Settings
from kennel.store import Store, builds
from kennel.sweep.sweeper import Sweeper
from kennel.testing import MemoryProvisioner, MemoryRouter, MemorySupervisor

FIRST_PORT = 10_000 + os.getpid() % 200 * 100
"""Tests that run beside these take others."""
URL = "https://git.example/acme/shop.git"


@dataclass
class Office:
    """A control with everything behind it, and what it woke."""

    control: Control
    store: Store
    supervisor: MemorySupervisor
    reconciler: Reconciler
    woken: list[str] = field(default_factory=list)

    async def add(self, url: str = URL, **more: object) -> views.Project:
        return await self.control.add_project(views.NewProject(url=url, **more))  # type: ignore[arg-type]

    async def deploy(self, ref: str = "main", project: str = "shop") -> views.Build:
        return await self.control.deploy(views.DeployRequest(project=project, ref=ref))

    async def live(self, ref: str = "main", version: int = 1) -> int:
        """Deploy a ref as a worker and the reconciler would."""
        number = (await self.deploy(ref)).id
        manifest = Manifest(
            services={"api": Service(name="api", package="api")},
            sites={"docs": Site(name="docs", package="docs")},
        )
        outputs = Outputs(
            paths={"api": f"/nix/store/api-{version}", "docs": f"/nix/store/docs-{version}"},
            programs={"api": f"/nix/store/api-{version}/bin/api"},
        )

        def change(db: sa.Connection) -> None:
            assert builds.claim(db, now=2.0)
            builds.aim(db, number, commit=f"{number:040x}")
            assert builds.built(db, number, manifest=manifest, outputs=outputs, now=3.0)

        await self.store.write(change)
        async with asyncio.timeout(20):
            await self.reconciler.settled()
        assert (await self.control.build(number)).state == "done"
        return number


async def nothing_in() -> None:
    """Drain an inbox that is empty."""


@pytest.fixture
async def office(sqlite_store: Store, tmp_path: Path) -> AsyncIterator[Office]:
    settings = Settings(state_dir=tmp_path, run_dir=tmp_path / "run", supervisor="process")
    supervisor, router, resource = MemorySupervisor(), MemoryRouter(), MemoryProvisioner()
    providers = Providers(
        supervisor=supervisor, router=router, provisioners={resource.name: resource}
    )
    rules = Rules(
        host="here",
        ephemeral="example.net",
        ports=range(FIRST_PORT, FIRST_PORT + 100),
        policy=Policy(drain=0.0),
        ready_timeout=10.0,
    )
    reconciler = Reconciler(sqlite_store, providers, rules, Fingerprint(tmp_path / "key"))
    woken: list[str] = []
    on = PluginSettings({"forgejo": {}, "github": {}}, settings.plugin_host)
    forges = Plugins.discover().ports(on).forges
    sweeper = Sweeper(
        sqlite_store,
        Remote(Places.of(settings)),
        forges,
        every=60.0,
        label="",
        drain=nothing_in,
        changed=lambda: None,
    )
    control = Control(
        settings=settings,
        store=sqlite_store,
        registry=Registry(sqlite_store, settings),
        reconciler=reconciler,
        sweeper=sweeper,
        providers=providers,
        installed=Plugins.discover(),
        in_use=[
            ("supervisor", supervisor),
            ("router", router),
            *(("forge", one) for one in forges.values()),
        ],
        changed=lambda: woken.append("changed"),
        started_at=1.0,
    )
    yield Office(control, sqlite_store, supervisor, reconciler, woken)
    supervisor.problem = None
    await reconciler.stop()
    for unit in list(await supervisor.observe()):
        await supervisor.remove(unit)
