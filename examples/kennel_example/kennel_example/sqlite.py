"""The provisioner: a folder with an index, and in it a folder for every tenant."""

import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

import msgspec

from kennel.domain import Env, Secret, Tenant
from kennel.errors import Rejected, Unavailable
from kennel.plugin import Provisioner, in_thread

OPEN = 0o777
"""The mode of a tenant's folder once it is handed over."""

P = ParamSpec("P")
R = TypeVar("R")


class SqliteOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a commit may say of its resource `sqlite`. `journal`: of the file when it is made."""

    journal: Literal["wal", "delete"] = "wal"


class SqliteProvisioner(Provisioner):
    """Gives each tenant a SQLite file.

    The index is the mark: what it lists is Kennel's, and nothing else in the folder is touched.
    A tenant is listed before its folder is made and until after that is gone, so that what a
    crash leaves half done is observed.

    A service runs as a user that is made for it when it starts, so a file cannot belong to it.
    What keeps a tenant's file from the others is its path: nobody but Kennel may list the
    folder, and the name of each folder in it cannot be guessed.
    """

    name = "sqlite"
    variables = frozenset({"DATABASE_PATH"})

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def check(self) -> None:
        await self._call(self._tenants)

    async def observe(self) -> set[Tenant]:
        return await self._call(self._tenants)

    def check_options(self, options: Mapping[str, object]) -> None:
        _read(options)

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        file = await self._call(self._make, tenant, _read(options))
        return {"DATABASE_PATH": Secret(str(file))}

    async def remove(self, tenant: Tenant) -> None:
        await self._call(self._remove, tenant)

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call what blocks in a thread, and say in Kennel's words what goes wrong there."""
        try:
            return await in_thread(function, *args, **kwargs)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"sqlite: {self._folder}: {error}") from error

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        """Open the index for one transaction; no other is under way meanwhile."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        file = self._folder / "index.db"
        file.touch(mode=0o600)
        with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as index:
            index.execute("BEGIN IMMEDIATE")
            index.execute("CREATE TABLE IF NOT EXISTS tenants (tenant PRIMARY KEY, folder UNIQUE)")
            yield index
            index.execute("COMMIT")

    def _tenants(self) -> set[Tenant]:
        with self._index() as index:
            return {Tenant.parse(text) for (text,) in index.execute("SELECT tenant FROM tenants")}

    def _make(self, tenant: Tenant, options: SqliteOptions) -> Path:
        with self._index() as index:
            index.execute(
                "INSERT INTO tenants VALUES (?, ?) ON CONFLICT DO NOTHING",
                (str(tenant), secrets.token_hex(16)),
            )
        with self._index() as index:
            folder = self._folder_of(index, tenant)
            if folder is None:
                raise Unavailable(f"sqlite: {tenant} was removed while it was made")
            return _make_file(folder, options)

    def _remove(self, tenant: Tenant) -> None:
        with self._index() as index:
            if folder := self._folder_of(index, tenant):
                shutil.rmtree(folder, ignore_errors=not folder.exists())
                index.execute("DELETE FROM tenants WHERE tenant = ?", (str(tenant),))

    def _folder_of(self, index: sqlite3.Connection, tenant: Tenant) -> Path | None:
        row = index.execute("SELECT folder FROM tenants WHERE tenant = ?", (str(tenant),))
        return next((self._folder / name for (name,) in row), None)


def _read(options: Mapping[str, object]) -> SqliteOptions:
    """Return what a commit says of its resource. Raises Rejected, with what is allowed."""
    try:
        return msgspec.convert(options, SqliteOptions)
    except msgspec.ValidationError as error:
        raise Rejected(
            f'resource sqlite: {error}; it takes journal = "wal" (default) or "delete"'
        ) from error


def _make_file(folder: Path, options: SqliteOptions) -> Path:
    """Make an empty database that any user can write who knows where it is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / "data.db"
    if folder.stat().st_mode & 0o777 == OPEN:
        return file  # it is the service's now: what is in it may be a link to anywhere
    with closing(sqlite3.connect(file, timeout=30)) as database:
        database.execute(f"PRAGMA journal_mode = {options.journal}")
    file.chmod(0o666)
    folder.chmod(OPEN)  # the last step, for SQLite makes its journal beside the file
    return file
