"""What has to hold of a server before tenants are put on it; each with what to do if it does not.

What tenants can reach is tried and not read off: pg_hba.conf is nobody's to read but a superuser's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL

from kennel.domain import Secret
from kennel.errors import Rejected, Unavailable
from kennel_postgres.address import Address
from kennel_postgres.server import Session, connected

OLDEST = 13
"""The first version that can drop a database somebody is connected to."""

RIGHTS = SQL("""
SELECT rolname::text, rolsuper OR (rolcreatedb AND rolcreaterole)
FROM pg_roles WHERE rolname = current_user
""")
OPEN = SQL("""
SELECT datname::text FROM pg_database
WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT') ORDER BY datname
""")


@dataclass(frozen=True, slots=True)
class WayIn:
    """What became of an attempt to connect. `asked`: whether for a password. `said`: why not."""

    came_in: bool
    asked: bool
    said: str = ""


async def check_rights(session: Session) -> None:
    """Raise Rejected if the server is too old, or Kennel's role may not do what it has to."""
    major = session.version // 10000
    if major < OLDEST:
        raise Rejected(f"postgres: the server is version {major}: Kennel needs {OLDEST} or newer")
    [(role, may)] = await session.run(RIGHTS)
    if not may:
        raise Rejected(
            f"postgres: Kennel's role {role} may not make databases and roles: run"
            f' ALTER ROLE "{role}" CREATEDB CREATEROLE as a superuser'
        )


async def open_to_all(session: Session, but: Collection[str]) -> Sequence[str]:
    """Return the databases that everybody may connect to who has a role, but for some."""
    return [name for (name,) in await session.run(OPEN) if name not in but]


async def try_way_in(address: Address, name: str, password: Secret, database: str) -> WayIn:
    """Connect as a tenant would."""
    conninfo = make_conninfo("", **address.conninfo(name, password, database))
    try:
        async with await connected(conninfo) as connection:
            return WayIn(came_in=True, asked=connection.pgconn.used_password)
    except psycopg.OperationalError as error:
        asked = bool(error.pgconn and error.pgconn.used_password)
        said = str(error).strip().splitlines()
        return WayIn(came_in=False, asked=asked, said=said[0] if said else "no answer")


def check_way_in(way: WayIn, address: Address) -> None:
    """Raise Rejected if tenants cannot come in with a password, or can do so without."""
    if way.asked:
        return
    kind = "local" if address.is_socket else "host"
    line = f"{kind} sameuser all {'' if address.is_socket else 'samehost '}scram-sha-256"
    fix = f'put "{line}" before lines that say so into pg_hba.conf and reload the server'
    if way.came_in:
        raise Rejected(f"postgres: the server asks tenants for no password, so each is all: {fix}")
    where = f"{address.host} port {address.port}"
    if "Connection refused" in way.said or "No such file" in way.said:
        raise Unavailable(f"postgres: tenants find no server at {where}: {way.said}")
    raise Rejected(
        f"postgres: tenants cannot log in with a password at {where} ({way.said}): {fix}"
    )


def check_open(databases: Sequence[str]) -> None:
    """Raise Rejected if tenants came into databases that are not theirs."""
    if not databases:
        return
    named = ", ".join(f'"{name}"' for name in databases)
    raise Rejected(
        f"postgres: tenants can connect to {named}: run REVOKE CONNECT, TEMPORARY ON DATABASE"
        f" {named} FROM PUBLIC, or put up with it: open_databases in [plugins.postgres]"
    )
