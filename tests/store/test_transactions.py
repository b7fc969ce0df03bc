"""What one sees while others write, on SQLite and on PostgreSQL alike."""

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from kennel.domain import Manifest, Ref, Service, Tenant
from kennel.errors import ConfigError
from kennel.store import Store, hosts, projects, tenants


def register(db: sa.Connection, name: str) -> int:
    full_name = f"acme/{name}"
    return projects.register(
        db, now=1.0, forge="forgejo", full_name=full_name, clone_url="https://x", name=name
    ).id


async def test_a_question_sees_one_moment(store: Store) -> None:
    """A reader asks several times: what others write meanwhile is all there, or not at all."""
    begun, written = threading.Event(), threading.Event()

    def ask_twice(db: sa.Connection) -> tuple[int, int]:
        first = len(projects.every(db))
        begun.set()
        assert written.wait(10)
        return first, len(projects.every(db))

    asking = asyncio.create_task(store.read(ask_twice))
    await asyncio.to_thread(begun.wait, 10)
    await store.write(partial(register, name="shop"))
    written.set()
    assert await asking == (0, 0)
    assert len(await store.read(projects.every)) == 1


async def test_a_write_that_nobody_waits_for_still_counts(store: Store) -> None:
    """Who was cancelled while a write was under way has written, and others must read again."""
    entered, go = threading.Event(), threading.Event()

    def slow(db: sa.Connection) -> None:
        register(db, "shop")
        entered.set()
        assert go.wait(10)

    writing = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(entered.wait, 10)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    before, seen = store.changes, await store.read(projects.every)
    assert seen == []
    go.set()
    async with asyncio.timeout(10):
        while not await store.read(projects.every):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert store.changes != before


async def test_of_many_who_want_one_host_all_get_one(store: Store) -> None:
    """Tenants whose plain host is the same: one has it, the others get a hash, nobody an error."""

    def see(db: sa.Connection, number: int) -> int:
        ref = Ref.branch("b" + "-" * number + "c")
        tenants.seen(db, project_id=shop, ref=ref, trusted=True, now=1.0)
        found = tenants.find(db, Tenant("shop", ref))
        assert found
        return found.id

    def reserve(db: sa.Connection, number: int) -> str:
        tenant_id = see(db, number)
        return hosts.reserve(
            db,
            tenant_id=tenant_id,
            tenant=Tenant("shop", Ref.branch("b" + "-" * number + "c")),
            manifest=Manifest(services={"api": Service(name="api", package="api")}),
            ephemeral="example.net",
            custom=False,
            granted=(),
        )[0].host

    shop = await store.write(partial(register, name="shop"))
    found = await asyncio.gather(
        *(store.write(partial(reserve, number=number)) for number in range(1, 13))
    )
    assert len(set(found)) == 12
    assert "shop-b-c.example.net" in found


async def test_a_database_of_a_newer_kennel_is_a_config_error(database_url: str) -> None:
    store = Store(database_url)
    await store.open()
    await store.write(
        lambda db: db.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    )
    await store.close()
    again = Store(database_url)
    with pytest.raises(ConfigError, match=r"newer Kennel.*9999"):
        await again.open()
    await again.close()


async def test_an_error_of_the_database_shows_no_values(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/k.db")
    await store.open()
    with pytest.raises(sa.exc.IntegrityError) as caught:
        await store.write(
            lambda db: db.execute(
                sa.text("INSERT INTO hosts (host, tenant_id) VALUES (:host, 1)"),
                {"host": "hunter2"},
            )
        )
    await store.close()
    assert "hunter2" not in str(caught.value)
