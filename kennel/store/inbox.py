"""Webhooks that came in. A delivery is here before it is answered."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kennel.domain.delivery import NewDelivery, StoredDelivery
from kennel.store.tables import deliveries


def add(db: Connection, new: Sequence[NewDelivery]) -> list[int]:
    """Keep deliveries, all of them or none. Return their ids, in the same order."""
    rows = [
        {
            "forge": one.forge,
            "event": one.event,
            "delivery_id": one.delivery_id,
            "project": one.project,
            "headers": dict(one.headers),
            "body": one.body,
            "received_at": one.received_at,
            "outcome": "",
        }
        for one in new
    ]
    insert = sa.insert(deliveries).returning(deliveries.c.id, sort_by_parameter_order=True)
    return list(db.scalars(insert, rows))


def waiting(db: Connection, *, limit: int = 100) -> list[StoredDelivery]:
    """Return deliveries that nothing has been done about, oldest first."""
    query = sa.select(deliveries).where(deliveries.c.handled_at.is_(None))
    return [
        StoredDelivery(id=row.id, forge=row.forge, headers=row.headers, body=row.body)
        for row in db.execute(query.order_by(deliveries.c.id).limit(limit))
    ]


def is_repeated(db: Connection, delivery: int) -> bool:
    """Return whether a delivery of the same number, as its forge counts, came in before."""
    this = deliveries.alias()
    query = sa.select(deliveries.c.id).where(
        this.c.id == delivery,
        this.c.delivery_id != "",
        deliveries.c.delivery_id == this.c.delivery_id,
        deliveries.c.forge == this.c.forge,
        deliveries.c.id < this.c.id,
    )
    return db.execute(query.limit(1)).first() is not None


def handled(db: Connection, delivery: int, *, outcome: str, now: float) -> None:
    """Note what became of a delivery. Its body is not needed any more."""
    db.execute(
        sa.update(deliveries)
        .where(deliveries.c.id == delivery)
        .values(handled_at=now, outcome=outcome, body=b"")
    )


def recent(db: Connection, *, limit: int) -> list[sa.Row[tuple[object, ...]]]:
    """Return the newest deliveries without their bodies, newest first."""
    shown = [column for column in deliveries.c if column.name not in {"body", "headers"}]
    return list(db.execute(sa.select(*shown).order_by(deliveries.c.id.desc()).limit(limit)))


def prune(db: Connection, *, before: float) -> int:
    """Forget deliveries that were handled before a time. Return how many."""
    return db.execute(sa.delete(deliveries).where(deliveries.c.handled_at < before)).rowcount
