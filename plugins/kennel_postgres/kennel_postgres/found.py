"""What there is on the server that is marked as Kennel's: one question, and how its answer reads.

The mark is a comment that names the tenant, on its role and on its database. The role is made
first and dropped last, in a transaction with its mark, and no tenant may change the comment of a
role: so it counts even where a tenant took the comment off its database.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg.sql import SQL

from kennel.domain import Tenant, names
from kennel_postgres.server import Session

MARK = "kennel: "

QUESTION = SQL("""
SELECT coalesce(d.datname, r.rolname)::text,
       r.oid IS NOT NULL,
       coalesce(r.rolcanlogin, false),
       shobj_description(r.oid, 'pg_authid'),
       d.oid IS NOT NULL,
       shobj_description(d.oid, 'pg_database'),
       coalesce(pg_get_userbyid(d.datdba)::text, ''),
       coalesce(d.datallowconn AND d.datconnlimit = -1, false) AND NOT EXISTS (
           SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS given
           WHERE given.grantee = 0
       )
FROM pg_database AS d
FULL JOIN pg_roles AS r ON r.rolname = d.datname
WHERE left(coalesce(d.datname, r.rolname), 7) IN ('kennel_', 'kennel-')
""")
"""Everything that could be Kennel's by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A role and a database of one name; either may be missing.

    `login`: whether the role may log in, which is granted last. `closed`: whether the database
    takes connections, and of nobody but its owner.
    """

    name: str
    role: bool = False
    login: bool = False
    role_mark: str | None = None
    database: bool = False
    database_mark: str | None = None
    owner: str = ""
    closed: bool = False

    @property
    def tenant(self) -> Tenant | None:
        """Return whose it is by its marks. One that names somebody else counts for nothing."""
        return marked(self.name, self.role_mark) or marked(self.name, self.database_mark)

    @property
    def whole(self) -> bool:
        return self.login and self.database and self.closed and self.owner == self.name


def mark(tenant: Tenant) -> str:
    return f"{MARK}{tenant}"


def marked(name: str, comment: str | None) -> Tenant | None:
    """Return the tenant that a comment on something of this name speaks of, if that is right."""
    if comment is None or not comment.startswith(MARK):
        return None
    try:
        tenant = Tenant.parse(comment.removeprefix(MARK))
    except ValueError:
        return None
    return tenant if names.database(tenant) == name else None


def scrap(tenant: Tenant) -> Sequence[str]:
    """Return the names of databases that are being made for a tenant, or were replaced."""
    return [names.database_beside(tenant, "new"), names.database_beside(tenant, "old")]


async def look(session: Session) -> dict[str, Found]:
    """Return by name everything that could be Kennel's."""
    return {row[0]: _found(row) for row in await session.run(QUESTION)}


async def look_at(session: Session, tenant: Tenant) -> tuple[Found, Sequence[str]]:
    """Return what a tenant has, and which of its scrap there is."""
    name, beside = names.database(tenant), scrap(tenant)
    question = SQL("{} AND coalesce(d.datname, r.rolname) = ANY(%s)").format(QUESTION)
    rows = [_found(row) for row in await session.run(question, ([name, *beside],))]
    own = next((one for one in rows if one.name == name), Found(name=name))
    return own, [one.name for one in rows if one.database and one.owner == name != one.name]


def tenants_of(found: Iterable[Found]) -> set[Tenant]:
    return {one.tenant for one in found if one.tenant is not None}


def _found(row: Sequence[object]) -> Found:
    name, role, login, role_mark, database, database_mark, owner, closed = row
    return Found(
        name=str(name),
        role=bool(role),
        login=bool(login),
        role_mark=None if role_mark is None else str(role_mark),
        database=bool(database),
        database_mark=None if database_mark is None else str(database_mark),
        owner=str(owner),
        closed=bool(closed),
    )
