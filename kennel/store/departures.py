"""Refs that left. Deliveries may come late: what is older than that does not bring a ref back."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kennel.domain import Ref
from kennel.store.builds import HEAD
from kennel.store.tables import builds, departures, tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """A ref that left. `commit`: its head then, "" where that is not known.

    `reason`: why Kennel let go of it, although it is there; "" where the forge told that it is
    gone. `left_at`: seconds since the epoch, by the forge's clock where it told.
    """

    ref: Ref
    commit: str
    reason: str
    left_at: float


def note(db: Connection, *, project_id: int, ref: Ref, reason: str, left_at: float) -> None:
    """Note that a ref leaves, whether it was known or not. `reason`: as of `Departure`."""
    forget(db, project_id=project_id, ref=ref)
    row = {"project_id": project_id, "ref": ref.name, "commit": _head(db, project_id, ref)}
    db.execute(sa.insert(departures).values(**row, reason=reason, left_at=left_at))


def _head(db: Connection, project_id: int, ref: Ref) -> str:
    """Return the newest commit that was heard of, or built, of a ref."""
    heard = sa.select(tenants.c.head).where(
        tenants.c.project_id == project_id, tenants.c.ref == ref.name, tenants.c.head != ""
    )
    newest = sa.select(builds.c.commit).where(
        builds.c.project_id == project_id, builds.c.ref == ref.name, builds.c.commit != HEAD
    )
    newest = newest.order_by(builds.c.id.desc()).limit(1)
    return str(db.scalar(heard) or db.scalar(newest) or "")


def forget(db: Connection, *, project_id: int, ref: Ref | None = None) -> None:
    """Forget that a ref left, or every ref of a project."""
    mine = [departures.c.project_id == project_id]
    if ref is not None:
        mine.append(departures.c.ref == ref.name)
    db.execute(sa.delete(departures).where(*mine))


def find(db: Connection, *, project_id: int, ref: Ref) -> Departure | None:
    """Return when and why a ref left, if it did and is not back."""
    mine = (departures.c.project_id == project_id, departures.c.ref == ref.name)
    row = db.execute(sa.select(departures).where(*mine)).first()
    return _departure(row) if row else None


def of_project(db: Connection, project_id: int) -> dict[Ref, Departure]:
    """Return the refs of a project that left, and are not back."""
    rows = db.execute(sa.select(departures).where(departures.c.project_id == project_id))
    found = [_departure(row) for row in rows]
    return {one.ref: one for one in found}


def prune(db: Connection, *, before: float) -> int:
    """Forget what was gone before a time. Return how many that were.

    What Kennel let go of may be there for ever, and is not to come back.
    """
    old = (departures.c.left_at < before, departures.c.reason == "")
    return db.execute(sa.delete(departures).where(*old)).rowcount


def _departure(row: sa.Row[tuple[object, ...]]) -> Departure:
    values = row._mapping  # noqa: SLF001  its public name
    return Departure(
        ref=Ref(values["ref"]),
        commit=values["commit"],
        reason=values["reason"],
        left_at=values["left_at"],
    )
