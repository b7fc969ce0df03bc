"""Repositories whose webhooks are lost, and somebody who makes up for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kennel.build.places import Places
from kennel.build.remote import Remote
from kennel.builtin.forgejo import Forgejo
from kennel.domain.record import Build, Project, TenantRecord
from kennel.intake import Intake
from kennel.plugin import Forge
from kennel.store import Store, builds, projects, tenants
from kennel.store.tables import builds as build_rows
from kennel.sweep.sweeper import Found, Sweeper
from kennel.testing.repository import Repository

LABEL = "kennel: deploy"


@dataclass
class Yard:
    """A store, repositories, and a sweeper; `called`: whom it woke."""

    folder: Path
    store: Store
    intake: Intake
    sweeper: Sweeper
    forges: dict[str, Forge]
    called: list[str] = field(default_factory=list)
    made: int = 0

    def repository(self, name: str = "shop") -> Repository:
        """Make a repository with a commit on `main`, which tells nobody of anything."""
        self.made += 1
        repository = Repository(
            webhook="http://127.0.0.1:1/webhook",
            secret=self.folder / "secret",
            name=name,
            number=self.made,
            bare=self.folder / "forge" / f"{name}.git",
            work=self.folder / "work" / name,
        )
        repository.create()
        (repository.bare / "hooks/post-receive").unlink()
        repository.push()
        return repository

    async def project(self, url: object, name: str = "shop", **more: Any) -> Project:
        register = partial(
            projects.register,
            now=1.0,
            forge="forgejo",
            full_name=f"acme/{name}",
            clone_url=str(url),
            name=name,
            **more,
        )
        return await self.store.write(register)

    async def sweeps(self, times: int = 1) -> Sequence[Found]:
        """Let time pass: sweep as it is done by itself. Return what came of the last."""
        found: Sequence[Found] = ()
        for _ in range(times):
            found = await self.sweeper.round()
        return found

    async def told(self, times: int = 1) -> dict[str, str]:
        """Sweep. Return what was done, by ref."""
        rounds = [await self.sweeper.round() for _ in range(times)]
        return {
            str(one.tenant): one.kind for found in rounds for each in found for one in each.repairs
        }

    async def builds(self) -> dict[str, str]:
        """Return the commit of the newest build of each ref that is not cancelled."""
        found = await self.store.read(partial(builds.recent, limit=1000))
        return {str(one.tenant): one.commit for one in reversed(found) if one.state != "cancelled"}

    async def every_build(self) -> Sequence[Build]:
        return await self.store.read(partial(builds.recent, limit=1000))

    async def tenants(self) -> dict[str, TenantRecord]:
        return {str(one.tenant): one for one in await self.store.read(tenants.every)}

    async def wanted(self) -> set[str]:
        return {name for name, one in (await self.tenants()).items() if one.wanted}

    async def all_are(self, state: str) -> None:
        """Let every build have come to an end, as a worker would."""
        change = sa.update(build_rows).where(build_rows.c.state.in_(builds.UNDER_WAY))
        await self.store.write(lambda db: db.execute(change.values(state=state, built_at=2.0)))


@pytest.fixture
async def yard(tmp_path: Path, sqlite_store: Store) -> Yard:
    called: list[str] = []
    forges: dict[str, Forge] = {"forgejo": Forgejo()}
    intake = Intake.of(
        sqlite_store,
        forges,
        allow=(),
        changed=lambda: None,
        gone=lambda: None,
        registered=_nothing,
        label=LABEL,
    )
    remote = Remote(Places(tmp_path / "state", tmp_path / "run"))
    await remote.prepare()
    sweeper = Sweeper(
        sqlite_store,
        remote,
        forges,
        every=60.0,
        label=LABEL,
        drain=intake.drain,
        changed=lambda: called.append("changed"),
    )
    return Yard(tmp_path, sqlite_store, intake, sweeper, forges, called)


async def _nothing() -> None:
    pass
