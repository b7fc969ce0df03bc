"""What follows from what happens to a pull request.

what happened               follows
--------------------------------------------------------------------------------------
it was opened, pushed to    build it; one from a fork waits until its commit is approved
it was reopened             the same, at the same commit too
its labels changed          the label that approves approves, or its absence withdraws that
its base changed            (none): it is needed, and counts as visited
it was closed               it is gone
it came in late             (none): something newer is known

A forge tells when each of these was so, in whole seconds, and deliveries overtake each other. What
is as old as the end of a pull request was before it; but for its being reopened, which was after.
"""

from sqlalchemy.engine import Connection

from kennel import approval
from kennel.domain import PullRequestChanged, PullRequestClosed, Tenant
from kennel.domain.record import EVERY_COMMIT, Project, TenantRecord
from kennel.store import builds, departures, tenants
from kennel.store.departures import Departure


def changed(
    db: Connection, project: Project, event: PullRequestChanged, *, label: str | None, now: float
) -> str:
    """Do what follows from a change. Return what that was, for people.

    `label`: the one that approves; None where nothing is to be learnt from labels.
    """
    tenant = Tenant(project.name, event.ref)
    if not project.previews:
        return f"ignored: previews are off for {project.name}"
    before, left = _there(db, tenant), departures.find(db, project_id=project.id, ref=event.ref)
    if why := _is_late(event, before) or _is_over(event, left):
        return f"ignored: {why}"
    if event.relabelled and event.trusted and (before is None or before.trusted):
        if before is not None:
            _note(db, before, event, label)
        return "ignored: only labels changed"
    is_back = tenants.seen(
        db, project_id=project.id, ref=event.ref, trusted=event.trusted, now=now, head=event.commit
    )
    _note(db, tenants.known(db, tenant), event, label)
    if not event.trusted:
        is_new = before is None and left is None
        _judge(db, tenant, event, label, before=before, is_new=is_new, now=now)
    if _is_retargeted(event, before):
        return f"{tenant} has another base: there is nothing to build"
    return _build(db, project, tenants.known(db, tenant), event.commit, is_back=is_back, now=now)


def _build(
    db: Connection,
    project: Project,
    record: TenantRecord,
    commit: str,
    *,
    is_back: bool,
    now: float,
) -> str:
    """Queue a commit, if it may be built. Return what came of that."""
    tenant = record.tenant
    if not record.may_build(commit):
        return f"{tenant} waits for approval of {commit[:12]}: its head is not in the repository"
    if record.trusted:
        number = builds.queue(
            db,
            project_id=project.id,
            ref=tenant.ref,
            commit=commit,
            trusted=True,
            now=now,
            again=is_back,
        )
    else:
        number = approval.build(db, record, project.id, commit=commit, now=now)
    return f"build {number} of {tenant}" if number else f"{tenant} has {commit[:12]} already"


def closed(db: Connection, project: Project, event: PullRequestClosed, *, now: float) -> str:
    """Do what follows from the end of a pull request. Return what that was, for people."""
    tenant = Tenant(project.name, event.ref)
    left = departures.find(db, project_id=project.id, ref=event.ref)
    if why := _is_late(event, _there(db, tenant)):
        return f"ignored: {why}"
    if left and not left.reason and event.updated_at and event.updated_at <= left.left_at:
        return "ignored: that it is gone came in before"
    if tenants.gone(db, project_id=project.id, ref=event.ref, now=now, left_at=event.updated_at):
        return f"{tenant} is gone"
    return f"ignored: nothing was deployed for {tenant}"


def _there(db: Connection, tenant: Tenant) -> TenantRecord | None:
    """Return what is known of a pull request that is open."""
    record = tenants.find(db, tenant)
    return record if record and record.wanted else None


def _is_late(event: PullRequestChanged | PullRequestClosed, before: TenantRecord | None) -> str:
    """Return why nothing follows from news that something newer is known of, "" otherwise."""
    if before is None or before.heard_at is None or event.updated_at is None:
        return ""
    late = event.updated_at < before.heard_at
    return f"it is older than what is known of {event.ref}" if late else ""


def _is_over(event: PullRequestChanged, left: Departure | None) -> str:
    """Return why nothing follows from news that are from before the end, "" otherwise.

    What Kennel let go of by itself is open: a new commit is news whatever its time.
    """
    if left is None or event.updated_at is None:
        return ""
    if left.reason and event.commit != left.commit:
        return ""
    is_after = event.updated_at > left.left_at
    is_after |= event.reopened and event.updated_at == left.left_at
    return "" if is_after else f"it is older than the end of {event.ref}"


def _is_retargeted(event: PullRequestChanged, before: TenantRecord | None) -> bool:
    """Return whether a pull request only has another base than before."""
    same = (event.trusted, event.commit)
    return event.retargeted and before is not None and (before.trusted, before.head) == same


def _note(
    db: Connection, record: TenantRecord, event: PullRequestChanged, label: str | None
) -> None:
    """Note of when the news are, and whether the label that approves is there."""
    heard_at = record.heard_at if event.updated_at is None else event.updated_at
    labelled = record.labelled if label is None else label in event.labels
    tenants.change(db, record.id, heard_at=heard_at, labelled=labelled)


def _judge(
    db: Connection,
    tenant: Tenant,
    event: PullRequestChanged,
    label: str | None,
    *,
    before: TenantRecord | None,
    is_new: bool,
    now: float,
) -> None:
    """Note what the label says of an untrusted commit. What is approved for ever stays so."""
    record = tenants.known(db, tenant)
    if label is None or record.approved == EVERY_COMMIT:
        return
    if approval.is_approval(event, label, before=before, is_new=is_new):
        tenants.change(db, record.id, approved=event.commit)
    elif before is not None and before.labelled and label not in event.labels:
        approval.withdraw(db, record, now=now)
