"""Pull requests from forks: nothing of them is built until somebody with a say approves it."""

from sqlalchemy.engine import Connection

from kennel.domain.record import EVERY_COMMIT, TenantRecord
from kennel.store import builds, tenants


def approve(
    db: Connection,
    record: TenantRecord,
    project_id: int,
    *,
    commit: str,
    every: bool = False,
    now: float,
) -> int | None:
    """Let a commit of an untrusted ref be built, or `every` one. Return its build, if one is new.

    It stays untrusted: what comes of it is pushed to no cache.
    """
    tenants.change(db, record.id, approved=EVERY_COMMIT if every else commit, active_at=now)
    return builds.queue(
        db, project_id=project_id, ref=record.tenant.ref, commit=commit, trusted=False, now=now
    )


def withdraw(db: Connection, record: TenantRecord) -> None:
    """Let no new commit of a ref be built. What is live of it stays."""
    tenants.change(db, record.id, approved="")


def waits_for(record: TenantRecord, label: str) -> str:
    """Return what a ref waits for whose head may not be built."""
    tenant = record.tenant
    by_hand = f"`kennel approve {tenant.project} {tenant.ref}`"
    return f"waits for approval of {record.head[:12]}: set the label {label!r}, or {by_hand}"
