"""One database, SQLite or PostgreSQL, asked from threads of its own."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from kennel.errors import ConfigError

R = TypeVar("R")
BUSY_TIMEOUT = 10_000
"""Milliseconds SQLite waits for another process's write to end."""
BROKEN = "PRAGMA foreign_key_check"
MIGRATIONS = Path(__file__).parent / "migrations"


class Store:
    """Opened once by the daemon. Every call is one transaction in a thread.

    Writes queue for one thread. SQLite has one writer at a time anyway; and on any database no
    question that decides (is this host free? this port?) is overtaken before it has written.
    """

    def __init__(self, url: str) -> None:
        """Prepare for a database. Raises ConfigError if the URL is of no use."""
        self._engine = _engine(_parsed(url))
        self._one_moment = {} if self.is_local else {"isolation_level": "REPEATABLE READ"}
        self._writers = ThreadPoolExecutor(1, "kennel-write")
        self._readers = ThreadPoolExecutor(4, "kennel-read")
        self.changes = 0
        """How many writes there have been: what was read before the last one may be old."""

    @property
    def is_local(self) -> bool:
        """Return whether the database is a file of this machine."""
        return self._engine.dialect.name == "sqlite"

    async def open(self) -> None:
        """Bring the tables up to date. Raises ConfigError when the database cannot be used."""
        await asyncio.get_running_loop().run_in_executor(self._writers, self._migrate)

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        try:
            with self._migrating() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigError(
                f"database.url: {self._shown} was written by a newer Kennel ({_reason(error)}):"
                " run that one, or restore a copy from before"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise ConfigError(
                f"database.url: cannot use {self._shown}: {_reason(error)}"
            ) from error

    @contextmanager
    def _migrating(self) -> Iterator[Connection]:
        """Open a transaction to change tables in.

        SQLite changes a column by making the table anew: what refers to it is checked at the end.
        """
        with self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self.is_local:
                driver.execute("PRAGMA foreign_keys = OFF")
            try:
                with connection.begin():
                    yield connection
                    if self.is_local and connection.exec_driver_sql(BROKEN).first():
                        raise ConfigError(f"database.url: rows of {self._shown} are missing")
            finally:
                if self.is_local:
                    driver.execute("PRAGMA foreign_keys = ON")

    @property
    def _shown(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    async def read(self, question: Callable[[Connection], R]) -> R:
        """Answer a question that changes nothing."""
        return await self._in(self._readers, self.reading, question)

    async def write(self, change: Callable[[Connection], R]) -> R:
        """Make a change: all of it, durably, or (if it raises) none of it.

        Who is cancelled while it waits has written all the same.
        """
        return await self._in(self._writers, self._counted, change)

    async def _in(
        self, threads: ThreadPoolExecutor, transaction: Any, function: Callable[[Connection], R]
    ) -> R:
        def run() -> R:
            with transaction() as connection:
                return function(connection)

        return await asyncio.get_running_loop().run_in_executor(threads, run)

    @contextmanager
    def _counted(self) -> Iterator[Connection]:
        """Write and count it once it is there: whoever waits may have been cancelled by then."""
        try:
            with self.writing() as connection:
                yield connection
        finally:
            self.changes += 1

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction to read in, from any thread. It sees the state of one moment."""
        options = {"kennel_writes": False, **self._one_moment}
        with self._engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction to write in, from any thread."""
        with (
            self._engine.connect().execution_options(kennel_writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    async def close(self) -> None:
        """Finish what is under way and close every connection."""
        await asyncio.to_thread(self._writers.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "database.url: not a database URL; write sqlite:////path/to/kennel.db or"
            " postgresql://user@host/name"
        ) from error
    if parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _engine(url: URL) -> Engine:
    try:
        checked = url.get_backend_name() != "sqlite"
        engine = sa.create_engine(url, pool_pre_ping=checked, hide_parameters=True)
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigError(
            f"database.url: no driver for {url.drivername!r} is installed; Kennel knows sqlite and"
            " postgresql (package kennel[postgresql])"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by us: see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # an answered webhook outlives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock first: a reader that becomes a writer cannot be made to wait."""
    writes = connection.get_execution_options().get("kennel_writes", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
