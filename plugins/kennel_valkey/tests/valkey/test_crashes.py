"""`kill -9` between any two steps, of Kennel or of the server, leaks nothing and loses nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio
from kennel_valkey import DatabaseProvisioner

from kennel.domain import Ref, Tenant
from kennel.plugin.settings import Host
from kennel.testing import valkey_server
from kennel.testing.valkey import Release, ValkeyServer
from kennel.testing.valkey_client import keys, number_in, opened, url_of, users

CRASHER = Path(__file__).with_name("crasher.py")
WHEN = pytest.mark.parametrize(
    ("release", "when"),
    [
        ("redis-7", "before"),
        ("valkey-8", "before"),
        ("valkey-8", "under-way"),
        ("valkey-9", "under-way"),
    ],
)

Crash: TypeAlias = Callable[..., int]
MakeDatabases: TypeAlias = Callable[..., DatabaseProvisioner]


@pytest.fixture
def crash(server: ValkeyServer, host: Host) -> Crash:
    """Return what does a thing in processes that die; it says how many died."""

    def crashed(verb: str, when: str, project: str) -> int:
        done = subprocess.run(
            [sys.executable, str(CRASHER), str(host.state_dir), verb, when, project],
            env={**os.environ, "TEST_VALKEY_URL": server.url},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    return crashed


@pytest_asyncio.fixture
async def valkey(server: ValkeyServer, make: MakeDatabases) -> AsyncIterator[DatabaseProvisioner]:
    async with make(server) as provisioner:
        yield provisioner


@pytest.fixture
def inventory(server: ValkeyServer, host: Host) -> Callable[[], set[str]]:
    """Return what tells everything there is, on the server, in the book, in the folder."""
    folder = host.state_dir / "valkey"

    def inventory() -> set[str]:
        book = folder / "databases.json"
        entries = json.loads(book.read_text())["tenants"] if book.exists() else {}
        full = {f"keys in {number}" for number in keys(server)}
        files = {file.name for file in folder.glob("*") if file.suffix != ".new"}
        usual = {"databases.json", "databases.lock", "key", "key.lock"}
        return users(server) | set(entries) | full | (files - usual)

    return inventory


def tenants(project: str, many: int) -> list[Tenant]:
    return [Tenant(project, Ref.branch(str(number))) for number in range(1, many + 1)]


def leaving(host: Host) -> set[Tenant]:
    """Return whose removal has begun, and who is gone."""
    entries = json.loads((host.state_dir / "valkey" / "databases.json").read_text())["tenants"]
    stay = {Tenant.parse(name) for name, entry in entries.items() if not entry["leaving"]}
    return set(tenants("left", 20)) - stay


def write(url: str, word: str) -> None:
    with opened(url) as client:
        client.execute_command("SET", "word", word)


def read(url: str) -> str | None:
    with opened(url) as client:
        word: str | None = client.execute_command("GET", "word")
        return word


@WHEN
async def test_one_that_is_made_is_gone_on_with(
    valkey: DatabaseProvisioner, inventory: Callable[[], set[str]], crash: Crash, when: str
) -> None:
    before = inventory()
    died = await asyncio.to_thread(crash, "ensure", when, "made")
    assert died >= 7, "that many steps at least"
    everyone = tenants("made", died + 1)
    envs = [await valkey.ensure(tenant, {}) for tenant in everyone]
    assert len({number_in(env) for env in envs}) == len(everyone), "nobody shares a number"
    for env in envs:
        write(url_of(env), "kept")
    assert await valkey.lacking(everyone) == set()
    for tenant in everyone:
        await valkey.remove(tenant)
    assert inventory() - before == set()


@WHEN
async def test_one_that_was_being_made_can_be_removed(
    valkey: DatabaseProvisioner, inventory: Callable[[], set[str]], crash: Crash, when: str
) -> None:
    before = inventory()
    died = await asyncio.to_thread(crash, "ensure", when, "gone")
    everyone = tenants("gone", died + 1)
    observed, there = await valkey.observe(), inventory()
    for tenant in everyone:
        mine = {f"kennel_gone_{tenant.ref.short}", str(tenant)} & there
        assert (tenant in observed) is bool(mine), mine
    for tenant in everyone:
        await valkey.remove(tenant)
    assert inventory() - before == set()


@WHEN
async def test_what_is_there_is_not_lost(
    valkey: DatabaseProvisioner, crash: Crash, when: str
) -> None:
    everyone = tenants("kept", 12)
    for tenant in everyone:
        write(url_of(await valkey.ensure(tenant, {})), str(tenant))
    died = await asyncio.to_thread(crash, "ensure", when, "kept")
    assert died >= 3
    for tenant in everyone:
        assert read(url_of(await valkey.ensure(tenant, {}))) == str(tenant)


@WHEN
async def test_a_removal_is_gone_on_with(
    valkey: DatabaseProvisioner,
    inventory: Callable[[], set[str]],
    crash: Crash,
    host: Host,
    when: str,
) -> None:
    before = inventory()
    everyone = tenants("left", 20)
    for tenant in everyone:
        write(url_of(await valkey.ensure(tenant, {})), "left")
    died = await asyncio.to_thread(crash, "remove", when, "left")
    assert 8 <= died < len(everyone)
    observed, there = await valkey.observe(), inventory()
    whole = set(everyone) - leaving(host)
    for number, tenant in enumerate(everyone, 1):
        mine = {f"kennel_left_{tenant.ref.short}", str(tenant)} & there
        assert (tenant in observed) is bool(mine), mine
        if number > died + 1:
            assert read(url_of(await valkey.ensure(tenant, {}))) == "left"
    for tenant in everyone[:died:2]:  # somebody wants it back
        word = read(url_of(await valkey.ensure(tenant, {})))
        assert word is None if tenant not in whole else word == "left", tenant
    newcomers = tenants("new", 20)
    for tenant in newcomers:
        assert read(url_of(await valkey.ensure(tenant, {}))) is None, "what was another's is empty"
    for tenant in (*everyone, *newcomers):
        await valkey.remove(tenant)
    assert inventory() - before == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_restart_of_the_server_takes_users_and_a_pass_brings_them_back(
    release: Release, make: MakeDatabases, number: signal.Signals
) -> None:
    everyone = tenants("stay", 5)
    with valkey_server(release, keeps=True, settings=["appendfsync always"]) as server:
        async with make(server) as valkey:
            envs = [await valkey.ensure(tenant, {}) for tenant in everyone]
            for env, tenant in zip(envs, everyone, strict=True):
                write(url_of(env), str(tenant))
            assert await valkey.lacking(everyone) == set()
            server.stop(number)
            server.start()
            assert users(server) == {"default", "kennel"}
            assert await valkey.lacking(everyone) == set(everyone)
            assert [await valkey.ensure(tenant, {}) for tenant in everyone] == envs
            assert await valkey.lacking(everyone) == set()
            for env, tenant in zip(envs, everyone, strict=True):
                assert read(url_of(env)) == str(tenant)
        async with make(server) as successor:
            await successor.check()
            assert await successor.observe() == set(everyone)


async def test_a_server_that_keeps_nothing_starts_anew_with_the_same_numbers(
    server: ValkeyServer, make: MakeDatabases
) -> None:
    everyone = tenants("cache", 3)
    async with make(server) as valkey:
        envs = [await valkey.ensure(tenant, {}) for tenant in everyone]
        write(url_of(envs[0]), "lost")
        await valkey.remove(everyone[1])
        server.restart()
        assert await valkey.observe() == {everyone[0], everyone[2]}
        assert await valkey.lacking(everyone) == set(everyone)
        await valkey.remove(everyone[2])
        assert [await valkey.ensure(tenant, {}) for tenant in everyone] == envs
        assert read(url_of(envs[0])) is None
        assert await valkey.lacking(everyone) == set()
