"""The provisioner: what Kennel asks for, and what is run on the server for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import psycopg
from psycopg.sql import SQL

from kennel.domain import Env, Environment, Ref, Tenant, environment_of, names
from kennel.errors import Rejected
from kennel.plugin import Command, Order, Provisioner, Resource, in_thread
from kennel_postgres.address import VARIABLES, Address
from kennel_postgres.backups import Backups
from kennel_postgres.checks import (
    check_open,
    check_rights,
    check_way_in,
    open_to_all,
    try_way_in,
)
from kennel_postgres.config import PostgresConfig
from kennel_postgres.copies import Copier, create_to_fill
from kennel_postgres.database import (
    PATIENCE,
    Limits,
    create_empty,
    let_in,
    make_whole,
    shut,
    take_away,
)
from kennel_postgres.desk import Desk
from kennel_postgres.extensions import check_allowed, create_extensions
from kennel_postgres.faults import ONCE_MORE
from kennel_postgres.found import look, look_at, tenants_of
from kennel_postgres.keys import Keys
from kennel_postgres.options import SNAPSHOT, PostgresOptions, read_options
from kennel_postgres.programs import Programs
from kennel_postgres.server import Server, Session, spoken
from kennel_postgres.snapshots import Snapshots

NOBODY = Tenant("nobody", Ref.branch("main"))

COMMANDS = (
    Command(name="backup", help="Keep a dump of the database of a ref"),
    Command(name="backups", help="Show the dumps that are kept of a ref"),
    Command(
        name="restore",
        help="Put a dump in the place of the database of a ref: the last one, or BACKUP",
        argument="BACKUP",
        warning="replaces everything that is in the database",
    ),
    Command(
        name="snapshot",
        help="Make the scrubbed copy that previews start from, of main or of REF",
        ref=False,
        argument="REF",
    ),
    Command(
        name="drop-snapshot",
        help="Take the copy away that previews start from",
        ref=False,
        warning="drops the snapshot: previews that want one are not made any more",
    ),
)

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
    commands = COMMANDS

    def __init__(
        self, config: PostgresConfig, server: Server, keys: Keys, backups: Backups
    ) -> None:
        self._config = config
        self._server = server
        self._keys = keys
        self._address = Address(
            config.tenant_host or server.host, config.tenant_port or server.port
        )
        self._limits = Limits(
            connections=config.connections, statement_timeout=config.statement_timeout
        )
        self._copier = Copier(server)
        self._desk = Desk(
            server=server,
            address=self._address,
            keys=keys,
            limits=self._limits,
            programs=Programs(config.programs),
            backups=backups,
            allowed=config.extensions,
        )
        self._snapshots = Snapshots(desk=self._desk, scrub=dict(config.scrub))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.close()

    async def check(self) -> None:
        """Raise Unavailable or Rejected if tenants could not be served, or not kept apart."""
        if self._config.backup_before_drop != "never":
            await self._desk.programs.check()
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

    def check_options(self, options: Mapping[str, object]) -> None:
        check_allowed(read_options(options).extensions, self._config.extensions)

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        wanted = read_options(options)
        check_allowed(wanted.extensions, self._config.extensions)
        template = self._template(tenant, wanted)
        password = await in_thread(self._keys.of_tenant, tenant)
        await self._again(lambda session: self._ensure(session, tenant, template))
        name = names.database(tenant)
        with spoken():
            await create_extensions(
                self._server, name, name, wanted.extensions, self._config.extensions
            )
        return self._address.env(name, password)

    async def _ensure(self, session: Session, tenant: Tenant, template: str | None) -> None:
        async with session.alone(names.database(tenant)):
            await make_whole(
                session,
                tenant,
                password=self._keys.of_tenant(tenant),
                limits=self._limits,
                fill=lambda session, beside: self._fill(session, tenant, beside, template),
            )

    def _template(self, tenant: Tenant, wanted: PostgresOptions) -> str | None:
        """Return the database that a tenant's starts as a copy of. Only a preview's does."""
        named = wanted.template
        if named is None:
            return None
        if named != SNAPSHOT and named not in self._config.templates:
            may = ", ".join([SNAPSHOT, *sorted(self._config.templates)])
            raise Rejected(f"resource postgres: there is no template {named}; there is: {may}")
        if environment_of(tenant.ref) is not Environment.PREVIEW:
            return None
        if named == SNAPSHOT:
            return names.snapshot(tenant.project)
        return self._config.templates[named]

    async def _fill(
        self, session: Session, tenant: Tenant, beside: str, template: str | None
    ) -> None:
        """Make a tenant's database, empty or with what is in the template."""
        owner = names.database(tenant)
        if template is None:
            await create_empty(session, beside, owner)
            return
        async with session.alone(template, shared=True):
            if await self._copier.is_free(session, template, otherwise=_make(tenant, template)):
                await self._copier.copy(session, template, beside, owner)
            else:
                await self._copy_by_dump(session, tenant, beside, template)

    async def _copy_by_dump(
        self, session: Session, tenant: Tenant, beside: str, template: str
    ) -> None:
        """Fill a database from a template that somebody is connected to."""
        owner, password = names.database(tenant), self._keys.of_tenant(tenant)
        await create_to_fill(session, beside, owner)
        await let_in(session, owner, password=password, limits=self._limits)
        async with self._desk.backups.passing() as file:
            await self._desk.programs.dump(self._server.environment(template), file)
            await self._desk.fill(tenant, beside, file)
        log.info("postgres: %s starts as a copy of %s, by a dump: it is in use", beside, template)

    async def remove(self, tenant: Tenant) -> None:
        await in_thread(self._keys.of_tenant, tenant)
        await self._again(lambda session: self._remove(session, tenant))

    async def _remove(self, session: Session, tenant: Tenant) -> None:
        async with session.alone(names.database(tenant)):
            found, _ = await look_at(session, tenant)
            if found.tenant == tenant and found.database and self._is_dumped(tenant):
                await self._desk.back_up(session, tenant, before_removal=True)
            if await shut(session, tenant):
                await take_away(session, tenant)

    def _is_dumped(self, tenant: Tenant) -> bool:
        """Return whether a tenant's database is dumped before it goes."""
        lasting = environment_of(tenant.ref) is not Environment.PREVIEW
        return self._config.backup_before_drop == "always" or (
            lasting and self._config.backup_before_drop == "long-lived"
        )

    async def command(self, name: str, order: Order, tell: Callable[[str], None]) -> None:
        await in_thread(self._keys.of_tenant, NOBODY)  # it blocks the first time
        if order.ref is None:
            await self._of_project(name, order, tell)
        else:
            await self._of_tenant(name, Tenant(order.project, order.ref), order.argument, tell)

    async def _of_project(self, name: str, order: Order, tell: Callable[[str], None]) -> None:
        async with self._server.session() as session:
            if name == "drop-snapshot":
                await self._snapshots.drop(session, order.project)
                tell(f"The snapshot of {order.project} is gone")
                return
            source = Tenant(order.project, _ref(order.argument or "main"))
            tell(f"Copying the database of {source}")
            await self._snapshots.make(session, source)
            tell(f'Previews of {order.project} with template = "snapshot" start from it now')

    async def _of_tenant(
        self, name: str, tenant: Tenant, argument: str | None, tell: Callable[[str], None]
    ) -> None:
        if name == "backups":
            for one in await self._desk.backups.of(tenant):
                tell(f"{one.name}  {one.size} bytes  {one.file}")
            return
        async with self._server.session() as session:
            if name == "backup":
                backup = await self._desk.back_up(session, tenant)
                tell(f"{backup.name}  {backup.size} bytes  {backup.file}")
                return
            chosen = await self._desk.backups.choose(tenant, argument)
            tell(f"Restoring {chosen.name}")
            async with session.alone(names.database(tenant)):
                await self._desk.restore(session, tenant, chosen)
            tell(
                f"{tenant} has what {chosen.name} holds; its services were cut off and connect anew"
            )

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


def _make(tenant: Tenant, template: str) -> str:
    if template == names.snapshot(tenant.project):
        return f"make one with kennel postgres snapshot {tenant.project}"
    return "see [plugins.postgres.templates]"


def _ref(text: str) -> Ref:
    try:
        return Ref.parse(text)
    except ValueError as error:
        raise Rejected(str(error)) from error
