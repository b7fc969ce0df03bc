"""Extensions, templates and snapshots: what a database begins with."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from kennel_postgres import PostgresProvisioner
from kennel_postgres.copies import Copier
from psycopg import errors

from kennel.domain import Env, Ref, Tenant
from kennel.errors import Rejected
from kennel.plugin import Order
from kennel.testing.postgresql import PostgresqlServer, rows

MAIN = Tenant("shop", Ref.branch("main"))
PREVIEW = Tenant("shop", Ref.pull_request(7))
OTHER = Tenant("shop", Ref.pull_request(8))
SCRUB = "UPDATE people SET mail = 'nobody@example.net'; DELETE FROM secrets;"
Make = Callable[..., PostgresProvisioner]


def asked(env: Env, query: str) -> list[tuple[Any, ...]]:
    return rows(env["DATABASE_URL"].value, query)


def extensions(env: Env) -> set[str]:
    return {name for (name,) in asked(env, "SELECT extname::text FROM pg_extension")} - {"plpgsql"}


class TestExtensions:
    async def test_are_there_and_the_tenants_own(self, postgres: PostgresProvisioner) -> None:
        wanted = {"extensions": ["pg_trgm", "uuid-ossp"]}
        env = await postgres.ensure(MAIN, wanted)
        assert extensions(env) == {"pg_trgm", "uuid-ossp"}
        assert asked(env, "SELECT similarity('kennel', 'kennels') > 0.5") == [(True,)]
        assert await postgres.ensure(MAIN, wanted) == env
        asked(env, "DROP EXTENSION pg_trgm")

    async def test_one_can_be_added_while_all_connections_are_in_use(self, make: Make) -> None:
        async with make(connections=1) as postgres:
            env = await postgres.ensure(MAIN, {})
            with psycopg.connect(env["DATABASE_URL"].value):
                await postgres.ensure(MAIN, {"extensions": ["citext"]})
            assert extensions(env) == {"citext"}
            await postgres.ensure(MAIN, {})
            assert extensions(env) == {"citext"}, "what it left out may be in use"
            await postgres.remove(MAIN)

    @pytest.mark.parametrize("name", ["dblink", "postgres_fdw", "file_fdw"])
    async def test_those_that_postgresql_does_not_trust_are_for_the_operator_to_allow(
        self, make: Make, postgres: PostgresProvisioner, name: str
    ) -> None:
        with pytest.raises(Rejected, match="the operator has to allow it"):
            await postgres.ensure(MAIN, {"extensions": [name]})
        async with make(extensions=(name,)) as plain:
            with pytest.raises(Rejected, match=f'needs a superuser.*CREATE EXTENSION "{name}"'):
                await plain.ensure(MAIN, {"extensions": [name]})
            await plain.remove(MAIN)
        async with make(extensions=(name,), user="postgres") as superuser:
            env = await superuser.ensure(MAIN, {"extensions": [name]})
            assert extensions(env) == {name}
            await superuser.remove(MAIN)

    async def test_those_that_the_settings_do_not_name_are_refused_before_anything_is_made(
        self, make: Make
    ) -> None:
        async with make(extensions=("citext",)) as postgres:
            with pytest.raises(Rejected, match="hstore is not allowed here; there is: citext"):
                await postgres.ensure(MAIN, {"extensions": ["hstore"]})
            assert MAIN not in await postgres.observe()

    async def test_one_that_the_server_does_not_have(self, postgres: PostgresProvisioner) -> None:
        with pytest.raises(Rejected, match="the server has no extension nonesuch"):
            await postgres.ensure(MAIN, {"extensions": ["nonesuch"]})

    @pytest.mark.parametrize("wrong", ["pg_trgm", [1], ['x"; DROP DATABASE postgres; --'], {}])
    async def test_what_is_no_list_of_names_is_rejected(
        self, postgres: PostgresProvisioner, wrong: object
    ) -> None:
        with pytest.raises(Rejected, match="it takes extensions = "):
            await postgres.ensure(MAIN, {"extensions": wrong})


@pytest.fixture
def demo(server: PostgresqlServer) -> Iterator[str]:
    """Make a template as the README says, with what belongs to a role of its own."""
    for statement in (
        "CREATE ROLE demo_owner",
        "GRANT demo_owner TO kennel",
        "CREATE DATABASE demo OWNER kennel",
    ):
        rows(server.url, statement)
    inside = server.url_of("postgres", "demo")
    for statement in (
        "CREATE EXTENSION citext",
        "CREATE TABLE people AS SELECT 1 AS id, 'ada' AS name",
        "CREATE SEQUENCE numbers",
        "CREATE SCHEMA more",
        "CREATE FUNCTION more.two() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        *(
            f"ALTER {what} OWNER TO demo_owner"
            for what in ("TABLE people", "SEQUENCE numbers", "SCHEMA more", "FUNCTION more.two")
        ),
    ):
        rows(inside, statement)
    yield "demo"
    rows(server.url, "DROP DATABASE demo WITH (FORCE)")
    rows(server.url, "DROP ROLE demo_owner")


@pytest_asyncio.fixture
async def templated(make: Make, demo: str) -> AsyncIterator[PostgresProvisioner]:
    async with make(templates={"start": demo}) as postgres:
        yield postgres
        for tenant in await postgres.observe():
            await postgres.remove(tenant)


START = {"template": "start"}


class TestTemplates:
    async def test_a_preview_has_what_is_in_it_and_owns_it(
        self, templated: PostgresProvisioner, server: PostgresqlServer
    ) -> None:
        env = await templated.ensure(PREVIEW, START)
        assert asked(env, "SELECT id, name, more.two() FROM people") == [(1, "ada", 2)]
        asked(env, "ALTER TABLE people ADD COLUMN more int")
        asked(env, "DROP SCHEMA more CASCADE")
        asked(env, "SELECT nextval('numbers')")
        assert await templated.lacking({PREVIEW}) == set()
        other = await templated.ensure(OTHER, START)
        assert asked(other, "SELECT * FROM people") == [(1, "ada")]
        closed = rows(server.url, "SELECT datname FROM pg_database WHERE NOT datallowconn")
        assert closed == [("template0",)]

    async def test_only_a_preview_starts_from_one(self, templated: PostgresProvisioner) -> None:
        env = await templated.ensure(MAIN, START)
        assert asked(env, "SELECT 1 FROM pg_tables WHERE tablename = 'people'") == []

    async def test_many_start_from_one_at_a_time(self, templated: PostgresProvisioner) -> None:
        tenants = [Tenant("shop", Ref.pull_request(number)) for number in range(20, 32)]
        envs = await asyncio.gather(*(templated.ensure(tenant, START) for tenant in tenants))
        assert all(asked(env, "SELECT name FROM people") == [("ada",)] for env in envs)

    async def test_somebody_who_is_connected_to_it_is_not_disturbed(
        self,
        templated: PostgresProvisioner,
        server: PostgresqlServer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "kennel_postgres")
        with psycopg.connect(server.url_of("postgres", "demo"), autocommit=True) as connection:
            env = await templated.ensure(PREVIEW, START)
            assert connection.execute("SELECT name FROM people").fetchall() == [("ada",)]
        assert "by a dump: it is in use" in caplog.text
        assert asked(env, "SELECT name, more.two() FROM people") == [("ada", 2)]
        asked(env, "DROP TABLE people")
        await templated.ensure(OTHER, START)
        assert "as a copy of demo, block by block" in caplog.text

    async def test_data_stays_when_the_template_changes(
        self, templated: PostgresProvisioner, server: PostgresqlServer
    ) -> None:
        env = await templated.ensure(PREVIEW, START)
        asked(env, "UPDATE people SET name = 'bob'")
        assert await templated.ensure(PREVIEW, START) == env
        assert await templated.ensure(PREVIEW, {}) == env
        assert asked(env, "SELECT name FROM people") == [("bob",)]

    @pytest.mark.parametrize(
        ("harm", "said"),
        [
            ("ALTER TABLE people OWNER TO postgres", "belongs to a superuser"),
            ("ALTER DATABASE demo OWNER TO demo_owner", 'ALTER DATABASE "demo" OWNER TO kennel'),
        ],
    )
    async def test_one_that_is_not_made_for_it_is_refused_and_nothing_is_left(
        self,
        templated: PostgresProvisioner,
        server: PostgresqlServer,
        inventory: Callable[[], set[str]],
        harm: str,
        said: str,
    ) -> None:
        before = inventory()
        rows(server.url_of("postgres", "demo"), harm)
        with pytest.raises(Rejected, match=said):
            await templated.ensure(PREVIEW, START)
        assert await templated.observe() == {PREVIEW}
        await templated.remove(PREVIEW)
        assert inventory() == before

    async def test_one_that_is_not_there(self, make: Make) -> None:
        async with make(templates={"start": "gone"}) as postgres:
            with pytest.raises(Rejected, match="no template demo; there is: snapshot, start"):
                await postgres.ensure(PREVIEW, {"template": "demo"})
            with pytest.raises(Rejected, match="there is no database gone to start from"):
                await postgres.ensure(PREVIEW, START)
            await postgres.remove(PREVIEW)


class Said:
    """A session that writes down what is run. `version`; `fails`: on what, and how."""

    def __init__(self, version: int, fails: type[psycopg.Error] | None = None) -> None:
        self.version = version
        self.fails = fails
        self.said: list[str] = []

    async def run(self, query: Any, parameters: object = None) -> list[Any]:
        text = query.as_string(None)
        self.said.append(text)
        if self.fails and "file_copy" in text and "STRATEGY" in text:
            raise self.fails
        return []


class TestCloning:
    async def copied(self, session: Said, copier: Copier) -> str:
        return await copier._copy_files(session, "t", "n", "o")  # type: ignore[arg-type]

    async def test_is_asked_for_where_the_server_can(self) -> None:
        new, old = Said(180000), Said(170000)
        assert await self.copied(new, Copier(None)) == "its files cloned"  # type: ignore[arg-type]
        assert new.said[0] == "SET file_copy_method = 'clone'"
        assert "STRATEGY file_copy" in new.said[1]
        assert new.said[-1] == "RESET file_copy_method"
        assert await self.copied(old, Copier(None)) == "block by block"  # type: ignore[arg-type]
        assert not any("file_copy" in text for text in old.said)

    async def test_is_tried_once_where_the_file_system_cannot(self) -> None:
        copier, session = Copier(None), Said(180000, errors.FeatureNotSupported)  # type: ignore[arg-type]
        for _ in range(2):
            assert await self.copied(session, copier) == "block by block"
        assert sum("STRATEGY" in text for text in session.said) == 1

    async def test_a_template_in_use_says_nothing_of_the_file_system(self) -> None:
        copier, session = Copier(None), Said(180000, errors.ObjectInUse)  # type: ignore[arg-type]
        with pytest.raises(errors.ObjectInUse):
            await self.copied(session, copier)
        session.fails = None
        assert await self.copied(session, copier) == "its files cloned"


@pytest_asyncio.fixture
async def scrubbed(
    make: Make, tmp_path: Path, inventory: Callable[[], set[str]]
) -> AsyncIterator[PostgresProvisioner]:
    """Give a provisioner that knows how to scrub the shop; there is data of its production."""
    scrub = tmp_path / "shop.sql"
    scrub.write_text(SCRUB)
    before = inventory()
    async with make(scrub={"shop": scrub}) as postgres:
        env = await postgres.ensure(MAIN, {"extensions": ["citext"]})
        asked(env, "CREATE TABLE people AS SELECT 1 AS id, 'ada@example.org'::citext AS mail")
        asked(env, "CREATE TABLE secrets AS SELECT 'tiger' AS word")
        asked(env, "SELECT lo_from_bytea(42, 'large')")
        asked(env, "COMMENT ON EXTENSION citext IS 'mine'")
        yield postgres
        for tenant in await postgres.observe():
            await postgres.remove(tenant)
        if any("snapshot" in name for name in inventory()):
            await order(postgres, "drop-snapshot")
    assert inventory() == before


async def order(postgres: PostgresProvisioner, name: str, argument: str | None = None) -> str:
    lines: list[str] = []
    await postgres.command(name, Order(project="shop", argument=argument), lines.append)
    return "\n".join(lines)


FROM_SNAPSHOT = {"template": "snapshot"}


class TestSnapshots:
    async def test_previews_start_from_a_scrubbed_copy(
        self, scrubbed: PostgresProvisioner, server: PostgresqlServer
    ) -> None:
        source = await scrubbed.ensure(MAIN, {})
        with psycopg.connect(source["DATABASE_URL"].value) as his:
            his.execute("SELECT 1 FROM people")  # services are connected, in a transaction
            assert "start from it now" in await order(scrubbed, "snapshot")
        env = await scrubbed.ensure(PREVIEW, FROM_SNAPSHOT)
        assert asked(env, "SELECT id, mail::text FROM people") == [(1, "nobody@example.net")]
        assert asked(env, "SELECT * FROM secrets") == []
        assert asked(env, "SELECT lo_get(42)") == [(b"large",)]
        asked(env, "DROP TABLE people")
        asked(env, "DROP EXTENSION citext CASCADE")
        assert asked(source, "SELECT mail::text FROM people") == [("ada@example.org",)]
        assert await scrubbed.observe() == {MAIN, PREVIEW}

    async def test_a_snapshot_is_open_to_nobody(
        self, scrubbed: PostgresProvisioner, server: PostgresqlServer
    ) -> None:
        await order(scrubbed, "snapshot")
        name = "kennel-snapshot_shop"
        assert rows(
            server.url,
            "SELECT datallowconn, rolcanlogin FROM pg_database, pg_roles"
            " WHERE datname = %s AND rolname = %s",
            name,
            name,
        ) == [(False, False)]
        assert [one.tenant for one in await scrubbed.resources()] == [MAIN]

    async def test_a_new_one_takes_the_place_of_the_old_one(
        self, scrubbed: PostgresProvisioner
    ) -> None:
        await order(scrubbed, "snapshot")
        source = await scrubbed.ensure(MAIN, {})
        asked(source, "INSERT INTO people VALUES (2, 'bob@example.org')")
        made = [scrubbed.ensure(one, FROM_SNAPSHOT) for one in (PREVIEW, OTHER)]
        await asyncio.gather(order(scrubbed, "snapshot"), *made)
        await scrubbed.remove(PREVIEW)
        env = await scrubbed.ensure(PREVIEW, FROM_SNAPSHOT)
        assert asked(env, "SELECT count(*) FROM people") == [(2,)]

    async def test_of_another_ref(self, scrubbed: PostgresProvisioner) -> None:
        env = await scrubbed.ensure(OTHER, {})
        asked(env, "CREATE TABLE people AS SELECT 9 AS id, '' AS mail; CREATE TABLE secrets ()")
        await order(scrubbed, "snapshot", "pr-8")
        env = await scrubbed.ensure(PREVIEW, FROM_SNAPSHOT)
        assert asked(env, "SELECT id FROM people") == [(9,)]
        with pytest.raises(Rejected, match="is no name of a ref"):
            await order(scrubbed, "snapshot", "a b")
        with pytest.raises(Rejected, match="shop/nothing has no database"):
            await order(scrubbed, "snapshot", "nothing")

    @pytest.mark.parametrize(
        ("scrub", "said"),
        [
            ("UPDATE people SET nothing = 1", "failed, and nothing was changed: column"),
            ("DELETE FROM people; SELEC", "failed, and nothing was changed: syntax error"),
        ],
    )
    async def test_one_that_cannot_be_scrubbed_is_none(
        self, scrubbed: PostgresProvisioner, tmp_path: Path, scrub: str, said: str
    ) -> None:
        await order(scrubbed, "snapshot")
        (tmp_path / "shop.sql").write_text(scrub)
        with pytest.raises(Rejected, match=said):
            await order(scrubbed, "snapshot")
        env = await scrubbed.ensure(PREVIEW, FROM_SNAPSHOT)
        assert asked(env, "SELECT mail::text FROM people") == [("nobody@example.net",)]
        assert not list((tmp_path / "state").rglob("*.part"))

    async def test_without_a_word_on_what_to_scrub_there_is_none(self, make: Make) -> None:
        async with make() as postgres:
            await postgres.ensure(MAIN, {})
            with pytest.raises(Rejected, match=r'\[plugins.postgres.scrub\] shop = "'):
                await order(postgres, "snapshot")
            with pytest.raises(Rejected, match="kennel postgres snapshot shop"):
                await postgres.ensure(PREVIEW, FROM_SNAPSHOT)
            with pytest.raises(Rejected, match="shop has no snapshot"):
                await order(postgres, "drop-snapshot")
            for tenant in (MAIN, PREVIEW):
                await postgres.remove(tenant)

    async def test_the_file_that_scrubs_is_not_there(self, make: Make) -> None:
        async with make(scrub={"shop": Path("/nowhere.sql")}) as postgres:
            with pytest.raises(Rejected, match=r"/nowhere\.sql: No such file"):
                await order(postgres, "snapshot")

    async def test_a_role_of_that_name_that_is_not_kennels(
        self, scrubbed: PostgresProvisioner, server: PostgresqlServer
    ) -> None:
        rows(server.url, 'CREATE ROLE "kennel-snapshot_shop"')
        try:
            with pytest.raises(Rejected, match="kennel-snapshot_shop that is not Kennel's"):
                await order(scrubbed, "snapshot")
        finally:
            rows(server.url, 'DROP ROLE "kennel-snapshot_shop"')

    async def test_code_of_the_tenants_runs_as_nobody_who_may_do_anything(
        self, scrubbed: PostgresProvisioner, server: PostgresqlServer
    ) -> None:
        env = await scrubbed.ensure(MAIN, {})
        asked(
            env,
            "CREATE FUNCTION trap(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN EXECUTE"
            " format('COMMENT ON FUNCTION public.trap IS %L', session_user); RETURN true; END $$;"
            " CREATE TABLE trapped (i int CHECK (trap(i))); INSERT INTO trapped VALUES (1)",
        )
        await order(scrubbed, "snapshot")
        env = await scrubbed.ensure(PREVIEW, FROM_SNAPSHOT)
        [(ran_as,)] = asked(env, "SELECT obj_description('trap'::regproc)")
        assert ran_as == "kennel-snapshot-new_shop"
