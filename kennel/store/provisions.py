"""What tenants are provided with: recorded before it is there, until it is gone again."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kennel.plan import Provision
from kennel.store import builds
from kennel.store.tables import provisions, tenants


def by_tenant(db: Connection) -> dict[int, list[Provision]]:
    """Return what every tenant may have, by the id of its row."""
    found: dict[int, list[Provision]] = {}
    for row in db.execute(sa.select(provisions).order_by(provisions.c.resource)):
        one = Provision(resource=row.resource, given=row.given, served=row.served)
        found.setdefault(row.tenant_id, []).append(one)
    return found


def of(db: Connection, tenant_id: int) -> list[str]:
    """Return the resources that a tenant may have."""
    mine = sa.select(provisions.c.resource).where(provisions.c.tenant_id == tenant_id)
    return sorted(db.scalars(mine))


def note(db: Connection, tenant_id: int, *, resources: Collection[str], now: float) -> None:
    """Note that a tenant may have resources from here on: before any of them is made."""
    for resource in sorted(set(resources).difference(of(db, tenant_id))):
        row = {"tenant_id": tenant_id, "resource": resource, "noted_at": now}
        db.execute(sa.insert(provisions).values(**row))


def doubt(db: Connection, tenant_id: int, *, resources: Collection[str], now: float) -> None:
    """Note that resources are to be made again: whatever becomes of Kennel, it does so."""
    note(db, tenant_id, resources=resources, now=now)
    chosen = provisions.c.tenant_id == tenant_id, provisions.c.resource.in_(list(resources))
    db.execute(sa.update(provisions).where(*chosen).values(given=""))


def gave(db: Connection, tenant_id: int, *, digests: Mapping[str, str]) -> None:
    """Note the digests of how resources are reached, by resource."""
    for resource, digest in digests.items():
        chosen = provisions.c.tenant_id == tenant_id, provisions.c.resource == resource
        db.execute(sa.update(provisions).where(*chosen).values(given=digest))


def serve(db: Connection, tenant_id: int) -> None:
    """Note that what is live, or is about to be, finds what was given last."""
    mine = provisions.c.tenant_id == tenant_id
    db.execute(sa.update(provisions).where(mine).values(served=provisions.c.given))


def renew(db: Connection, tenant_id: int, *, build_id: int, now: float) -> bool:
    """Let what is live be deployed once more, to find what was given since.

    That is tried once: if it fails, its build says why. False: something is on its way already, and
    finds it.
    """
    if builds.waits_beside(db, build_id) or not builds.again(db, build_id, now=now):
        return False
    serve(db, tenant_id)
    return True


def drop(db: Connection, tenant_id: int, *, resource: str) -> None:
    """Forget a resource that is gone. Whatever is made in its place is empty: it is seeded."""
    chosen = provisions.c.tenant_id == tenant_id, provisions.c.resource == resource
    db.execute(sa.delete(provisions).where(*chosen))
    db.execute(sa.update(tenants).where(tenants.c.id == tenant_id).values(seeded_at=None))
