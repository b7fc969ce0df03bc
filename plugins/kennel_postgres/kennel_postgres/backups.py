"""The folder of backups: one for each tenant, in it a file for each dump, named by its time."""

import os
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kennel.domain import Tenant, names
from kennel.errors import Rejected
from kennel.plugin import in_thread

STAMP = "%Y%m%dT%H%M%S.%fZ"
NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z(?P<removed>-removed)?")
DAY_OLD = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Backup:
    """A dump. `name`: what people call it; `size`: bytes."""

    name: str
    file: Path
    size: int

    @property
    def taken(self) -> datetime:
        return datetime.strptime(self.name.partition("-")[0], STAMP).replace(tzinfo=UTC)

    @property
    def before_removal(self) -> bool:
        return self.name.endswith("-removed")


class Backups:
    """Keeps dumps. Those taken before a removal go after `keep_days`, the others never."""

    def __init__(self, folder: Path, *, keep_days: int) -> None:
        self._folder = folder
        self._keep = timedelta(days=keep_days)

    async def of(self, tenant: Tenant) -> Sequence[Backup]:
        """Return a tenant's backups, oldest first."""
        return await in_thread(_listed, self._of(tenant))

    async def choose(self, tenant: Tenant, name: str | None) -> Backup:
        """Return the backup of that name, or the last. Raises Rejected with those there are."""
        found = await self.of(tenant)
        if name is None and found:
            return found[-1]
        for one in found:
            if one.name == name:
                return one
        there = ", ".join(one.name for one in found) or "none"
        raise Rejected(f"postgres: there is no backup {name or ''} of {tenant}; there is: {there}")

    @asynccontextmanager
    async def new(self, tenant: Tenant, *, before_removal: bool) -> AsyncIterator[Path]:
        """Give a path to write a dump to. It is a backup from the end on, unless that failed."""
        folder = self._of(tenant)
        async with self.passing(folder) as file:
            yield file
            stamp = datetime.now(UTC).strftime(STAMP)
            name = f"{stamp}{'-removed' if before_removal else ''}.dump"
            await in_thread(_keep, file, folder / name)
        await in_thread(self._prune)

    @asynccontextmanager
    async def passing(self, folder: Path | None = None) -> AsyncIterator[Path]:
        """Give the path of a file that is gone in the end."""
        file = (folder or self._folder) / f"{secrets.token_hex(8)}.part"
        await in_thread(_make_folder, file.parent)
        try:
            yield file
        finally:
            await in_thread(file.unlink, missing_ok=True)

    def _of(self, tenant: Tenant) -> Path:
        return self._folder / names.database(tenant)

    def _prune(self) -> None:
        """Delete what is too old, and what a crash left."""
        now = datetime.now(UTC)
        for backup in (one for folder in self._folder.iterdir() for one in _listed(folder)):
            if backup.before_removal and now - backup.taken > self._keep:
                backup.file.unlink(missing_ok=True)
        for part in self._folder.rglob("*.part"):
            written = datetime.fromtimestamp(part.stat().st_mtime, UTC)
            if now - written > DAY_OLD:
                part.unlink(missing_ok=True)


def _listed(folder: Path) -> Sequence[Backup]:
    if not folder.is_dir():
        return []
    files = [file for file in folder.glob("*.dump") if NAME.fullmatch(file.stem)]
    return sorted(Backup(file.stem, file, file.stat().st_size) for file in files)


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _keep(file: Path, target: Path) -> None:
    """Give a file its name, for good."""
    file.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
