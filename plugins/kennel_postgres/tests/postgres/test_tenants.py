"""What a tenant gets, how it reaches it, and what becomes of it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from kennel_postgres import PostgresProvisioner, kennel_provisioners
from kennel_postgres.address import Address

from kennel.domain import Ref, Secret, Tenant, names
from kennel.errors import ConfigError, Rejected
from kennel.plugin import PluginSettings
from kennel.plugin.manager import Plugins
from kennel.plugin.settings import Host
from kennel.testing.postgresql import PostgresqlServer, postgresql, rows
from kennel.testing.probe import free_port

ADA = Tenant("lovelace", Ref.branch("main"))
NAME = "kennel_lovelace_main"
Make = Callable[..., PostgresProvisioner]


def test_it_is_installed(host: Host) -> None:
    settings = PluginSettings({"postgres": {}}, host)
    (found,) = [p for p in Plugins.discover().listing(settings) if p.name == "postgres"]
    assert (found.package, found.kinds, found.on) == ("kennel-postgres", ("provisioner",), True)


def test_it_reads_its_table(host: Host) -> None:
    assert not list(kennel_provisioners(PluginSettings({}, host)))
    for table in ({}, {"connections": 5}):
        (offered,) = kennel_provisioners(PluginSettings({"postgres": table}, host))
        assert offered.name == "postgres"
    for wrong, said in (({"dir": "x"}, "unknown key 'dir'"), ({"connections": 0}, "connections")):
        with pytest.raises(ConfigError, match=said):
            kennel_provisioners(PluginSettings({"postgres": wrong}, host))


async def test_libraries_read_the_url(postgres: PostgresProvisioner) -> None:
    env = await postgres.ensure(ADA, {})
    url = env["DATABASE_URL"].value
    assert rows(url, "SELECT current_user::text, current_database()::text") == [(NAME, NAME)]
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT current_user::text")).scalar_one() == NAME
    engine.dispose()


async def test_libpq_finds_its_way_by_the_variables(postgres: PostgresProvisioner) -> None:
    env = await postgres.ensure(ADA, {})
    words = {name.removeprefix("PG").lower(): secret.value for name, secret in env.items()}
    words["dbname"] = words.pop("database")
    del words["database_url"]
    with psycopg.connect(**words) as connection:  # type: ignore[arg-type]
        assert connection.execute("SELECT current_user::text").fetchone() == (NAME,)


async def test_over_tcp(make: Make) -> None:
    with postgresql(port=free_port()) as own:
        rows(own.url, "CREATE ROLE kennel LOGIN CREATEDB CREATEROLE")
        rows(own.url, "GRANT CONNECT ON DATABASE postgres TO kennel")
        there = {"socket_dir": own.folder, "port": own.port, "tenant_host": "127.0.0.1"}
        async with make(**there) as postgres:
            env = await postgres.ensure(ADA, {})
            await postgres.check()
            url = env["DATABASE_URL"].value
            assert url.startswith(f"postgresql://{NAME}:")
            assert url.endswith(f"@127.0.0.1:{own.port}/{NAME}")
            assert rows(url, "SELECT inet_server_port()") == [(own.port,)]
        async with make(socket_dir=own.folder, port=own.port) as postgres:
            url = (await postgres.ensure(ADA, {}))["DATABASE_URL"].value
            assert f"port={own.port}" in url
            assert rows(url, "SELECT 1") == [(1,)]


def test_an_address_of_the_sixth_version() -> None:
    env = Address("::1", 5433).env("x", Secret("p"))
    assert env["DATABASE_URL"].value == "postgresql://x:p@[::1]:5433/x"


async def test_a_hundred_at_once(make: Make, inventory: Callable[[], set[str]]) -> None:
    before = inventory()
    tenants = [Tenant("many", Ref.pull_request(number)) for number in range(1, 101)]
    async with make() as one, make() as other:
        sides = [one if i % 2 else other for i, _ in enumerate(tenants)]
        envs = await asyncio.gather(
            *(side.ensure(tenant, {}) for side, tenant in zip(sides, tenants, strict=True))
        )
        assert len({env["DATABASE_URL"].value for env in envs}) == 100
        assert await one.observe() == set(tenants)
        assert await one.lacking(tenants) == set()
        for env in envs[::10]:
            assert rows(env["DATABASE_URL"].value, "SELECT current_user = current_database()")
        await asyncio.gather(*(other.remove(tenant) for tenant in tenants))
    assert inventory() == before


async def test_a_superuser_goes_on_where_another_role_stopped(
    make: Make, postgres: PostgresProvisioner, inventory: Callable[[], set[str]]
) -> None:
    before = inventory()
    env = await postgres.ensure(ADA, {})
    async with make(user="postgres") as superuser:
        await superuser.check()
        assert await superuser.ensure(ADA, {}) == env
        bob = Tenant("lovelace", Ref.pull_request(42))
        assert rows((await superuser.ensure(bob, {}))["DATABASE_URL"].value, "SELECT 1") == [(1,)]
        for tenant in (ADA, bob):
            await superuser.remove(tenant)
    assert inventory() == before


async def test_names_fit_and_are_not_cut(postgres: PostgresProvisioner) -> None:
    tenants = [Tenant("p" * 39, Ref.branch("x" * 200 + end)) for end in "ab"]
    for tenant in tenants:
        env = await postgres.ensure(tenant, {})
        assert len(env["PGDATABASE"].value.encode()) <= 63
        assert env["PGDATABASE"].value == names.database(tenant)
        assert rows(env["DATABASE_URL"].value, "SELECT current_database()::text") == [
            (names.database(tenant),)
        ]
    assert await postgres.observe() == set(tenants)


async def test_the_password_is_kept_nowhere(
    make: Make, server: PostgresqlServer, host: Host
) -> None:
    rows(server.url, "ALTER SYSTEM SET log_statement = 'all'")
    rows(server.url, "SELECT pg_reload_conf()")
    try:
        async with make() as postgres:
            password = (await postgres.ensure(ADA, {}))["PGPASSWORD"].value
            rows(server.url, "SELECT pg_sleep(0.1)")
            await postgres.remove(ADA)
    finally:
        rows(server.url, "ALTER SYSTEM RESET log_statement")
        rows(server.url, "SELECT pg_reload_conf()")
    said = (server.folder / "log").read_text()
    assert "SCRAM-SHA-256" in said, "statements are logged"
    assert password not in said
    kept = [file for file in host.state_dir.rglob("*") if file.is_file()]
    assert all(password not in file.read_text() for file in kept)


async def test_each_tenant_has_a_password_of_its_own_from_the_key(
    make: Make, tmp_path: Path
) -> None:
    found = set()
    for key in ("0123456789abcdef", "0123456789abcdeg"):
        file = tmp_path / key
        file.write_text(key)
        file.chmod(0o600)
        async with make(key_file=file) as postgres:
            for tenant in (ADA, Tenant("lovelace", Ref.branch("dev"))):
                env = await postgres.ensure(tenant, {})
                found.add(env["PGPASSWORD"].value)
                assert rows(env["DATABASE_URL"].value, "SELECT 1") == [(1,)]
            for tenant in await postgres.observe():
                await postgres.remove(tenant)
    assert len(found) == 4
    assert all(len(password) == 43 for password in found)


async def test_a_database_that_is_not_kennels_is_rejected_and_stays(
    make: Make, server: PostgresqlServer
) -> None:
    for statement in ("CREATE DATABASE {}", "CREATE ROLE {}"):
        rows(server.url, statement.format(NAME))
        try:
            async with make() as postgres:
                with pytest.raises(Rejected, match=f"{NAME} that is not Kennel's"):
                    await postgres.ensure(ADA, {})
                await postgres.remove(ADA)
                assert ADA not in await postgres.observe()
        finally:
            rows(server.url, statement.replace("CREATE", "DROP").format(NAME))


@pytest.mark.parametrize(
    "harm",
    [
        f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS false",
        f"GRANT CONNECT ON DATABASE {NAME} TO PUBLIC",
        f"ALTER ROLE {NAME} NOLOGIN",
    ],
)
async def test_what_was_changed_is_lacking_and_put_right(
    postgres: PostgresProvisioner, server: PostgresqlServer, harm: str
) -> None:
    env = await postgres.ensure(ADA, {})
    rows(env["DATABASE_URL"].value, "CREATE TABLE kept AS SELECT 1")
    assert await postgres.lacking([ADA]) == set()
    rows(server.url, harm)
    assert await postgres.lacking([ADA]) == {ADA}
    assert await postgres.ensure(ADA, {}) == env
    assert await postgres.lacking([ADA]) == set()
    assert rows(env["DATABASE_URL"].value, "SELECT * FROM kept") == [(1,)]


async def test_limits_are_as_the_settings_say(make: Make) -> None:
    async with make(connections=2, statement_timeout=0.1) as postgres:
        url = (await postgres.ensure(ADA, {}))["DATABASE_URL"].value
        with pytest.raises(psycopg.errors.QueryCanceled):
            rows(url, "SELECT pg_sleep(5)")
        with (
            psycopg.connect(url),
            psycopg.connect(url),
            pytest.raises(psycopg.OperationalError, match="too many connections for role"),
        ):
            psycopg.connect(url)
    async with make() as postgres:
        await postgres.ensure(ADA, {})
        assert rows(url, "SHOW statement_timeout") == [("0",)]
        await postgres.remove(ADA)


async def test_it_is_removed_with_whoever_is_connected_and_all_that_it_owns(
    postgres: PostgresProvisioner, server: PostgresqlServer, inventory: Callable[[], set[str]]
) -> None:
    before = inventory()
    url = (await postgres.ensure(ADA, {}))["DATABASE_URL"].value
    rows(url, "CREATE SCHEMA more")
    rows(url, "CREATE TABLE more.words AS SELECT 1")
    rows(url, f"ALTER DATABASE {NAME} IS_TEMPLATE true")
    with psycopg.connect(url, autocommit=True) as connection:
        await postgres.remove(ADA)
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")
    assert inventory() == before


async def test_a_right_that_somebody_else_gave_is_named(
    postgres: PostgresProvisioner, server: PostgresqlServer
) -> None:
    await postgres.ensure(ADA, {})
    rows(server.url, f"GRANT CONNECT ON DATABASE postgres TO {NAME}")
    with pytest.raises(Rejected, match=f"{NAME}.*privileges for database postgres"):
        await postgres.remove(ADA)
    assert ADA in await postgres.observe()
    rows(server.url, f"REVOKE CONNECT ON DATABASE postgres FROM {NAME}")
    await postgres.remove(ADA)
    assert ADA not in await postgres.observe()


async def test_resources_say_how_large_and_how_busy(postgres: PostgresProvisioner) -> None:
    env = await postgres.ensure(ADA, {})
    with psycopg.connect(env["DATABASE_URL"].value):
        (found,) = await postgres.resources()
    assert (found.tenant, found.name) == (ADA, NAME)
    assert found.size is not None
    assert found.size > 1_000_000
    assert found.detail == "1 of 20 connections"


async def test_a_pass_asks_once(postgres: PostgresProvisioner, server: PostgresqlServer) -> None:
    await postgres.ensure(ADA, {})
    rows(server.url, "ALTER ROLE kennel SET log_statement = 'all'")
    log = server.folder / "log"
    try:
        async with postgres:  # its connections are new then
            pass
        await postgres.lacking([ADA])
        before = len(log.read_text())
        await postgres.lacking([ADA])
        assert log.read_text()[before:].count("statement:") == 1
    finally:
        rows(server.url, "ALTER ROLE kennel RESET log_statement")
