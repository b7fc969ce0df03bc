"""What a tenant can do to others with all that it was given: nothing. And what it can see of them.

The server asks everybody for a password and lets them try every database, so that what keeps
tenants apart here is what Kennel grants and revokes, and not pg_hba.conf.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import psycopg
import pytest
import pytest_asyncio
from kennel_postgres import PostgresProvisioner
from psycopg import errors
from psycopg.conninfo import make_conninfo

from kennel.domain import Env, Ref, Tenant
from kennel.testing.postgresql import PostgresqlServer, rows

MALLORY = Tenant("mallory", Ref.branch("main"))
VICTIM = Tenant("victim", Ref.branch("main"))
HERS, HIS = "kennel_mallory_main", "kennel_victim_main"
REFUSES = r"permission denied|not currently accepting"
Make = Callable[..., PostgresProvisioner]


@dataclass
class Scene:
    """Mallory with her variables, and the victim with data. `data`: as it was."""

    mallory: Env
    victim: Env
    server: PostgresqlServer
    postgres: PostgresProvisioner
    data: list[tuple[object, ...]] = field(default_factory=list)

    def hers(self, database: str = HERS) -> psycopg.Connection:
        """Connect as Mallory."""
        return psycopg.connect(
            make_conninfo(self.mallory["DATABASE_URL"].value, dbname=database), autocommit=True
        )

    def his(self, query: str) -> list[tuple[object, ...]]:
        return rows(self.victim["DATABASE_URL"].value, query)


@pytest_asyncio.fixture
async def scene(make: Make, server: PostgresqlServer) -> AsyncIterator[Scene]:
    async with make(connections=3) as postgres:
        for tenant in await postgres.observe():
            await postgres.remove(tenant)  # a test that failed leaves something
        mallory = await postgres.ensure(MALLORY, {})
        victim = await postgres.ensure(VICTIM, {})
        scene = Scene(mallory, victim, server, postgres)
        scene.his("CREATE TABLE cards AS SELECT 4242 AS number")
        scene.his("SELECT lo_from_bytea(4711, 'secret')")
        rows(server.url, "CREATE TABLE IF NOT EXISTS kennels AS SELECT 1 AS secret")
        yield scene
        assert scene.his("SELECT number FROM cards") == [(4242,)], "it is as it was"
        assert scene.his("SELECT lo_get(4711)") == [(b"secret",)]
        assert await postgres.lacking({MALLORY, VICTIM}) == set()
        for tenant in (MALLORY, VICTIM):
            await postgres.remove(tenant)
        rows(server.url, "DROP TABLE kennels")


@pytest.mark.parametrize("database", [HIS, "postgres", "template1", "template0"])
async def test_connects_to_no_other_database(scene: Scene, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=REFUSES):
        scene.hers(database)


@pytest.mark.parametrize("user", [HIS, "kennel", "postgres"])
async def test_is_nobody_else(scene: Scene, user: str) -> None:
    """What she was given opens no other role; `kennel` and `postgres` need the system's user."""
    for statement in (f"SET ROLE {user}", f"SET SESSION AUTHORIZATION {user}"):
        with scene.hers() as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    if user == HIS:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(scene.mallory["DATABASE_URL"].value, user=user))


FORBIDDEN = {
    "drop": [f"DROP DATABASE {HIS}", f"DROP DATABASE {HIS} WITH (FORCE)", f"DROP ROLE {HIS}"],
    "drop what is his": [f"DROP OWNED BY {HIS}", f"REASSIGN OWNED BY {HIS} TO {HERS}"],
    "copy": [f"CREATE DATABASE mine TEMPLATE {HIS}", "CREATE DATABASE more"],
    "alter his database": [
        f"ALTER DATABASE {HIS} SET search_path = ''",
        f"ALTER DATABASE {HIS} ALLOW_CONNECTIONS false",
        f"ALTER DATABASE {HIS} CONNECTION LIMIT 0",
        f"ALTER DATABASE {HIS} OWNER TO {HERS}",
        f"ALTER DATABASE {HIS} RENAME TO mine",
        f"ALTER DATABASE {HIS} SET TABLESPACE pg_default",
        f"ALTER DATABASE {HIS} IS_TEMPLATE true",
        f"COMMENT ON DATABASE {HIS} IS 'kennel: mallory/main'",
        f"GRANT CONNECT ON DATABASE {HIS} TO {HERS}",
        f"REVOKE ALL ON DATABASE {HIS} FROM {HIS}",
    ],
    "alter his role": [
        f"ALTER ROLE {HIS} PASSWORD 'mine'",
        f"ALTER ROLE {HIS} NOLOGIN",
        f"ALTER ROLE {HIS} SET search_path = ''",
        f"ALTER ROLE {HIS} IN DATABASE {HIS} SET role = {HERS}",
        f"ALTER ROLE {HIS} RENAME TO mine",
        f"COMMENT ON ROLE {HIS} IS NULL",
        f"GRANT {HIS} TO {HERS}",
        f"GRANT kennel TO {HERS}",
        f"REVOKE {HIS} FROM kennel",
    ],
    "rise": [
        "CREATE ROLE another",
        f"ALTER ROLE {HERS} SUPERUSER",
        f"ALTER ROLE {HERS} CREATEDB",
        f"ALTER ROLE {HERS} CREATEROLE",
        f"ALTER ROLE {HERS} BYPASSRLS",
        f"ALTER ROLE {HERS} REPLICATION",
        f"ALTER ROLE {HERS} CONNECTION LIMIT -1",
        f"ALTER ROLE {HERS} VALID UNTIL 'infinity'",
        f"ALTER ROLE {HERS} RENAME TO kennel_x_main",
        f"COMMENT ON ROLE {HERS} IS NULL",
        f"COMMENT ON ROLE {HERS} IS 'kennel: victim/main'",
        f"GRANT pg_read_all_data TO {HERS}",
        f"GRANT pg_execute_server_program TO {HERS}",
        f"ALTER DATABASE {HERS} RENAME TO kennel_other_main",
        f"ALTER DATABASE {HERS} OWNER TO {HIS}",
    ],
    "the machine": [
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "CREATE TEMP TABLE t (line text); COPY t FROM '/etc/passwd'",
        "CREATE TEMP TABLE t (line text); COPY t FROM PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_read_binary_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT pg_stat_file('PG_VERSION')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/x')",
        "CREATE TABLESPACE mine LOCATION '/tmp'",
        "CREATE FUNCTION sh(text) RETURNS int LANGUAGE c AS 'libc.so.6', 'system'",
        "CREATE LANGUAGE plpython3u",
        "LOAD '/tmp/evil.so'",
        "CREATE EVENT TRIGGER t ON ddl_command_start EXECUTE FUNCTION t()",
    ],
    "other databases by way of extensions": [
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION postgres_fdw",
        "CREATE EXTENSION file_fdw",
        "CREATE EXTENSION adminpack",
        "CREATE EXTENSION pageinspect",
        "CREATE EXTENSION pg_buffercache",
        "CREATE EXTENSION pg_stat_statements",
    ],
    "the server": [
        "ALTER SYSTEM SET work_mem = '1GB'",
        "SET session_preload_libraries = 'x'",
        "SET log_statement = 'none'",
        "SET session_replication_role = replica",
        "SET temp_file_limit = -1",
        "SELECT pg_reload_conf()",
        "SELECT pg_rotate_logfile()",
        "SELECT pg_switch_wal()",
        "SELECT pg_create_restore_point('x')",
        "SELECT pg_promote()",
        "CHECKPOINT",
        "SELECT pg_create_physical_replication_slot('x')",
        "SELECT pg_create_logical_replication_slot('x', 'test_decoding')",
        "SELECT pg_logical_emit_message(false, 'x', 'y'), pg_replication_origin_create('x')",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p",
        "BEGIN; PREPARE TRANSACTION 'x'",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_user_mapping",
        "SELECT * FROM pg_hba_file_rules",
        "SELECT * FROM pg_file_settings",
        "SELECT * FROM pg_statistic",
    ],
    "his sessions": [
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{HIS}'",
        f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '{HIS}'",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'kennel'",
        "SELECT pg_log_backend_memory_contexts(pid) FROM pg_stat_activity",
    ],
    "sizes": [f"SELECT pg_database_size('{HIS}')"],
}
MAY_FAIL_OTHERWISE = (
    errors.InsufficientPrivilege,
    errors.ObjectNotInPrerequisiteState,  # what is off for everybody: prepared transactions …
    errors.UndefinedFile,  # an extension that is not on this machine, a library
    errors.FeatureNotSupported,
    errors.UndefinedFunction,
    errors.CantChangeRuntimeParam,
    errors.ActiveSqlTransaction,
    errors.NoActiveSqlTransaction,
)


@pytest.mark.parametrize("kind", FORBIDDEN)
async def test_is_refused(scene: Scene, kind: str) -> None:
    with psycopg.connect(scene.victim["DATABASE_URL"].value, autocommit=True) as his:
        for statement in FORBIDDEN[kind]:
            with scene.hers() as connection, pytest.raises(MAY_FAIL_OTHERWISE):
                pytest.fail(f"{statement}: {connection.execute(statement.encode()).statusmessage}")
        assert his.execute("SELECT number FROM cards").fetchone() == (4242,)


async def test_reads_nothing_of_his_by_another_name(scene: Scene) -> None:
    """Names of another database are not read; large objects and tables are of one's own."""
    with scene.hers() as connection:
        with pytest.raises(errors.FeatureNotSupported):
            connection.execute(f"SELECT * FROM {HIS}.public.cards".encode())
        with pytest.raises(errors.UndefinedObject):
            connection.execute("SELECT lo_get(4711)")
        with pytest.raises(errors.UndefinedTable):
            connection.execute("SELECT * FROM kennels")
        with pytest.raises(errors.UndefinedTable):
            connection.execute("SELECT * FROM cards")


async def test_his_locks_and_channels_are_his(scene: Scene) -> None:
    with scene.hers() as connection, ExitStack() as stack:
        his = stack.enter_context(
            psycopg.connect(scene.victim["DATABASE_URL"].value, autocommit=True)
        )
        connection.execute("SELECT pg_advisory_lock(1), pg_advisory_lock(2, 3)")
        free = his.execute("SELECT pg_try_advisory_lock(1) AND pg_try_advisory_lock(2, 3)")
        assert free.fetchone() == (True,)
        connection.execute("LISTEN news")
        his.execute("NOTIFY news, 'secret'")
        assert list(connection.notifies(timeout=0.2)) == []


async def test_keeps_kennel_from_nothing_by_the_lock_it_takes(scene: Scene) -> None:
    """Locks are of a database, and Kennel's own is closed to tenants."""
    with scene.hers() as connection:
        for name in (HERS, HIS):
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 1263422028))", (name,))
        await scene.postgres.ensure(VICTIM, {})
        await scene.postgres.ensure(MALLORY, {})


async def test_sees_no_statement_of_his(scene: Scene) -> None:
    with (
        psycopg.connect(scene.victim["DATABASE_URL"].value) as his,
        scene.hers() as connection,
    ):
        his.execute("SELECT 'a secret' FROM cards")
        seen = connection.execute(
            "SELECT query, client_addr, state FROM pg_stat_activity WHERE usename = %s", (HIS,)
        ).fetchall()
        assert seen
        assert {query for query, *_ in seen} == {"<insufficient privilege>"}
        everything = connection.execute("SELECT pg_stat_activity::text FROM pg_stat_activity")
        assert "a secret" not in str(everything.fetchall())


async def test_takes_no_connection_from_him(scene: Scene) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(scene.hers())
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            scene.hers()
        assert scene.his("SELECT 1") == [(1,)]
        assert await scene.postgres.observe() >= {MALLORY, VICTIM}


async def test_locks_her_own_tables_and_is_removed_all_the_same(scene: Scene) -> None:
    with closing(scene.hers()) as connection:
        connection.execute("CREATE TABLE t ()")
        connection.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        await scene.postgres.remove(MALLORY)
    scene.mallory = await scene.postgres.ensure(MALLORY, {})


SELF_HARM = {
    "no mark": f"COMMENT ON DATABASE {HERS} IS NULL",
    "the mark of another": f"COMMENT ON DATABASE {HERS} IS 'kennel: victim/main'",
    "open to all": f"GRANT CONNECT ON DATABASE {HERS} TO PUBLIC",
    "a template": f"ALTER DATABASE {HERS} IS_TEMPLATE true",
    "another password": f"ALTER ROLE {HERS} PASSWORD 'mine'",
    "no connections": f"ALTER DATABASE {HERS} CONNECTION LIMIT 0",
    "a setting that stops her": f"ALTER ROLE {HERS} SET statement_timeout = 1",
    "no database": None,
}


@pytest.mark.parametrize("kind", SELF_HARM)
async def test_what_she_does_to_herself_is_hers_alone(scene: Scene, kind: str) -> None:
    """She owns her database, so she may harm it; nobody else, and Kennel puts it right."""
    if statement := SELF_HARM[kind]:
        with scene.hers() as connection:
            connection.execute(statement.encode())
    else:  # it can only be dropped from another one, and she gets into none
        with scene.hers() as connection, pytest.raises(errors.ObjectInUse):
            connection.execute(f"DROP DATABASE {HERS}".encode())
    assert await scene.postgres.observe() >= {MALLORY, VICTIM}
    assert {one.tenant: one.name for one in await scene.postgres.resources()} == {
        MALLORY: HERS,
        VICTIM: HIS,
    }
    scene.mallory = await scene.postgres.ensure(MALLORY, {})
    with scene.hers() as connection:
        assert connection.execute("SELECT current_user::text").fetchone() == (HERS,)


async def test_code_of_hers_never_runs_as_kennel(scene: Scene) -> None:
    """Kennel's role could do everything here, so it runs nothing in a tenant's database."""
    with scene.hers() as connection:
        connection.execute(
            "CREATE FUNCTION public.shobj_description(oid, name) RETURNS text LANGUAGE plpgsql AS"
            f" $$ BEGIN EXECUTE 'GRANT {HIS} TO {HERS}'; RETURN ''; END $$"
        )
        connection.execute(f"ALTER DATABASE {HERS} SET search_path = public, pg_catalog".encode())
        connection.execute(f"ALTER ROLE {HERS} SET search_path = public, pg_catalog".encode())
    await scene.postgres.ensure(MALLORY, {})
    await scene.postgres.resources()
    await scene.postgres.check()
    member = rows(scene.server.url, f"SELECT pg_has_role('{HERS}', '{HIS}', 'MEMBER')")
    assert member == [(False,)]


async def test_what_any_role_can_see_is_names(scene: Scene) -> None:
    """PostgreSQL's catalogue of databases and roles is open to all who connect; see README.md."""
    with scene.hers() as connection:
        databases = connection.execute("SELECT datname::text FROM pg_database").fetchall()
        assert (HIS,) in databases
        comment = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            (HIS,),
        ).fetchone()
        assert comment == ("kennel: victim/main",)
        passwords = connection.execute("SELECT DISTINCT rolpassword FROM pg_roles")
        assert passwords.fetchall() == [("********",)]
