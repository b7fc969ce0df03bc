"""Dumps and restores databases of tenants, always as the tenant itself.

What a tenant made (functions that an index, a check or a view calls) runs when its database is
dumped or restored. Kennel's own role may do a lot on the server, so it is never the one to run it.
"""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kennel.domain import Secret, Tenant, names
from kennel.errors import ProviderError, Rejected
from kennel_postgres.address import Address
from kennel_postgres.backups import Backup, Backups
from kennel_postgres.copies import create_to_fill
from kennel_postgres.database import (
    Limits,
    cut_off,
    drop_database,
    let_in,
    swap,
)
from kennel_postgres.extensions import create_extensions
from kennel_postgres.found import Found, look_at
from kennel_postgres.keys import Keys
from kennel_postgres.programs import Programs, extensions_in
from kennel_postgres.server import Server, Session

log = logging.getLogger(__name__)

SPARE = 2
"""Connections that a role gets on top while it is dumped or restored: its services keep theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything that dumps and restores need. `allowed`: extensions, by the settings."""

    server: Server
    address: Address
    keys: Keys
    limits: Limits
    programs: Programs
    backups: Backups
    allowed: Collection[str] | None

    async def back_up(
        self, session: Session, tenant: Tenant, *, before_removal: bool = False
    ) -> Backup:
        """Keep a dump of a tenant's database. Raises Rejected if there is none."""
        found = await self._present(session, tenant)
        async with self._spare(session, tenant):
            if before_removal:
                await cut_off(session, found.name)
            async with self.backups.new(tenant, before_removal=before_removal) as file:
                await self._dump(tenant, file)
        backup = (await self.backups.of(tenant))[-1]
        log.info("postgres: backup %s of %s is kept", backup.name, tenant)
        return backup

    async def dump(self, session: Session, tenant: Tenant, file: Path) -> None:
        """Write a tenant's database to a file. Raises Rejected if there is none."""
        await self._present(session, tenant)
        async with self._spare(session, tenant):
            await self._dump(tenant, file)

    async def _dump(self, tenant: Tenant, file: Path) -> None:
        name = names.database(tenant)
        await self.programs.dump(self._env(name, self.keys.of_tenant(tenant), name), file)

    async def restore(self, session: Session, tenant: Tenant, backup: Backup) -> None:
        """Put a backup in the place of a tenant's database, which stays until it is whole."""
        await self._present(session, tenant)
        beside = names.database_beside(tenant, "new")
        for name in (await look_at(session, tenant))[1]:
            await drop_database(session, name)
        async with self._spare(session, tenant):
            try:
                await create_to_fill(session, beside, names.database(tenant))
                await self.fill(tenant, beside, backup.file)
            except ProviderError:
                await drop_database(session, beside)
                raise
            await swap(session, tenant)

    async def fill(self, tenant: Tenant, database: str, file: Path) -> None:
        """Restore a dump into an empty database of a tenant's."""
        name = names.database(tenant)
        await self.fill_as(name, self.keys.of_tenant(tenant), database, file)

    async def fill_as(self, role: str, password: Secret, database: str, file: Path) -> None:
        """Restore a dump into an empty database, as the role that owns it."""
        contents = await self.programs.contents(file)
        wanted = [one for one in extensions_in(contents) if one != "plpgsql"]
        await create_extensions(self.server, database, role, wanted, self.allowed)
        await self.programs.restore(self._env(role, password, database), file, contents)

    def _env(self, role: str, password: Secret, database: str) -> dict[str, str]:
        variables = self.address.env(role, password)
        env = {name: one.value for name, one in variables.items() if name.startswith("PG")}
        return {**env, "PGDATABASE": database}

    async def _present(self, session: Session, tenant: Tenant) -> Found:
        found, _ = await look_at(session, tenant)
        if found.tenant != tenant or not found.database or not found.role:
            raise Rejected(
                f"postgres: {tenant} has no database: deploy it first, then there is one"
            )
        return found

    @asynccontextmanager
    async def _spare(self, session: Session, tenant: Tenant) -> AsyncIterator[None]:
        """Let a tenant's role in once more, whatever its services use."""
        name, password = names.database(tenant), self.keys.of_tenant(tenant)
        more = replace(self.limits, connections=self.limits.connections + SPARE)
        await let_in(session, name, password=password, limits=more)
        try:
            yield
        finally:
            await let_in(session, name, password=password, limits=self.limits)
