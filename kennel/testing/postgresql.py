"""A PostgreSQL server that lives as long as a test session."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.testing.debian_13 import postgresql_17
from kennel.testing.missing import missing

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)

TRUSTED = "postgres,kennel"
"""Roles that may come in as they are: who runs the tests is nobody the server knows."""

ACCESS = f"""\
local all {TRUSTED} trust
local all stranger  peer
local all all       scram-sha-256
host  all {TRUSTED} 127.0.0.1/32 trust
host  all all       127.0.0.1/32 scram-sha-256
"""
"""pg_hba.conf: everybody else is asked for a password, whatever the database."""

CLOSED = "REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlServer:
    """A server that runs. `folder`: of its socket; `programs`: of psql, pg_dump and so on."""

    folder: Path
    programs: Path
    port: int = 5432
    prefix: Sequence[str] = ()

    @property
    def url(self) -> str:
        """Return how its superuser gets to the database postgres."""
        return self.url_of("postgres")

    def url_of(self, role: str, database: str = "postgres") -> str:
        """Return how one of the roles that need no password gets to a database."""
        return f"postgresql://{role}@/{database}?host={self.folder}&port={self.port}"

    def control(self, *words: str) -> None:
        """Stop, start or reload it: `pg_ctl`."""
        data = str(self.folder / "data")
        self.run("pg_ctl", "-D", data, "-w", "-l", str(self.folder / "log"), *words)

    def start(self) -> None:
        """Start it, with all that it keeps of itself."""
        self.control("start")

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self.control("-m", "immediate", "stop")

    def run(self, program: str, *words: str) -> None:
        """Run one of its programs as the user it runs as."""
        command = [*self.prefix, str(self.programs / program), *words]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60)


def _programs(version: int | None) -> Path:
    if version == 17:
        return postgresql_17()
    path = os.pathsep.join([*map(str, PLACES), os.environ.get("PATH", "")])
    found = shutil.which("initdb", path=path)
    if found is None:
        missing("no initdb here: install postgresql")
    return Path(found).parent


def _as_user() -> list[str]:
    """Return the words before a command: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        missing("there is no user postgres: install postgresql")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]


def rows(url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement and return what it answers. Raises psycopg.Error."""
    import psycopg  # not everybody who tests a plugin has it

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def postgresql(
    *, port: int | None = None, settings: str = "", version: int | None = None
) -> Iterator[PostgresqlServer]:
    """Start a server whose roles reach each other's databases only if something lets them.

    `port`: where it listens on 127.0.0.1 as well; None: on its socket alone. `settings`: lines of
    postgresql.conf. `version`: 17 is Debian 13's, whatever this machine is; None: the newest that
    is installed. Skips the test (or fails it, where everything is required) if PostgreSQL is
    not installed.
    """
    programs, prefix = _programs(version), _as_user()
    base = Path(tempfile.mkdtemp(prefix="kpg"))
    if prefix:
        shutil.chown(base, "postgres", "postgres")
    base.chmod(0o755)
    server = PostgresqlServer(folder=base, programs=programs, port=port or 5432, prefix=prefix)
    with _removed(base), _running(server, listen=port is not None, settings=settings):
        yield server


@contextmanager
def _removed(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(server: PostgresqlServer, *, listen: bool, settings: str) -> Iterator[None]:
    data = server.folder / "data"
    how = ["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"]
    server.run("initdb", "-D", str(data), *how)
    lines = [
        f"unix_socket_directories = '{server.folder}'",
        f"port = {server.port}",
        f"listen_addresses = '{'127.0.0.1' if listen else ''}'",
        "fsync = off",
        settings,
    ]
    with (data / "postgresql.conf").open("a") as file:
        file.write("\n".join(lines) + "\n")
    (data / "pg_hba.conf").write_text(ACCESS)
    server.start()
    try:
        server.run("psql", "-X", "-q", "-d", server.url, "-c", CLOSED)
        yield
    finally:
        server.stop()


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Start a server on a socket of its own; give the URL of its superuser's database.

    Skips the test (or fails it, where everything is required) if PostgreSQL is not installed.
    """
    with postgresql() as server:
        yield server.url
