"""The router's table of routes: what the store asks for, and what is about to become live."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from kennel.domain import Route, Tenant
from kennel.errors import ProviderError
from kennel.plan import Wanted, routes_of
from kennel.plugin import Router

log = structlog.get_logger(__name__)


class Table:
    """Writes the whole table, one writer at a time.

    `wanted` reads what the store asks for. `announce` is told every table before it is written:
    the proxy may ask at once whether a host is ours.
    """

    def __init__(
        self,
        router: Router,
        wanted: Callable[[], Awaitable[Sequence[Wanted]]],
        announce: Callable[[frozenset[Route]], None],
    ) -> None:
        self._router = router
        self._wanted = wanted
        self._announce = announce
        self._writing = asyncio.Lock()
        self._written: frozenset[Route] | None = None
        self._upcoming: dict[Tenant, frozenset[Route]] = {}

    async def restore(self) -> bool:
        """Write the table anew. Return False, and say why in the log, if that cannot be done."""
        async with self._writing:
            self._written = None
            try:
                await self._write()
            except ProviderError as error:
                log.warning("cannot publish routes", reason=str(error))
                return False
        return True

    async def publish(self, tenant: Tenant, routes: frozenset[Route]) -> None:
        """Make sure that the routes of a tenant that is becoming live are in the table.

        They stay in it until `settled`, whatever the store says. Raises ProviderError.
        """
        self._upcoming[tenant] = routes
        async with self._writing:
            if self._written is None or not routes <= self._written:
                await self._write()

    def settled(self, tenant: Tenant) -> None:
        """Note that the store knows by now what is live of a tenant."""
        self._upcoming.pop(tenant, None)

    async def _write(self) -> None:
        upcoming = dict(self._upcoming)  # before the store is read: what leaves it is in there
        stored = {route for one in await self._wanted() for route in routes_of(one)}
        others = {route for route in stored if route.key.tenant not in upcoming}
        table = frozenset(others.union(*upcoming.values()))
        self._announce(table)
        await self._router.publish(table)
        self._written = table
