"""Forgetting: what the store keeps of the past, and for how long."""

import asyncio
import time

import structlog
from sqlalchemy.engine import Connection

from kennel.store import Store, builds, departures, inbox

log = structlog.get_logger(__name__)
EVERY = 3600.0
"""Seconds between two times of forgetting."""
DAYS = 30
"""How long deliveries are remembered, and the builds of refs that are gone."""
GONE_DAYS = 365
"""How long it is remembered that a ref is gone: somebody may have the forge deliver it again."""
BUILDS = 100
"""How many builds of a ref are remembered, at least."""


async def run(store: Store, *, keep: int) -> None:
    """Forget what is old, now and for ever. `keep`: good builds of a ref that are needed."""
    while True:
        try:
            await forget(store, keep=max(keep, BUILDS), now=time.time())
        except Exception:  # such as a database that is away: there is no hurry
            log.exception("cannot forget what is old")
        await asyncio.sleep(EVERY)


async def forget(store: Store, *, keep: int, now: float) -> None:
    """Forget what is old at a time."""
    before, long_before = (now - days * 24 * 3600.0 for days in (DAYS, GONE_DAYS))

    def change(db: Connection) -> tuple[int, int]:
        departures.prune(db, before=long_before)
        return inbox.prune(db, before=before), builds.prune(db, keep=keep, before=before)

    deliveries, forgotten = await store.write(change)
    if deliveries or forgotten:
        log.info("forgot what is old", deliveries=deliveries, builds=forgotten)
