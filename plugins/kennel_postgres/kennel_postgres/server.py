"""Kennel's own connections to the server: a few, kept open, and errors in Kennel's words."""

import asyncio
import select
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Composed

from kennel.domain import Secret
from kennel.errors import ConfigError
from kennel_postgres.faults import explained

Query: TypeAlias = SQL | Composed
Row: TypeAlias = tuple[Any, ...]

OPTIONS = "-c search_path=pg_catalog -c lock_timeout=20s -c statement_timeout=0"
"""Of Kennel's own sessions: it uses no object of anybody's, and waits for nobody for ever."""

EXCLUSIVE = (
    SQL("SELECT pg_advisory_lock(hashtextextended(%s, 1263422028))"),
    SQL("SELECT pg_advisory_unlock(hashtextextended(%s, 1263422028))"),
)
SHARED = (
    SQL("SELECT pg_advisory_lock_shared(hashtextextended(%s, 1263422028))"),
    SQL("SELECT pg_advisory_unlock_shared(hashtextextended(%s, 1263422028))"),
)
"""Taking a lock and giving it back. The number keeps Kennel's apart from anybody else's."""

TOGETHER = 4
"""Connections at a time. Making databases side by side is no faster with more."""


class Session:
    """A connection that somebody uses at the moment."""

    def __init__(self, connection: AsyncConnection[Row]) -> None:
        self._connection = connection
        self._together: list[Query] | None = None

    @property
    def version(self) -> int:
        """Return the server's version, such as 150018."""
        return self._connection.info.server_version

    async def run(
        self, query: Query, parameters: Sequence[object] | Mapping[str, object] | None = None
    ) -> list[Row]:
        """Run one statement; return its rows. Every statement of this plugin's goes through here.

        Raises psycopg.Error, which whoever opened the session makes a ProviderError.
        """
        if self._together is not None:
            self._together.append(query)
            return []
        cursor = await self._connection.execute(query, parameters)
        return await cursor.fetchall() if cursor.description is not None else []

    @asynccontextmanager
    async def transaction(self, *, passing: bool = False) -> AsyncIterator[None]:
        """Make what is run meanwhile happen whole or not at all: it is sent together, at the end.

        So there are no rows, and no parameters. `passing`: a step on the way, after which more
        follows: it need not be on the disk yet. The log is written in order, so what follows never
        lasts without it.
        """
        self._together = [SQL("SET LOCAL synchronous_commit = off")] if passing else []
        try:
            yield
            statements = SQL("; ").join(self._together)
        finally:
            self._together = None
        await self.run(statements)

    @asynccontextmanager
    async def alone(self, name: str, *, shared: bool = False) -> AsyncIterator[None]:
        """Keep others of Kennel's from what is called so; `shared`: only those who do not share.

        The lock goes with the session, so that nobody who dies keeps it.
        """
        lock, unlock = SHARED if shared else EXCLUSIVE
        await self.run(lock, (name,))
        yield
        await self.run(unlock, (name,))

    async def end(self) -> None:
        """Give up the connection, and with it every lock and what was not committed."""
        await self._connection.close()

    def verifier(self, name: str, password: Secret) -> str:
        """Return what the server keeps instead of a password: SCRAM-SHA-256, made on this side."""
        encrypt = self._connection.pgconn.encrypt_password
        made = encrypt(password.value.encode(), name.encode(), b"scram-sha-256")
        return made.decode()


class Server:
    """Opens sessions as Kennel's own role. `conninfo`: libpq's, or a URL."""

    def __init__(self, conninfo: str, *, where: str) -> None:
        try:
            self._words = conninfo_to_dict(conninfo)
        except psycopg.Error:  # it says what it was given
            raise ConfigError(f"[plugins.postgres] {where}: it is no URL of PostgreSQL's") from None
        self._turns = asyncio.Semaphore(TOGETHER)
        self._idle = list[AsyncConnection[Row]]()

    @property
    def host(self) -> str:
        return str(self._words.get("host") or "/run/postgresql")

    @property
    def port(self) -> int:
        return int(self._words.get("port") or 5432)

    @property
    def user(self) -> str | None:
        user = self._words.get("user")
        return None if user is None else str(user)

    @property
    def database(self) -> str:
        return str(self._words.get("dbname") or "postgres")

    def environment(self, database: str) -> dict[str, str]:
        """Return the variables that lead libpq's programs to a database, as Kennel's role."""
        known = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
        given = {name: str(self._words[key]) for key, name in known.items() if key in self._words}
        more = {f"PG{key.upper()}": str(v) for key, v in self._words.items() if "ssl" in key}
        return {**more, **given, "PGDATABASE": database}

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Give a session in Kennel's own database. Raises Unavailable, Rejected."""
        async with self._turns:
            with spoken():
                connection = self._kept() or await self._connect(self.database)
                try:
                    yield Session(connection)
                except BaseException:
                    await connection.close()
                    raise
                if not connection.closed:
                    self._idle.append(connection)

    @asynccontextmanager
    async def session_in(self, database: str) -> AsyncIterator[Session]:
        """Give a session in another database, as Kennel's role: run nobody's code in it."""
        with spoken():
            async with await self._connect(database) as connection:
                yield Session(connection)

    def _kept(self) -> AsyncConnection[Row] | None:
        """Return one that is open and idle. If the server closed it, there is something to read."""
        while self._idle:
            connection = self._idle.pop()
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN | select.POLLHUP)
            if connection.info.transaction_status == pq.TransactionStatus.IDLE and not poll.poll(0):
                return connection
            connection.pgconn.finish()
        return None

    async def _connect(self, database: str) -> AsyncConnection[Row]:
        options = f"{self._words.get('options') or ''} {OPTIONS}".strip()
        more = {"dbname": database, "options": options, "application_name": "kennel"}
        return await connected(make_conninfo("", **{**self._words, **more}))

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()


async def connected(conninfo: str) -> AsyncConnection[Row]:
    """Connect. Raises psycopg.OperationalError."""
    return await AsyncConnection.connect(
        make_conninfo(conninfo, connect_timeout=10), autocommit=True, prepare_threshold=None
    )


@contextmanager
def spoken() -> Iterator[None]:
    """Make what the server says a ProviderError. Its own error may quote a statement: it goes."""
    try:
        yield
    except psycopg.Error as error:
        raise explained(error) from None
