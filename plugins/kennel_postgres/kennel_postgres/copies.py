"""Databases that begin as a copy of another one: the server copies files, or a dump is restored.

The server copies a database only while nobody is connected to it. Where somebody is, its dump is
restored instead: slower, and nobody is disturbed.
"""

import logging
from contextlib import suppress

import psycopg
from psycopg.sql import SQL, Identifier

from kennel.errors import Rejected
from kennel_postgres.database import connected_to, create_empty, shut_out
from kennel_postgres.faults import ONCE_MORE
from kennel_postgres.server import Server, Session

log = logging.getLogger(__name__)

CLONES = 180000
"""From here on the server can let the file system share the blocks of a copy."""

COPY = SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} ALLOW_CONNECTIONS false")
BY_FILES = SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} ALLOW_CONNECTIONS false STRATEGY file_copy")

OWNERS = SQL("""
SELECT DISTINCT r.rolname::text
FROM pg_shdepend AS s
JOIN pg_database AS d ON d.oid = s.dbid
JOIN pg_roles AS r ON r.oid = s.refobjid
WHERE d.datname = %s AND s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o'
""")
"""The roles that own something in a database. Those PostgreSQL itself needs are not listed."""

OWN_DATABASES = SQL("""
SELECT datname::text FROM pg_database WHERE pg_get_userbyid(datdba) = %s
""")

SCHEMAS = SQL("SELECT nspname::text FROM pg_namespace WHERE pg_get_userbyid(nspowner) = %s")

OF_THE_SYSTEM = SQL("""
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.relowner = 10 AND c.oid >= 16384
  AND NOT EXISTS (
      SELECT FROM pg_depend AS d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i')
  )
  AND c.relnamespace <> 'pg_toast'::regnamespace
LIMIT 1
""")
"""A table that the server's first superuser made, and that is no part of an extension."""


class Copier:
    """Copies databases, and remembers whether the file system can share blocks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clones = True

    async def is_free(self, session: Session, template: str, *, otherwise: str) -> bool:
        """Return whether nobody is connected to a template.

        Raises Rejected if there is none; `otherwise`: what to do about that.
        """
        there = await session.run(SQL("SELECT 1 FROM pg_database WHERE datname = %s"), (template,))
        if not there:
            raise Rejected(f"postgres: there is no database {template} to start from: {otherwise}")
        return not await connected_to(session, template)

    async def copy(self, session: Session, template: str, name: str, owner: str) -> None:
        """Make a database as a copy of a template, with everything in it the owner's."""
        how = await self._copy_files(session, template, name, owner)
        await shut_out(session, name)
        await self._adopt(session, name, owner)
        log.info("postgres: %s starts as a copy of %s, %s", name, template, how)

    async def _copy_files(self, session: Session, template: str, name: str, owner: str) -> str:
        """Have the server copy, as cheaply as it can. Return how it did."""
        words = [Identifier(word) for word in (name, owner, template)]
        if session.version >= CLONES and self._clones:
            try:
                await session.run(SQL("SET file_copy_method = 'clone'"))
                await session.run(BY_FILES.format(*words))
            except psycopg.Error as error:
                if error.sqlstate in ONCE_MORE:
                    raise
                self._clones = False
                log.info("postgres: files cannot be cloned here: %s", error.diag.message_primary)
            else:
                return "its files cloned"
            finally:
                with suppress(psycopg.Error):
                    await session.run(SQL("RESET file_copy_method"))
        await session.run(COPY.format(*words))
        return "block by block"

    async def _adopt(self, session: Session, name: str, owner: str) -> None:
        """Give everything in a new database to its owner. Nobody else has connected to it yet."""
        owners = [one for (one,) in await session.run(OWNERS, (name,)) if one != owner]
        for one in owners:
            if owned := await session.run(OWN_DATABASES, (one,)):
                raise Rejected(
                    f"postgres: role {one} owns what is in the template of {name}, and database"
                    f" {owned[0][0]} as well, so it cannot be told what is to be copied:"
                    f' give the database to Kennel: ALTER DATABASE "{owned[0][0]}" OWNER TO kennel'
                )
        async with self._server.session_in(name) as inside:
            if found := await inside.run(OF_THE_SYSTEM):
                raise Rejected(
                    f"postgres: {found[0][0]} in the template of {name} belongs to a superuser:"
                    " have a role of its own own what is in there (see the README)"
                )
            schemas = [row for one in owners for row in await inside.run(SCHEMAS, (one,))]
            async with inside.transaction(passing=True):
                for (schema,) in schemas:  # first: who is to own a function may make one there
                    hand_over = SQL("ALTER SCHEMA {} OWNER TO {}")
                    await inside.run(hand_over.format(Identifier(schema), Identifier(owner)))
                for one in owners:
                    reassign = SQL("REASSIGN OWNED BY {} TO {}")
                    await inside.run(reassign.format(Identifier(one), Identifier(owner)))


async def create_to_fill(session: Session, name: str, owner: str) -> None:
    """Make an empty database that its owner alone can connect to, to restore a dump into."""
    await create_empty(session, name, owner)
    await shut_out(session, name)
