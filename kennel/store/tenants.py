"""Questions about refs: which are there, which are on their way out."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from kennel.domain import Environment, Ref, Tenant, environment_of
from kennel.domain.record import TenantRecord
from kennel.errors import NotFound
from kennel.store import builds, departures
from kennel.store.tables import builds as build_rows
from kennel.store.tables import deployments, generations, hosts, projects, provisions, tenants

_selected = sa.select(tenants, projects.c.name.label("project")).join(
    projects, tenants.c.project_id == projects.c.id
)


def record(row: Row[Any]) -> TenantRecord:
    """Return a row of tenants, with the name of its project beside it, as a record."""
    return TenantRecord(
        id=row.id,
        tenant=Tenant(row.project, Ref(row.ref)),
        environment=Environment(row.environment),
        trusted=row.trusted,
        wanted=row.wanted,
        active_at=row.active_at,
        confirmed=row.confirmed,
        purged=row.purged,
        pinned=row.pinned,
        stopped=row.stopped,
        restarts=row.restarts,
        head=row.head,
        approved=row.approved,
        labelled=row.labelled,
        heard_at=row.heard_at,
        seeded_at=row.seeded_at,
    )


def every(db: Connection) -> list[TenantRecord]:
    """Return every tenant that Kennel has heard of."""
    return [record(row) for row in db.execute(_selected)]


def find(db: Connection, tenant: Tenant) -> TenantRecord | None:
    """Return a tenant, if it is known."""
    same = (projects.c.name == tenant.project, tenants.c.ref == tenant.ref.name)
    row = db.execute(_selected.where(*same)).first()
    return record(row) if row else None


def known(db: Connection, tenant: Tenant) -> TenantRecord:
    """Return a tenant. Raises NotFound."""
    if found := find(db, tenant):
        return found
    raise NotFound(f"nothing is known of {tenant}: `kennel status {tenant.project}` lists its refs")


USED = {"confirmed": False}
"""What was ordered of a ref while nobody needed it, and does not hold for one that is used."""
RETURNED = {"confirmed": False, "purged": False, "stopped": False, "approved": ""}
"""What was decided of a ref that was gone, and does not hold for one that is back."""


def seen(
    db: Connection, *, project_id: int, ref: Ref, trusted: bool, now: float, head: str = ""
) -> bool:
    """Note that a ref is there and that something happened to it.

    `head`: the commit it is at, where that is known. Return whether it is new, or back again.
    """
    departures.forget(db, project_id=project_id, ref=ref)
    mine = (tenants.c.project_id == project_id, tenants.c.ref == ref.name)
    fresh: dict[str, object] = {"wanted": True, "trusted": trusted, **USED, "active_at": now}
    if head:
        fresh["head"] = head
    if db.execute(sa.update(tenants).where(*mine, tenants.c.wanted).values(**fresh)).rowcount:
        return False
    if not db.execute(sa.update(tenants).where(*mine).values(**{**fresh, **RETURNED})).rowcount:
        environment = environment_of(ref).value
        row = {"project_id": project_id, "ref": ref.name, "environment": environment}
        db.execute(sa.insert(tenants).values(**row, created_at=now, **fresh))
    return True


def active(db: Connection, *, tenant_ids: Collection[int], now: float) -> None:
    """Note that people use refs."""
    chosen = tenants.c.id.in_(list(tenant_ids))
    db.execute(sa.update(tenants).where(chosen).values(active_at=now, **USED))


def change(db: Connection, tenant_id: int, **values: object) -> None:
    """Note what somebody decided of a ref."""
    db.execute(sa.update(tenants).where(tenants.c.id == tenant_id).values(**values))


def gone(
    db: Connection,
    *,
    project_id: int,
    ref: Ref,
    now: float,
    reason: str = "",
    left_at: float | None = None,
    confirmed: bool = False,
) -> bool:
    """Note that a ref is gone: nothing of it is deployed any more, or will be.

    What it has in the world is taken away by the reconciler; the row stays until that is done, but
    for a ref of which nothing was ever built: it has nothing. Its custom domains are free at once.
    `reason`: why it is let go of, if it is not the forge that told so. `left_at`: when it left by
    the forge's clock. `confirmed`: a person ordered it. Return False if the ref was not known.
    """
    mine = (tenants.c.project_id == project_id, tenants.c.ref == ref.name)
    tenant_id = db.scalar(sa.select(tenants.c.id).where(*mine))
    why = reason or f"{ref} is gone"
    at = now if left_at is None else left_at
    departures.note(db, project_id=project_id, ref=ref, reason=reason, left_at=at)
    builds.cancel_under_way(
        db, project_id, ref, reason=why, now=now, states=("queued", "building", "built")
    )
    if tenant_id is None:
        return False
    db.execute(sa.update(tenants).where(*mine).values(wanted=False))
    if confirmed:
        change(db, tenant_id, confirmed=True)
    db.execute(sa.delete(deployments).where(deployments.c.tenant_id == tenant_id))
    if not _has_anything(db, tenant_id, project_id, ref):
        return forget(db, tenant_id)
    db.execute(sa.delete(hosts).where(hosts.c.tenant_id == tenant_id, hosts.c.custom))
    return True


def expire(db: Connection, tenant_id: int, *, active_at: float, now: float) -> bool:
    """Note that nobody needed a ref for so long that it goes.

    `active_at`: its last use, as far as whoever decided that knew. Return False if somebody has
    used it since, or pinned it, or it is gone already.
    """
    row = db.execute(sa.select(tenants).where(tenants.c.id == tenant_id)).first()
    if row is None or not row.wanted or row.pinned or row.active_at != active_at:
        return False
    reason = "expired: nobody needed it"
    return gone(db, project_id=row.project_id, ref=Ref(row.ref), now=now, reason=reason)


def _has_anything(db: Connection, tenant_id: int, project_id: int, ref: Ref) -> bool:
    """Return whether a ref may have resources or units: whether it ever came to a deployment."""
    built = sa.select(build_rows.c.id).where(
        build_rows.c.project_id == project_id,
        build_rows.c.ref == ref.name,
        build_rows.c.built_at.is_not(None),
    )
    held = [
        sa.select(t.c.tenant_id).where(t.c.tenant_id == tenant_id)
        for t in (generations, hosts, provisions)
    ]
    return any(db.execute(query.limit(1)).first() for query in (built, *held))


def is_served(db: Connection, tenant_id: int) -> bool:
    """Return whether anything of a ref is live or on its way."""
    mine = (build_rows.c.project_id == tenants.c.project_id, build_rows.c.ref == tenants.c.ref)
    coming = build_rows.c.state.in_(("queued", "building", "built"))
    query = sa.select(tenants.c.id).where(
        tenants.c.id == tenant_id,
        sa.or_(
            sa.exists().where(deployments.c.tenant_id == tenants.c.id),
            sa.exists().where(*mine, coming),
        ),
    )
    return db.execute(query).first() is not None


def leave_previews(db: Connection, *, project_id: int, now: float) -> None:
    """Note that no preview of a project is to be there.

    That they left is not remembered: they come back with the next look at the repository once
    previews are on again.
    """
    mine = sa.select(tenants.c.ref).where(
        tenants.c.project_id == project_id,
        tenants.c.environment == Environment.PREVIEW.value,
        tenants.c.wanted,
    )
    refs = [Ref(name) for name in db.scalars(mine)]
    for ref in refs:
        reason = "previews are off for the project"
        gone(db, project_id=project_id, ref=ref, now=now, reason=reason, confirmed=True)
        departures.forget(db, project_id=project_id, ref=ref)


def forget(db: Connection, tenant_id: int) -> bool:
    """Drop the row of a tenant of which nothing is left. Return False if it came back."""
    row = db.execute(sa.select(tenants).where(tenants.c.id == tenant_id)).first()
    if row is None or row.wanted:
        return False
    for table in (deployments, generations, hosts, provisions):
        db.execute(sa.delete(table).where(table.c.tenant_id == tenant_id))
    db.execute(sa.delete(tenants).where(tenants.c.id == tenant_id))
    return True


def leave(db: Connection, *, project_id: int, now: float) -> None:
    """Note that every ref of a project that is being removed is gone."""
    mine = sa.select(tenants.c.ref).where(tenants.c.project_id == project_id)
    for ref in list(db.scalars(mine)):
        gone(db, project_id=project_id, ref=Ref(ref), now=now, confirmed=True)


def forget_projects(db: Connection) -> list[str]:
    """Drop removed projects of which no tenant is left, with their history. Return their names."""
    empty = sa.select(projects).where(
        projects.c.removed,
        ~sa.exists().where(tenants.c.project_id == projects.c.id),
    )
    dropped = []
    for row in db.execute(empty).all():
        db.execute(sa.delete(build_rows).where(build_rows.c.project_id == row.id))
        departures.forget(db, project_id=row.id)
        db.execute(sa.delete(projects).where(projects.c.id == row.id))
        dropped.append(row.name)
    return dropped
