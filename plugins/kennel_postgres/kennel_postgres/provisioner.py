"""The provisioner: what Kennel asks for, and what is run on the server for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import psycopg
from psycopg.sql import SQL

from kennel.domain import Env, Ref, Tenant, names
from kennel.plugin import Provisioner, Resource, in_thread
from kennel_postgres.address import VARIABLES, Address
from kennel_postgres.checks import (
    check_open,
    check_rights,
    check_way_in,
    open_to_all,
    try_way_in,
)
from kennel_postgres.config import PostgresConfig
from kennel_postgres.database import PATIENCE, Limits, create_empty, make_whole, shut, take_away
from kennel_postgres.faults import ONCE_MORE
from kennel_postgres.found import look, tenants_of
from kennel_postgres.keys import Keys
from kennel_postgres.options import PostgresOptions, read_options
from kennel_postgres.server import Server, Session

NOBODY = Tenant("nobody", Ref.branch("main"))

log = logging.getLogger(__name__)

T = TypeVar("T")

SIZES = SQL("""
SELECT d.datname::text, pg_database_size(d.oid),
       (SELECT count(*) FROM pg_stat_activity AS a WHERE a.datid = d.oid), r.rolconnlimit
FROM pg_database AS d JOIN pg_roles AS r ON r.rolname = d.datname
WHERE d.datname = ANY(%s)
""")


class PostgresProvisioner(Provisioner):
    """Gives each tenant a database, and a role that owns it and reaches nothing else."""

    name = "postgres"
    variables = VARIABLES

    def __init__(self, config: PostgresConfig, server: Server, keys: Keys) -> None:
        self._config = config
        self._server = server
        self._keys = keys
        self._address = Address(
            config.tenant_host or server.host, config.tenant_port or server.port
        )
        self._limits = Limits(
            connections=config.connections, statement_timeout=config.statement_timeout
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.close()

    async def check(self) -> None:
        """Raise Unavailable or Rejected if tenants could not be served, or not kept apart."""
        password = await in_thread(self._keys.of_tenant, NOBODY)
        async with self._server.session() as session:
            await check_rights(session)
            tenants = sorted(tenants_of(one for one in (await look(session)).values() if one.whole))
            exposed = await open_to_all(session, self._config.open_databases)
        if not tenants:
            nobody = "kennel_nobody"  # no tenant is called so: whoever is not there is asked too
            way = await try_way_in(self._address, nobody, password, nobody)
            check_way_in(way, self._address)
            return
        name, password = names.database(tenants[0]), self._keys.of_tenant(tenants[0])
        check_way_in(await try_way_in(self._address, name, password, name), self._address)
        tried = [(one, await try_way_in(self._address, name, password, one)) for one in exposed]
        check_open([one for one, way in tried if way.came_in])

    async def observe(self) -> set[Tenant]:
        async with self._server.session() as session:
            return tenants_of((await look(session)).values())

    async def lacking(self, tenants: Collection[Tenant]) -> set[Tenant]:
        async with self._server.session() as session:
            found = await look(session)
        whole = {one.tenant for one in found.values() if one.whole}
        return {tenant for tenant in tenants if tenant not in whole}

    async def resources(self) -> Sequence[Resource]:
        async with self._server.session() as session:
            found = {n: one.tenant for n, one in (await look(session)).items() if one.tenant}
            rows = {row[0]: row for row in await session.run(SIZES, (list(found),))}
        return [
            _resource(name, tenant, rows.get(name))
            for name, tenant in sorted(found.items(), key=lambda one: one[1])
        ]

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        wanted = read_options(options)
        password = await in_thread(self._keys.of_tenant, tenant)
        await self._again(lambda session: self._ensure(session, tenant, wanted))
        return self._address.env(names.database(tenant), password)

    async def _ensure(self, session: Session, tenant: Tenant, wanted: PostgresOptions) -> None:
        name = names.database(tenant)
        del wanted
        async with session.alone(name):
            await make_whole(
                session,
                tenant,
                password=self._keys.of_tenant(tenant),
                limits=self._limits,
                fill=lambda session, beside: create_empty(session, beside, name),
            )

    async def remove(self, tenant: Tenant) -> None:
        await self._again(lambda session: self._remove(session, tenant))

    async def _remove(self, session: Session, tenant: Tenant) -> None:
        async with session.alone(names.database(tenant)):
            if await shut(session, tenant):
                await take_away(session, tenant)

    async def _again(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Do work in a session; do it again if it met somebody else's. It may be repeated."""
        for left in reversed(range(PATIENCE)):
            async with self._server.session() as session:
                try:
                    return await work(session)
                except psycopg.Error as error:
                    if not left or error.sqlstate not in ONCE_MORE:
                        raise
                    await session.end()
            await asyncio.sleep(0.1)
        raise AssertionError("the last time has returned or raised")


def _resource(name: str, tenant: Tenant, row: Sequence[int] | None) -> Resource:
    if row is None:
        return Resource(tenant=tenant, name=name, detail="half made: there is only a role")
    _, size, used, limit = row
    return Resource(tenant=tenant, name=name, size=size, detail=f"{used} of {limit} connections")
