"""Pull requests from forks: nothing of them is built until somebody with a say approves it.

    the label is set            the commit that the forge names with it may be built
    `kennel approve`            the head, or with --always every commit
    the label is taken off      what was approved and is not live yet is not built any more
    `kennel approve --withdraw` the same, and --always ends

Whoever opens a pull request can push to it, close it and open it again, and can set no label. So
only that the label was *set* says anything, and only of the commit that was the head then.
"""

from sqlalchemy.engine import Connection

from kennel.domain import PullRequestChanged
from kennel.domain.record import EVERY_COMMIT, TenantRecord
from kennel.store import builds, projects, tenants

NOT_LIVE = ("queued", "building", "built")


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
    return build(db, record, project_id, commit=commit, now=now)


def build(
    db: Connection, record: TenantRecord, project_id: int, *, commit: str, now: float
) -> int | None:
    """Queue a commit of an untrusted ref that may be built. None: it is on its way, or was live.

    A ref that was closed and is open again has a history, and nothing of it is live.
    """
    ref = record.tenant.ref
    return builds.queue(
        db,
        project_id=project_id,
        ref=ref,
        commit=commit,
        trusted=False,
        now=now,
        again=not tenants.is_served(db, record.id),
    )


def withdraw(db: Connection, record: TenantRecord, *, now: float) -> None:
    """Let no new commit of a ref be built, nor what waits to be deployed. What is live stays."""
    tenants.change(db, record.id, approved="")
    project = projects.by_name(db, record.tenant.project)
    reason = "its approval was withdrawn"
    builds.cancel_under_way(
        db, project.id, record.tenant.ref, reason=reason, now=now, states=NOT_LIVE
    )


def is_approval(
    event: PullRequestChanged, label: str, *, before: TenantRecord | None, is_new: bool
) -> bool:
    """Return whether somebody who may write to the repository approved of a commit with a label.

    `before`: what was known of the pull request; None where it was not there. `is_new`: nothing was
    ever heard of it. Where the forge does not tell which label was set, one counts as set only if
    it is known not to have been there before.
    """
    if not label or label not in event.labels:
        return False
    if event.opened:
        return is_new
    if not event.relabelled:
        return False
    if event.added is not None:
        return label in event.added
    return before is not None and not before.labelled


def waits_for(record: TenantRecord, label: str) -> str:
    """Return what a ref waits for whose head may not be built. `label`: "" where none approves."""
    tenant = record.tenant
    ways = [f"`kennel approve {tenant.project} {tenant.ref}`"]
    if label:
        again = f"take the label {label!r} off and set it again"
        ways.insert(0, again if record.labelled else f"set the label {label!r}")
    return f"waits for approval of {record.head[:12] or 'its head'}: {', or '.join(ways)}"
