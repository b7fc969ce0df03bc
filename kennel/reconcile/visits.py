"""Noting that people use what is deployed. A visit is not written down each time."""

import time
from collections.abc import Sequence
from functools import partial

import structlog

from kennel.domain import Tenant
from kennel.errors import ProviderError
from kennel.lifecycle import Terms
from kennel.plan import Policy, Wanted
from kennel.plugin import Router
from kennel.store import Store, tenants

log = structlog.get_logger(__name__)
GRAIN = 20
"""A visit is written down when the last one is a twentieth of what is allowed ago."""
COARSEST = 3600.0


class Visits:
    """Asks the router who was visited, and notes it where it counts."""

    def __init__(self, store: Store, router: Router, policy: Policy) -> None:
        self._store = store
        self._router = router
        self._policy = policy

    async def note(self, wanted: Sequence[Wanted]) -> bool:
        """Note the visits since the last call. Return whether anything was written."""
        visited = await self._visited(wanted)
        now = time.time()
        due = [
            one.record.id
            for one in wanted
            if one.record.tenant in visited
            and not _rests(one)
            and is_due(one, self._policy.terms_of(one.record.tenant), now=now)
        ]
        if due:
            await self._store.write(partial(tenants.active, tenant_ids=due, now=now))
        return bool(due)

    async def _visited(self, wanted: Sequence[Wanted]) -> set[Tenant]:
        """Return who was visited: everybody where that cannot be told."""
        try:
            visited = await self._router.visited()
        except ProviderError as error:
            log.warning("cannot see who is visited: nobody is put to sleep", reason=str(error))
            visited = None
        return {one.record.tenant for one in wanted} if visited is None else set(visited)


def _rests(wanted: Wanted) -> bool:
    """Return whether its services are stopped: then the waker decides what a visit is worth."""
    return any(one.generation and one.generation.retired_at is not None for one in wanted.live)


def is_due(wanted: Wanted, terms: Terms, *, now: float) -> bool:
    """Return whether a visit at this moment has to be written down."""
    times = [after for after in (terms.sleep_after, terms.expire_after) if after is not None]
    if not wanted.record.wanted or not times:
        return False
    return abs(now - wanted.record.active_at) >= min(min(times) / GRAIN, COARSEST)
