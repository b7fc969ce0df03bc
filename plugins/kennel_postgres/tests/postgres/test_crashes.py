"""`kill -9` at any statement leaks nothing and loses nothing."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kennel_postgres import PostgresProvisioner

from kennel.domain import Ref, Tenant, names
from kennel.plugin import Order
from kennel.plugin.settings import Host
from kennel.testing.postgresql import PostgresqlServer, rows

CRASHER = Path(__file__).with_name("crasher.py")
WHEN = pytest.mark.parametrize("when", ["before", "under-way"])

Crash = Callable[..., int]


@pytest.fixture
def crash(server: PostgresqlServer, host: Host) -> Crash:
    """Return what does a thing in processes that die; it says how many died."""

    def crashed(verb: str, when: str, project: str, **settings: Any) -> int:
        words = [str(host.state_dir), str(server.folder), str(server.programs), verb, when, project]
        done = subprocess.run(
            [sys.executable, str(CRASHER), *words, json.dumps(settings)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    return crashed


def tenants(project: str, many: int) -> list[Tenant]:
    return [Tenant(project, Ref.branch(str(number))) for number in range(1, many + 1)]


@WHEN
async def test_one_that_is_made_is_gone_on_with(
    postgres: PostgresProvisioner, inventory: Callable[[], set[str]], crash: Crash, when: str
) -> None:
    before = inventory()
    died = await asyncio.to_thread(crash, "ensure", when, "made")
    assert died >= 6, "that many statements at least"
    everyone = tenants("made", died + 1)
    for tenant in everyone:
        env = await postgres.ensure(tenant, {})
        assert rows(env["DATABASE_URL"].value, "SELECT 1") == [(1,)]
    assert await postgres.lacking(everyone) == set()
    for tenant in everyone:
        await postgres.remove(tenant)
    assert inventory() == before


@WHEN
async def test_one_that_was_being_made_can_be_removed(
    postgres: PostgresProvisioner, inventory: Callable[[], set[str]], crash: Crash, when: str
) -> None:
    before = inventory()
    died = await asyncio.to_thread(crash, "ensure", when, "gone")
    everyone = tenants("gone", died + 1)
    if when == "before":  # nothing is under way any more, so what there is can be seen
        observed = await postgres.observe()
        present = {name.partition(" ")[2] for name in inventory() - before}
        for tenant in everyone:
            mine = [name for name in present if name.endswith(f"_gone_{tenant.ref.short}")]
            assert (tenant in observed) is bool(mine), mine
    for tenant in everyone:
        await postgres.remove(tenant)
    assert inventory() == before


@WHEN
async def test_what_is_there_is_not_lost(
    postgres: PostgresProvisioner, crash: Crash, when: str
) -> None:
    everyone = tenants("kept", 12)
    for tenant in everyone:
        env = await postgres.ensure(tenant, {})
        rows(env["DATABASE_URL"].value, "CREATE TABLE kept AS SELECT 1")
    died = await asyncio.to_thread(crash, "ensure", when, "kept")
    assert died >= 3
    for tenant in everyone:
        env = await postgres.ensure(tenant, {})
        if int(tenant.ref.short) <= died:
            assert rows(env["DATABASE_URL"].value, "SELECT * FROM kept") == [(1,)]


@WHEN
async def test_a_removal_is_gone_on_with(
    postgres: PostgresProvisioner, inventory: Callable[[], set[str]], crash: Crash, when: str
) -> None:
    before = inventory()
    everyone = tenants("left", 14)
    for tenant in everyone:
        await postgres.ensure(tenant, {})
    died = await asyncio.to_thread(crash, "remove", when, "left")
    assert died >= 7
    if when == "before":
        observed = await postgres.observe()
        there = inventory()
        for tenant in everyone:
            name = f"kennel_left_{tenant.ref.short}"
            mine = {f"role {name}", f"database {name}"} & there
            assert (tenant in observed) is bool(mine), tenant
    for tenant in everyone[::2]:
        await postgres.ensure(tenant, {})  # somebody wants it back
    for tenant in everyone:
        await postgres.remove(tenant)
    assert inventory() == before


async def test_a_restore_leaves_what_was_or_what_is_restored(
    postgres: PostgresProvisioner, inventory: Callable[[], set[str]], crash: Crash
) -> None:
    before = inventory()
    everyone = tenants("back", 34)
    env = await postgres.ensure(everyone[0], {})
    rows(env["DATABASE_URL"].value, "CREATE TABLE kept AS SELECT 1 AS which")
    order = Order(project="back", ref=everyone[0].ref)
    await postgres.command("backup", order, lambda _: None)
    (file,) = backups_of(postgres).rglob("*.dump")
    for tenant in everyone:
        env = await postgres.ensure(tenant, {})
        rows(env["DATABASE_URL"].value, "CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS which")
        folder = backups_of(postgres) / names.database(tenant)
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
        rows(env["DATABASE_URL"].value, "UPDATE kept SET which = 2")
    died = await asyncio.to_thread(crash, "restore", "before", "back")
    assert 15 <= died < len(everyone)
    found = set()
    for number, tenant in enumerate(everyone[: died + 1], 1):
        if await postgres.lacking({tenant}):
            await postgres.ensure(tenant, {})  # as the next pass does
        env = await postgres.ensure(tenant, {})
        [(which,)] = rows(env["DATABASE_URL"].value, "SELECT which FROM kept")
        found.add(which)
        if number == died + 1:
            assert which == 1
    assert found == {1, 2}
    for tenant in everyone:
        await postgres.remove(tenant)
    assert inventory() == before


async def test_a_snapshot_that_was_cut_off_is_made_anew(
    postgres: PostgresProvisioner, inventory: Callable[[], set[str]], crash: Crash, tmp_path: Path
) -> None:
    before = inventory()
    scrub = tmp_path / "scrub.sql"
    scrub.write_text("UPDATE kept SET which = which + 10")
    main = Tenant("snap", Ref.branch("main"))
    env = await postgres.ensure(main, {})
    rows(env["DATABASE_URL"].value, "CREATE TABLE kept AS SELECT 1 AS which")
    settings = {"scrub": {"snap": str(scrub)}}
    died = await asyncio.to_thread(crash, "snapshot", "before", "snap", **settings)
    assert died >= 20
    preview = Tenant("snap", Ref.pull_request(1))
    env = await postgres.ensure(preview, {"template": "snapshot"})
    assert rows(env["DATABASE_URL"].value, "SELECT which FROM kept") == [(11,)]
    for tenant in (main, preview):
        await postgres.remove(tenant)
    await postgres.command("drop-snapshot", Order(project="snap"), lambda _: None)
    assert inventory() == before


def backups_of(postgres: PostgresProvisioner) -> Path:
    return postgres._desk.backups._folder
