"""What is wrong with a server is told with what would put it right."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kennel_postgres import PostgresProvisioner
from kennel_postgres.checks import check_rights

from kennel.domain import Ref, Tenant
from kennel.errors import ConfigError, Rejected, Unavailable
from kennel.testing.postgresql import ACCESS, PostgresqlServer, postgresql, rows
from kennel.testing.probe import free_port

ADA = Tenant("lovelace", Ref.branch("main"))
Make = Callable[..., PostgresProvisioner]


@pytest.fixture
def access(server: PostgresqlServer) -> Iterator[Callable[[str], None]]:
    """Return what puts lines before the others of pg_hba.conf. They go in the end."""
    file = server.folder / "data" / "pg_hba.conf"

    def put(lines: str) -> None:
        file.write_text(f"{lines}\n{ACCESS}")
        [(before,)] = rows(server.url, "SELECT pg_conf_load_time()")
        rows(server.url, "SELECT pg_reload_conf()")
        while rows(server.url, "SELECT pg_conf_load_time()") == [(before,)]:
            time.sleep(0.01)  # the server reads it when it comes to it

    yield put
    put("")


async def test_a_server_that_is_away(make: Make, server: PostgresqlServer) -> None:
    async with make(port=free_port()) as postgres:
        with pytest.raises(Unavailable, match="see that the server runs"):
            await postgres.check()


async def test_a_server_that_comes_back(make: Make) -> None:
    with postgresql() as own:
        rows(own.url, "CREATE ROLE kennel LOGIN CREATEDB CREATEROLE")
        rows(own.url, "GRANT CONNECT ON DATABASE postgres TO kennel")
        async with make(socket_dir=own.folder) as postgres:
            await postgres.ensure(ADA, {})
            own.stop()
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await postgres.observe()
            own.start()
            assert await postgres.observe() == {ADA}


async def test_kennels_role_is_not_the_systems_user(make: Make) -> None:
    async with make(user="stranger") as postgres:
        with pytest.raises(Rejected, match="peer: the role is called like the system's user"):
            await postgres.check()


async def test_a_wrong_password_is_not_shown(
    make: Make, server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://nobody:tiger@/postgres?host={server.folder}"
    monkeypatch.setenv("KENNEL_POSTGRES", url)
    async with make(url="env:KENNEL_POSTGRES") as postgres:
        with pytest.raises(Rejected, match="password authentication failed") as error:
            await postgres.check()
    assert "tiger" not in str(error.value)


def test_a_url_that_is_none_is_not_shown(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_POSTGRES", "postgresql://kennel:tiger@[::1")
    with pytest.raises(ConfigError, match=r"\[plugins.postgres\] url: it is no URL") as error:
        make(url="env:KENNEL_POSTGRES")
    assert "tiger" not in str(error.value)


async def test_a_database_that_is_not_there(make: Make) -> None:
    async with make(database="gone") as postgres:
        with pytest.raises(Rejected, match='database "gone" does not exist'):
            await postgres.check()


@pytest.mark.parametrize("right", ["CREATEDB", "CREATEROLE"])
async def test_a_right_that_is_missing(make: Make, server: PostgresqlServer, right: str) -> None:
    rows(server.url, f"ALTER ROLE kennel NO{right}")
    try:
        async with make() as postgres:
            with pytest.raises(Rejected, match='ALTER ROLE "kennel" CREATEDB CREATEROLE'):
                await postgres.check()
            with pytest.raises(Rejected, match="needs CREATEDB and CREATEROLE"):
                await postgres.ensure(ADA, {})
            assert await postgres.observe() <= {ADA}
    finally:
        rows(server.url, f"ALTER ROLE kennel {right}")
    async with make() as postgres:
        await postgres.ensure(ADA, {})
        await postgres.remove(ADA)


async def test_a_server_that_is_too_old() -> None:
    class Old:
        version = 120022

    with pytest.raises(Rejected, match="version 12: Kennel needs 13 or newer"):
        await check_rights(Old())  # type: ignore[arg-type]


@pytest.mark.parametrize("there", [False, True], ids=["nobody", "a tenant"])
async def test_tenants_that_are_taken_for_users_of_the_system(
    postgres: PostgresProvisioner, access: Callable[[str], None], there: bool
) -> None:
    if there:
        await postgres.ensure(ADA, {})
    access("local all postgres trust\nlocal all kennel trust\nlocal all all peer")
    with pytest.raises(Rejected, match='put "local sameuser all scram-sha-256" before'):
        await postgres.check()
    access("")
    await postgres.check()


async def test_tenants_that_are_trusted(
    postgres: PostgresProvisioner, access: Callable[[str], None]
) -> None:
    await postgres.ensure(ADA, {})
    access("local all all trust")
    with pytest.raises(Rejected, match="asks tenants for no password, so each is all"):
        await postgres.check()


async def test_a_database_that_is_open_to_tenants(
    make: Make, postgres: PostgresProvisioner, server: PostgresqlServer
) -> None:
    rows(server.url, 'CREATE DATABASE "next cloud"')
    try:
        await postgres.check()  # there is nobody who could connect
        await postgres.ensure(ADA, {})
        with pytest.raises(Rejected, match=r'ON DATABASE "next cloud" FROM PUBLIC'):
            await postgres.check()
        async with make(open_databases=("next cloud",)) as careless:
            await careless.check()
        rows(server.url, 'REVOKE CONNECT ON DATABASE "next cloud" FROM PUBLIC')
        await postgres.check()
    finally:
        rows(server.url, 'DROP DATABASE "next cloud"')


async def test_tenants_are_told_of_a_place_where_nothing_is(make: Make) -> None:
    async with make(tenant_host="127.0.0.1", tenant_port=free_port()) as postgres:
        with pytest.raises(Unavailable, match=r"tenants find no server at 127\.0\.0\.1"):
            await postgres.check()


async def test_a_key_that_everybody_may_read(make: Make, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    key.chmod(0o644)
    async with make(key_file=key) as postgres:
        with pytest.raises(Rejected, match=f"chmod 600 {key}"):
            await postgres.check()
    key.chmod(0o600)
    async with make(key_file=key) as postgres:
        await postgres.check()
    key.write_text("short")
    async with make(key_file=key) as postgres:
        with pytest.raises(Rejected, match="5 bytes and needs 16"):
            await postgres.check()


async def test_a_key_is_made_once_and_is_nobodys_to_read(make: Make, tmp_path: Path) -> None:
    key = tmp_path / "keys" / "postgres"
    async with make(key_file=key) as one, make(key_file=key) as other:
        try:
            assert await one.ensure(ADA, {}) == await other.ensure(ADA, {})
        finally:
            await one.remove(ADA)
    assert key.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in key.parent.iterdir()] == ["postgres"]
