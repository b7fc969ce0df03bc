"""A desk at which deliveries are handled, and what came of them can be seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
import sqlalchemy as sa

from kennel.builtin.forgejo.forge import Forgejo
from kennel.builtin.github.forge import GitHub
from kennel.domain.delivery import NewDelivery
from kennel.domain.record import Build, TenantRecord
from kennel.intake import Intake
from kennel.plugin import Delivery
from kennel.store import Store, builds, inbox, tenants
from kennel.store.tables import builds as build_rows
from kennel.testing.deliveries import ForgejoSender, Sender

LABEL = "kennel: deploy"


@dataclass
class Desk:
    """An intake, what it called, and ways to look at what came of it."""

    store: Store
    sender: Sender
    intake: Intake
    called: list[str] = field(default_factory=list)

    async def put(self, *deliveries: Delivery, delivery_id: str = "") -> None:
        new = [
            NewDelivery(
                forge=self.sender.forge,
                event="x",
                delivery_id=delivery_id,
                project="acme/shop",
                headers=one.headers,
                body=one.body,
                received_at=1.0,
            )
            for one in deliveries
        ]
        await self.store.write(partial(inbox.add, new=new))

    async def take(self, *deliveries: Delivery, delivery_id: str = "") -> str:
        """Handle deliveries. Return what is said of the last one."""
        await self.put(*deliveries, delivery_id=delivery_id)
        await self.intake.drain()
        [newest, *_] = await self.store.read(partial(inbox.recent, limit=1))
        return str(newest.outcome)

    async def builds(self) -> Sequence[Build]:
        return await self.store.read(partial(builds.recent, limit=100))

    async def states(self) -> list[str]:
        """Return the states of all builds, newest first."""
        return [build.state for build in await self.builds()]

    async def tenants(self) -> dict[str, TenantRecord]:
        return {str(one.tenant): one for one in await self.store.read(tenants.every)}

    async def is_built(self) -> None:
        """Let everything that waits be built, as a worker would."""
        await self.store.write(
            lambda db: db.execute(
                sa.update(build_rows)
                .where(build_rows.c.state == "queued")
                .values(state="done", built_at=2.0)
            )
        )


@pytest.fixture
def desk(sqlite_store: Store) -> Desk:
    called: list[str] = []

    async def registered() -> None:
        called.append("registered")

    intake = Intake.of(
        sqlite_store,
        {"forgejo": Forgejo(), "github": GitHub()},
        allow=("acme/*",),
        changed=lambda: called.append("changed"),
        gone=lambda: called.append("gone"),
        registered=registered,
        label=LABEL,
    )
    return Desk(sqlite_store, ForgejoSender(secret="s"), intake, called)
