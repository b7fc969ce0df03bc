"""Creates the extensions a manifest asks for: those PostgreSQL trusts as the tenant that owns them.

Others need a superuser; where Kennel's role is one, it creates those that the settings name.
"""

from collections.abc import Collection, Sequence

import psycopg
from psycopg.sql import SQL, Identifier

from kennel.errors import Rejected
from kennel_postgres.server import Server, Session

THERE = SQL("SELECT extname::text FROM pg_extension WHERE extname = ANY(%s)")
KNOWN = SQL("""
SELECT name::text, bool_or(trusted) FROM pg_available_extension_versions
WHERE name = ANY(%s) GROUP BY name
""")


def check_allowed(wanted: Collection[str], allowed: Collection[str] | None) -> None:
    """Raise Rejected for an extension that the settings do not name. None: they name none."""
    if allowed is None:
        return
    for name in wanted:
        if name not in allowed:
            may = ", ".join(sorted(allowed)) or "none"
            raise Rejected(
                f"resource postgres: extension {name} is not allowed here; there is: {may}."
                " Ask the operator for it: extensions in [plugins.postgres]"
            )


async def create_extensions(
    server: Server,
    database: str,
    owner: str,
    wanted: Sequence[str],
    allowed: Collection[str] | None,
) -> None:
    """Create those that are missing. `allowed`: by the settings; None: those that are trusted.

    Kennel's role connects to the tenant's database for it, and runs nothing there but this.
    """
    if not wanted:
        return
    async with server.session_in(database) as session:
        there = {name for (name,) in await session.run(THERE, (list(wanted),))}
        missing = [name for name in wanted if name not in there]
        trusted = {row[0]: bool(row[1]) for row in await session.run(KNOWN, (missing,))}
        for name in missing:
            if name not in trusted:
                raise Rejected(
                    f"resource postgres: the server has no extension {name}: the operator has to"
                    " install it beside PostgreSQL"
                )
            if trusted[name]:
                await _create_as(session, name, owner)
            elif allowed is None:
                raise Rejected(
                    f"resource postgres: extension {name} is none that PostgreSQL trusts: the"
                    " operator has to allow it: extensions in [plugins.postgres]"
                )
            else:
                await _create_untrusted(session, name, database)


async def _create_as(session: Session, name: str, owner: str) -> None:
    await session.run(SQL("SET ROLE {}").format(Identifier(owner)))
    await _create(session, name)
    await session.run(SQL("RESET ROLE"))


async def _create_untrusted(session: Session, name: str, database: str) -> None:
    try:
        await _create(session, name)
    except psycopg.errors.InsufficientPrivilege:
        raise Rejected(
            f"resource postgres: extension {name} needs a superuser, and Kennel's role is none:"
            f' run CREATE EXTENSION "{name}" in database {database} as one'
        ) from None


async def _create(session: Session, name: str) -> None:
    """Create it where a program looks for it. The path is for this one statement."""
    await session.run(SQL("SET search_path = public"))
    await session.run(SQL("CREATE EXTENSION IF NOT EXISTS {}").format(Identifier(name)))
    await session.run(SQL("SET search_path = pg_catalog"))
