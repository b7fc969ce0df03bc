"""What becomes of a build once the head of its ref is known.

    the head is             its ref is            then
    ------------------------------------------------------------------------------------------
    the commit, or any      trusted, or approved  it goes on
     "                      "                     it waits, while another ref builds that commit
    another commit          "                     it is superseded: that one is queued
    anything                not approved          it is cancelled, and nothing is queued
    whatever a person       anything              it goes on: that was an approval
    wanted to have built

Deliveries come late, twice and out of order, and anybody may push to a pull request: the
repository alone says what the head is, and the store whether it may be built.
"""

from typing import Any

from kennel.domain.record import EVERY_COMMIT, Build, TenantRecord
from kennel.store import builds, tenants, twins


class Over(Exception):
    """A build does not go on. That is recorded; the text says why."""


def aim(db: Any, build: Build, *, project_id: int, head: str, now: float) -> str | None:
    """Record what becomes of a build whose ref is at `head`.

    Return None if it is to go on, else why not.
    """
    record = tenants.find(db, build.tenant)
    if record is None or not builds.wanted(db, build.id):
        return "cancelled"
    ordered = build.commit == builds.HEAD
    if not ordered and not record.may_build(head):
        return _waits_for_approval(db, build, record, head, now)
    _heard(db, record, head, approved=ordered)
    if ordered:
        builds.aim(db, build.id, commit=head)
    elif head != build.commit:
        return _superseded(db, build, record, project_id=project_id, head=head, now=now)
    elif other := twins.under_way(db, build.id):
        builds.requeue(db, build.id)
        return f"waits for build {other} of the same commit"
    return None


def _heard(db: Any, record: TenantRecord, head: str, *, approved: bool = False) -> None:
    """Note the head; and that a person wants it, which must outlive a restart."""
    if record.head != head:
        tenants.change(db, record.id, head=head)
    if approved and not record.trusted and record.approved != EVERY_COMMIT:
        tenants.change(db, record.id, approved=head)


def _waits_for_approval(db: Any, build: Build, record: TenantRecord, head: str, now: float) -> str:
    _heard(db, record, head)
    reason = f"waits for approval of {head[:12]}"
    builds.cancelled(db, build.id, reason=reason, now=now)
    return reason


def _superseded(
    db: Any, build: Build, record: TenantRecord, *, project_id: int, head: str, now: float
) -> str:
    """Queue the head instead, with the trust its ref has."""
    reason = f"superseded by {head[:12]}"
    if builds.cancelled(db, build.id, reason=reason, now=now):
        builds.queue(
            db,
            project_id=project_id,
            ref=build.tenant.ref,
            commit=head,
            trusted=record.trusted,
            now=now,
        )
    return reason
