"""Backups: what they hold, who can read them, when they go; and that a restore loses nothing."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from kennel_postgres import PostgresProvisioner
from kennel_postgres.backups import STAMP, Backups
from psycopg import errors

from kennel.domain import Env, Ref, Tenant
from kennel.errors import Rejected
from kennel.plugin import Order
from kennel.plugin.settings import Host
from kennel.testing.postgresql import PostgresqlServer, rows

MAIN = Tenant("shop", Ref.branch("main"))
PREVIEW = Tenant("shop", Ref.pull_request(7))
NAME = "kennel_shop_main"
Make = Callable[..., PostgresProvisioner]


def asked(env: Env, query: str) -> list[tuple[Any, ...]]:
    return rows(env["DATABASE_URL"].value, query)


async def order(
    postgres: PostgresProvisioner, name: str, argument: str | None = None, tenant: Tenant = MAIN
) -> list[str]:
    lines: list[str] = []
    given = Order(project=tenant.project, ref=tenant.ref, argument=argument)
    await postgres.command(name, given, lines.append)
    return lines


@pytest.fixture
def folder(host: Host) -> Path:
    return host.state_dir / "postgres" / "backups"


@pytest_asyncio.fixture
async def shop(postgres: PostgresProvisioner) -> AsyncIterator[Env]:
    """Give the variables of a shop with something of everything in it."""
    env = await postgres.ensure(MAIN, {"extensions": ["citext", "hstore"]})
    asked(
        env,
        "CREATE SCHEMA more; CREATE TYPE more.kind AS ENUM ('a', 'b');"
        "CREATE TABLE people (id serial PRIMARY KEY, mail citext UNIQUE, kind more.kind);"
        "INSERT INTO people (mail, kind) VALUES ('ada@example.org', 'a');"
        "CREATE VIEW seen AS SELECT mail FROM people; COMMENT ON TABLE people IS 'of all';"
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM people;"
        "SELECT lo_from_bytea(42, 'large'); COMMENT ON EXTENSION hstore IS 'mine'",
    )
    yield env


async def test_what_was_kept_comes_back(postgres: PostgresProvisioner, shop: Env) -> None:
    assert await order(postgres, "backups") == []
    (said,) = await order(postgres, "backup")
    asked(shop, "DROP TABLE people CASCADE; CREATE TABLE wrong (); SELECT lo_unlink(42)")
    (listed,) = await order(postgres, "backups")
    assert listed == said
    assert re.match(r"\d{8}T\d{6}\.\d{6}Z  \d+ bytes  /", said)
    lines = await order(postgres, "restore")
    assert lines[0] == f"Restoring {said.partition(' ')[0]}"
    assert asked(shop, "SELECT id, mail::text, kind::text FROM people") == [
        (1, "ada@example.org", "a")
    ]
    assert asked(shop, "INSERT INTO people (mail) VALUES ('bob') RETURNING id") == [(2,)]
    assert asked(shop, "SELECT count FROM counted, seen") == [(1,), (1,)]
    assert asked(shop, "SELECT lo_get(42), to_regclass('wrong') IS NULL") == [(b"large", True)]
    assert asked(shop, "SELECT obj_description('people'::regclass)") == [("of all",)]
    assert await postgres.lacking({MAIN}) == set()
    assert (await postgres.ensure(MAIN, {})) == shop


async def test_services_are_cut_off_and_connect_anew(
    postgres: PostgresProvisioner, shop: Env
) -> None:
    """They try all the time; while one database takes the place of the other they are refused."""
    await order(postgres, "backup")
    asked(shop, "DELETE FROM people")
    stop = asyncio.Event()

    async def serve() -> int:
        cut = 0
        while not stop.is_set():
            try:
                await asyncio.to_thread(asked, shop, "SELECT count(*), pg_sleep(0.01) FROM people")
            except psycopg.Error:
                cut += 1
        return cut

    services = [asyncio.create_task(serve()) for _ in range(3)]
    held = psycopg.connect(shop["DATABASE_URL"].value, autocommit=True)
    await order(postgres, "restore")
    with pytest.raises(errors.AdminShutdown):
        held.execute("SELECT 1")
    held.close()
    stop.set()
    await asyncio.gather(*services)
    assert asked(shop, "SELECT count(*) FROM people") == [(1,)]


async def test_all_connections_may_be_in_use(make: Make) -> None:
    async with make(connections=1) as postgres:
        env = await postgres.ensure(MAIN, {})
        with psycopg.connect(env["DATABASE_URL"].value, autocommit=True):
            await order(postgres, "backup")
            with pytest.raises(psycopg.OperationalError, match="too many connections"):
                psycopg.connect(env["DATABASE_URL"].value)
            await order(postgres, "restore")
        await postgres.remove(MAIN)


async def test_one_of_many_is_chosen(postgres: PostgresProvisioner, shop: Env) -> None:
    made = []
    for mail in ("one", "two"):
        asked(shop, f"UPDATE people SET mail = '{mail}'")
        made.append((await order(postgres, "backup"))[0].partition(" ")[0])
    for name, mail in zip(made, ("one", "two"), strict=True):
        await order(postgres, "restore", name)
        assert asked(shop, "SELECT mail::text FROM people") == [(mail,)]
    for wrong in ("yesterday", "../../etc/passwd", "", f"{made[0]}.dump"):
        with pytest.raises(Rejected, match=f"there is: {made[0]}, {made[1]}"):
            await order(postgres, "restore", wrong)


async def test_a_restore_that_fails_loses_nothing(
    postgres: PostgresProvisioner, shop: Env, folder: Path, inventory: Callable[[], set[str]]
) -> None:
    await order(postgres, "backup")
    (file,) = folder.rglob("*.dump")
    whole = file.read_bytes()
    asked(shop, "UPDATE people SET mail = 'now'")
    before = inventory()
    for broken in (whole[: len(whole) // 2], b"", b"PGDMP" + whole[100:]):
        file.write_bytes(broken)
        with pytest.raises(Rejected, match="pg_restore: "):
            await order(postgres, "restore")
        assert asked(shop, "SELECT mail::text FROM people") == [("now",)]
        assert inventory() == before
    assert [found.name for found in folder.rglob("*") if found.is_file()] == [file.name]


async def test_data_that_cannot_be_put_back_is_not_put_in_place(
    postgres: PostgresProvisioner, shop: Env
) -> None:
    """A check that holds no longer: the dump is whole, and the database it makes is not."""
    asked(
        shop,
        "CREATE FUNCTION may() RETURNS bool LANGUAGE sql AS"
        " $$ SELECT current_database() !~ '^kennel-new' $$;"
        "CREATE TABLE checked (i int CHECK (may())); INSERT INTO checked VALUES (1)",
    )
    await order(postgres, "backup")
    asked(shop, "UPDATE people SET mail = 'now'")
    with pytest.raises(Rejected, match="violates check constraint"):
        await order(postgres, "restore")
    assert asked(shop, "SELECT mail::text FROM people") == [("now",)]


async def test_nobody_else_can_read_one_nor_see_the_password(
    postgres: PostgresProvisioner, shop: Env, folder: Path
) -> None:
    seen = set[str]()

    async def watch() -> None:
        while True:
            seen.update(await asyncio.to_thread(_command_lines))

    asked(
        shop, "CREATE TABLE large AS SELECT repeat(i::text, 100) FROM generate_series(1, 50000) i"
    )
    watching = asyncio.create_task(watch())
    await order(postgres, "backup")
    await order(postgres, "restore")
    watching.cancel()
    assert any("pg_dump" in line for line in seen)
    assert any("pg_restore" in line for line in seen)
    assert not any(shop["PGPASSWORD"].value in line for line in seen)
    for file in folder.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file


def _command_lines() -> set[str]:
    lines = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.add(file.read_text(errors="replace"))
        except OSError:
            continue
    return lines


async def test_one_that_is_cut_off_leaves_no_file(
    postgres: PostgresProvisioner, shop: Env, folder: Path
) -> None:
    asked(
        shop, "CREATE TABLE large AS SELECT repeat(i::text, 100) FROM generate_series(1, 50000) i"
    )
    task = asyncio.create_task(order(postgres, "backup"))
    while not any(await asyncio.to_thread(lambda: list(folder.rglob("*.part")))):
        await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not [file for file in folder.rglob("*") if file.is_file()]
    assert asked(shop, "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user") == [(20,)]


class TestBeforeARemoval:
    async def test_what_lasts_is_kept_and_previews_are_not(
        self, postgres: PostgresProvisioner, shop: Env
    ) -> None:
        await postgres.ensure(PREVIEW, {})
        for tenant in (MAIN, PREVIEW):
            await postgres.remove(tenant)
        (kept,) = await order(postgres, "backups")
        assert kept.partition(" ")[0].endswith("-removed")
        assert await order(postgres, "backups", tenant=PREVIEW) == []
        with pytest.raises(Rejected, match="shop/main has no database: deploy it first"):
            await order(postgres, "restore")
        env = await postgres.ensure(MAIN, {})
        await order(postgres, "restore")
        assert asked(env, "SELECT mail::text FROM people") == [("ada@example.org",)]

    @pytest.mark.parametrize(("whose", "kept"), [("never", 0), ("always", 1)])
    async def test_the_settings_say_whose(self, make: Make, whose: str, kept: int) -> None:
        async with make(backup_before_drop=whose) as postgres:
            await postgres.ensure(PREVIEW, {})
            await postgres.remove(PREVIEW)
            assert len(await order(postgres, "backups", tenant=PREVIEW)) == kept

    async def test_what_cannot_be_dumped_stays(
        self, make: Make, postgres: PostgresProvisioner, shop: Env, tmp_path: Path
    ) -> None:
        async with make(programs=tmp_path) as without:
            with pytest.raises(Rejected, match="there is no pg_dump here: install"):
                await without.check()
            with pytest.raises(Rejected, match="there is no pg_dump here"):
                await without.remove(MAIN)
        assert asked(shop, "SELECT count(*) FROM people") == [(1,)]

    async def test_whoever_uses_all_connections_does_not_keep_it(self, make: Make) -> None:
        async with make(connections=1) as postgres:
            env = await postgres.ensure(MAIN, {})
            with psycopg.connect(env["DATABASE_URL"].value):
                await postgres.remove(MAIN)
            assert len(await order(postgres, "backups")) == 1


def test_old_ones_of_before_a_removal_go_and_others_stay(tmp_path: Path) -> None:
    backups = Backups(tmp_path, keep_days=30)
    folder = tmp_path / NAME
    folder.mkdir()
    now = datetime.now(UTC)
    ages = {0: True, 29: True, 31: False, 400: False}
    for days in ages:
        stamp = (now - timedelta(days=days)).strftime(STAMP)
        (folder / f"{stamp}-removed.dump").touch()
        (folder / f"{stamp}.dump").touch()
    old = folder / "0123456789abcdef.part"
    old.touch()
    os.utime(old, (0, 0))
    (folder / "fresh.part").touch()
    (folder / "mine.txt").touch()
    backups._prune()
    left = {file.name for file in folder.iterdir()}
    assert sum("-removed" in name for name in left) == 2
    assert sum(name.endswith("Z.dump") for name in left) == 4
    assert {name for name in left if not name.endswith(".dump")} == {"fresh.part", "mine.txt"}


async def test_a_dump_runs_what_a_tenant_made_as_that_tenant(
    postgres: PostgresProvisioner, shop: Env, server: PostgresqlServer
) -> None:
    asked(
        shop,
        "CREATE FUNCTION trap(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN"
        " EXECUTE format('COMMENT ON FUNCTION public.trap IS %L', session_user); RETURN true; END"
        " $$; CREATE TABLE trapped (i int CHECK (trap(i))); INSERT INTO trapped VALUES (1)",
    )
    await order(postgres, "backup")
    await order(postgres, "restore")
    assert asked(shop, "SELECT obj_description('trap'::regproc)") == [(NAME,)]
