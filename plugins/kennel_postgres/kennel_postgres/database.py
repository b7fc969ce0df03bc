"""Makes a tenant's role and database, and takes them away, statement by statement.

A database gets its name with the last statement of its making: whatever is called like a tenant's
is whole, whatever is called like scrap may be dropped. What a crash leaves is gone on from.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from kennel.domain import Secret, Tenant, names
from kennel.errors import Rejected, Unavailable
from kennel_postgres.faults import ONCE_MORE
from kennel_postgres.found import Found, look_at, mark
from kennel_postgres.server import Session

PATIENCE = 5
"""Times that something is tried that met somebody else's work."""

OBJECT_IN_USE = "55006"
FORBIDDEN = "42501"

GRANT = SQL("GRANT {} TO CURRENT_USER")
GRANT_WITH = SQL("GRANT {} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE")
SETS_APART = 160000
"""From here on it has to be said that a member may use what a role may, and become it."""

Fill = Callable[[Session, str], Awaitable[None]]
"""Makes a database of this name, closed to everybody but Kennel, with what is to be in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tenant may use. `statement_timeout`: seconds."""

    connections: int
    statement_timeout: float | None = None


async def make_whole(
    session: Session, tenant: Tenant, *, password: Secret, limits: Limits, fill: Fill
) -> None:
    """Make a tenant's role and database so. `fill`: makes the database if there is none."""
    found, leftovers = await look_at(session, tenant)
    _refuse_foreign(found, tenant)
    for name in leftovers:
        await drop_database(session, name)
    if not found.role:
        await _make_role(session, tenant)
    beside = names.database_beside(tenant, "new")
    if not found.database:
        await fill(session, beside)
        await until_alone(session, beside)
    async with session.transaction():
        if not found.database:
            await _close(session, beside, tenant)
            await session.run(rename(beside, found.name))
        elif not found.closed or found.database_mark != mark(tenant):
            await _close(session, found.name, tenant)
        await let_in(session, found.name, password=password, limits=limits)


def _refuse_foreign(found: Found, tenant: Tenant) -> None:
    """Raise Rejected if somebody else made the role or the database."""
    if found.tenant != tenant and (found.role or found.database):
        what = "database" if found.database else "role"
        raise Rejected(
            f"postgres: there is a {what} {found.name} that is not Kennel's: rename or drop it"
        )
    if found.database and found.owner != found.name:
        raise Rejected(
            f"postgres: database {found.name} belongs to {found.owner} and not to its tenant:"
            f' ALTER DATABASE "{found.name}" OWNER TO "{found.name}"'
        )


async def _make_role(session: Session, tenant: Tenant) -> None:
    """Make a role that cannot log in yet, with its mark; Kennel's own may act for it."""
    name = names.database(tenant)
    async with session.transaction(passing=True):
        await make_role(session, name, mark(tenant))


async def make_role(session: Session, name: str, comment: str) -> None:
    """Make a role that can do nothing. Kennel's own inherits what it has, and may become it."""
    role = Identifier(name)
    await session.run(SQL("CREATE ROLE {} NOLOGIN").format(role))
    await session.run(SQL("COMMENT ON ROLE {} IS {}").format(role, comment))
    grant = GRANT_WITH if session.version >= SETS_APART else GRANT
    await session.run(grant.format(role))


async def create_empty(session: Session, name: str, owner: str) -> None:
    """Make an empty database that nobody can connect to.

    It is a copy of template0, which nobody can be connected to, so nothing keeps it from being
    copied; and only a copy of that one may have an encoding of its own.
    """
    await session.run(
        SQL(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false"
        ).format(Identifier(name), Identifier(owner))
    )


async def shut_out(session: Session, name: str) -> None:
    """Let nobody but the owner of a database connect to it, and the owner do so."""
    async with session.transaction(passing=True):
        await session.run(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(name)))
        await _allow(session, name, whether=True)


async def _allow(session: Session, name: str, *, whether: bool) -> None:
    allow = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {} CONNECTION LIMIT -1")
    await session.run(allow.format(Identifier(name), whether))


async def _close(session: Session, name: str, tenant: Tenant) -> None:
    """Give a database its mark, and let nobody but its owner connect to it."""
    database = Identifier(name)
    await session.run(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    await session.run(SQL("COMMENT ON DATABASE {} IS {}").format(database, mark(tenant)))
    await _allow(session, name, whether=True)


def rename(name: str, to: str) -> Composed:
    return SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(name), Identifier(to))


async def swap(session: Session, tenant: Tenant) -> None:
    """Put the new database in the place of a tenant's own, which becomes scrap. All at once.

    Whoever is connected to the old one is cut off, and finds the new one.
    """
    name = names.database(tenant)
    new, old = names.database_beside(tenant, "new"), names.database_beside(tenant, "old")
    found, _ = await look_at(session, tenant)
    if found.database:
        await _allow(session, name, whether=False)  # nobody comes back meanwhile
        await cut_off(session, name)
        await until_alone(session, name)
    await until_alone(session, new)
    async with session.transaction():
        if found.database:
            await session.run(rename(name, old))
        await _close(session, new, tenant)
        await session.run(rename(new, name))
    if found.database:
        await drop_database(session, old)


async def cut_off(session: Session, name: str) -> None:
    """End all connections to a database."""
    await session.run(
        SQL(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ),
        (name,),
    )


async def until_alone(session: Session, name: str) -> None:
    """Wait until the last connection to a database is gone: it takes the server a moment.

    Raises Unavailable after two seconds.
    """
    for _ in range(400):
        if not await connected_to(session, name):
            return
        await asyncio.sleep(0.005)
    raise Unavailable(f"postgres: somebody is connected to {name} and does not go")


async def connected_to(session: Session, name: str) -> Sequence[str]:
    """Return who is connected to a database."""
    rows = await session.run(
        SQL(
            "SELECT coalesce(usename::text, backend_type) FROM pg_stat_activity WHERE datname = %s"
        ),
        (name,),
    )
    return [row[0] for row in rows]


async def let_in(session: Session, name: str, *, password: Secret, limits: Limits) -> None:
    """Let a role log in, as the last thing: from then on it has everything."""
    role = Identifier(name)
    timeout = limits.statement_timeout
    await session.run(
        SQL("ALTER ROLE {} LOGIN CONNECTION LIMIT {} PASSWORD {}").format(
            role, limits.connections, session.verifier(name, password)
        )
    )
    await session.run(
        SQL("ALTER ROLE {} RESET statement_timeout").format(role)
        if timeout is None
        else SQL("ALTER ROLE {} SET statement_timeout = {}").format(
            role, Literal(f"{round(timeout * 1000)}ms")
        )
    )


async def shut(session: Session, tenant: Tenant) -> bool:
    """Let a tenant's role log in no more. Return whether it has anything."""
    found, leftovers = await look_at(session, tenant)
    if found.tenant != tenant:
        return False
    if found.role and found.login:
        await session.run(SQL("ALTER ROLE {} NOLOGIN").format(Identifier(found.name)))
    return bool(found.role or found.database or leftovers)


async def take_away(session: Session, tenant: Tenant) -> None:
    """Drop a tenant's databases and then its role, with whatever it owns."""
    found, leftovers = await look_at(session, tenant)
    if found.tenant != tenant:
        return
    for name in leftovers:
        await drop_database(session, name)
    if found.database:
        await drop_database(session, found.name)
    if found.role:
        await drop_role(session, found.name)


async def drop_role(session: Session, name: str) -> None:
    """Drop a role, with what it was given in Kennel's own database and what it owns there."""
    role = Identifier(name)
    await session.run(SQL("DROP OWNED BY {} CASCADE").format(role))
    await session.run(SQL("DROP ROLE IF EXISTS {}").format(role))


async def drop_database(session: Session, name: str) -> None:
    """Drop a database whoever is connected to it. Its owner may have called it a template."""
    database = Identifier(name)
    rows = await session.run(
        SQL("SELECT datistemplate FROM pg_database WHERE datname = %s"), (name,)
    )
    if rows == [(True,)]:
        await session.run(SQL("ALTER DATABASE {} IS_TEMPLATE false").format(database))
    for left in reversed(range(PATIENCE)):
        try:
            await session.run(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        except psycopg.Error as error:
            # no one but a superuser may end an autovacuum; it ends by itself when it is waited for
            if not left or error.sqlstate not in {FORBIDDEN, *ONCE_MORE}:
                raise
            await asyncio.sleep(0.2)
        else:
            return
