"""A project's snapshot: a scrubbed copy of one of its databases, for previews to start from.

It is made from a dump, so its source is not disturbed; what the operator's SQL leaves is what
previews see. The database belongs to Kennel and takes no connections; what is in it belongs to a
role of the same name that cannot log in. Both take the place of the old ones when they are whole.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier

from kennel.domain import Secret, Tenant, names
from kennel.errors import ProviderError, Rejected
from kennel.plugin import in_thread
from kennel_postgres.copies import create_to_fill
from kennel_postgres.database import drop_database, drop_role, make_role, rename, until_alone
from kennel_postgres.desk import Desk
from kennel_postgres.server import Row, Session, connected, spoken

log = logging.getLogger(__name__)

THERE = SQL("""
SELECT r.rolname::text, shobj_description(r.oid, 'pg_authid')
FROM pg_roles AS r WHERE r.rolname = ANY(%s)
""")
DATABASES = SQL("SELECT 1 FROM pg_database WHERE datname = %s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """Makes snapshots and takes them away. `scrub`: for each project, the file with the SQL."""

    desk: Desk
    scrub: dict[str, Path]

    async def make(self, session: Session, source: Tenant) -> None:
        """Make a project's snapshot from one of its refs. Raises Rejected, and changes nothing."""
        project = source.project
        scrubbing = await in_thread(self._scrubbing, project)
        new, password = names.snapshot(project, what="new"), self.desk.keys.of_snapshot(project)
        async with session.alone(new):
            await self._refuse_foreign(session, project)
            await self._sweep(session, project)
            async with session.transaction():
                await make_role(session, new, _mark(project))
            role, verifier = Identifier(new), session.verifier(new, password)
            await session.run(SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, verifier))
            try:
                await create_to_fill(session, new, new)
                async with self.desk.backups.passing() as file:
                    await self.desk.dump(session, source, file)
                    await self.desk.fill_as(new, password, new, file)
                await self._run(new, password, scrubbing)
            except ProviderError:
                await self._sweep(session, project)
                raise
            await session.run(SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(role))
            await self._put_in_place(session, project)
        log.info("postgres: %s has a new snapshot, from %s", project, source)

    async def drop(self, session: Session, project: str) -> None:
        """Take a project's snapshot away. Raises Rejected if there is none."""
        name = names.snapshot(project)
        async with session.alone(names.snapshot(project, what="new")), session.alone(name):
            if not await self._comments(session, [name]):
                raise Rejected(f"postgres: {project} has no snapshot")
            await self._refuse_foreign(session, project)
            await self._sweep(session, project)
            await _drop(session, name)

    def _scrubbing(self, project: str) -> str:
        """Return the SQL that scrubs."""
        if (file := self.scrub.get(project)) is None:
            raise Rejected(
                f"postgres: nothing says what of {project} previews must not see: name a file of"
                f" SQL in kennel.toml (an empty one, if they may see all): [plugins.postgres.scrub]"
                f' {project} = "/etc/kennel/{project}.sql"'
            )
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it holds no text"
            raise Rejected(f"[plugins.postgres.scrub] {project}: {file}: {reason}") from error

    async def _refuse_foreign(self, session: Session, project: str) -> None:
        """Raise Rejected if somebody else has roles of these names."""
        wanted = [names.snapshot(project, what=what) for what in ("", "new", "old")]
        for name, comment in await self._comments(session, wanted):
            if comment != _mark(project):
                raise Rejected(f"postgres: there is a role {name} that is not Kennel's: drop it")

    async def _comments(self, session: Session, wanted: Sequence[str]) -> Sequence[Row]:
        return await session.run(THERE, (list(wanted),))

    async def _sweep(self, session: Session, project: str) -> None:
        """Drop what is left of one that was cut off, or replaced."""
        for what in ("new", "old"):
            await _drop(session, names.snapshot(project, what=what))

    async def _run(self, name: str, password: Secret, text: str) -> None:
        """Run the operator's SQL as the role that owns the copy, whole or not at all."""
        where = make_conninfo("", **self.desk.address.conninfo(name, password, name))
        with spoken():
            async with await connected(where) as connection:
                try:
                    async with connection.transaction():
                        await connection.execute(text.encode())
                except psycopg.Error as error:
                    if error.sqlstate is None:
                        raise
                    raise Rejected(
                        f"postgres: the SQL that scrubs {name} failed, and nothing was changed:"
                        f" {error.diag.message_primary}"
                    ) from None

    async def _put_in_place(self, session: Session, project: str) -> None:
        """Make the new one the project's snapshot, when nobody copies the old one any more."""
        name, new = names.snapshot(project), names.snapshot(project, what="new")
        old = names.snapshot(project, what="old")
        async with session.alone(name):
            await until_alone(session, new)
            replaced = bool(await session.run(DATABASES, (name,)))
            async with session.transaction():
                if replaced:
                    await session.run(rename(name, old))
                    await session.run(_rename_role(name, old))
                await session.run(
                    SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(new))
                )
                await session.run(
                    SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(Identifier(new))
                )
                await session.run(
                    SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(new), _mark(project))
                )
                await session.run(rename(new, name))
                await session.run(_rename_role(new, name))
            if replaced:
                await _drop(session, old)


async def _drop(session: Session, name: str) -> None:
    """Drop a database and the role that what is in it belongs to, where there are any."""
    await drop_database(session, name)
    if await session.run(THERE, ([name],)):
        await drop_role(session, name)


def _rename_role(name: str, to: str) -> Composed:
    return SQL("ALTER ROLE {} RENAME TO {}").format(Identifier(name), Identifier(to))


def _mark(project: str) -> str:
    return f"kennel snapshot: {project}"
