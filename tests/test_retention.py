"""What is forgotten, and when."""

import asyncio
from functools import partial

import pytest
import sqlalchemy as sa

from kennel import retention
from kennel.domain import Ref
from kennel.domain.delivery import NewDelivery
from kennel.store import Store, builds, departures, inbox, projects, tenants

DAY = 24 * 3600.0


async def fill(store: Store) -> None:
    """Put a delivery and a build of a forgotten ref into the store, both over since second 1."""

    def change(db: sa.Connection) -> None:
        project = projects.register(
            db, now=1.0, forge="forgejo", full_name="acme/shop", clone_url="https://x"
        )
        number = builds.queue(
            db,
            project_id=project.id,
            ref=Ref.branch("fix"),
            commit="1" * 40,
            trusted=True,
            now=1.0,
        )
        assert number
        builds.cancelled(db, number, reason="gone", now=1.0)
        new = NewDelivery(
            forge="forgejo",
            event="push",
            delivery_id="",
            project="acme/shop",
            headers={},
            body=b"",
            received_at=1.0,
        )
        inbox.handled(db, inbox.add(db, [new])[0], outcome="", now=1.0)

    await store.write(change)


async def left(store: Store) -> tuple[int, int]:
    deliveries = await store.read(partial(inbox.recent, limit=10))
    return len(deliveries), len(await store.read(builds.recent))


async def test_what_is_over_is_forgotten_after_a_month(sqlite_store: Store) -> None:
    await fill(sqlite_store)
    await retention.forget(sqlite_store, keep=1, now=29 * DAY)
    assert await left(sqlite_store) == (1, 1)
    await retention.forget(sqlite_store, keep=1, now=31 * DAY)
    assert await left(sqlite_store) == (0, 0)


async def test_what_was_let_go_is_remembered_for_as_long_as_it_may_be_there(
    sqlite_store: Store,
) -> None:
    """Otherwise it would come back, for its branch is still there."""
    await fill(sqlite_store)
    [project] = await sqlite_store.read(projects.every)
    for name, reason in (("gone", ""), ("expired", "nobody needed it")):
        gone = partial(
            tenants.gone, project_id=project.id, ref=Ref.branch(name), now=1.0, reason=reason
        )
        await sqlite_store.write(gone)
    await retention.forget(sqlite_store, keep=1, now=364 * DAY)
    left = partial(departures.of_project, project_id=project.id)
    assert len(await sqlite_store.read(left)) == 2
    await retention.forget(sqlite_store, keep=1, now=366 * DAY)
    assert set(await sqlite_store.read(left)) == {Ref.branch("expired")}


async def test_it_goes_on_when_the_database_was_away(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(sqlite_store)
    write, failures = sqlite_store.write, iter([1, 2])

    async def away(change: object) -> object:
        if next(failures, None):
            raise OSError("no space left on device")
        return await write(change)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_store, "write", away)
    monkeypatch.setattr(retention, "EVERY", 0.01)
    running = asyncio.create_task(retention.run(sqlite_store, keep=1))
    async with asyncio.timeout(10):
        while await left(sqlite_store) != (0, 0):
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
