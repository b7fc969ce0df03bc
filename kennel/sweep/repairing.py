"""Do what a webhook would have done, in one transaction."""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from sqlalchemy.engine import Connection

from kennel.domain import PullRequestClosed, RefDeleted, Tenant
from kennel.domain.record import Project
from kennel.intake import OfARef, apply_to
from kennel.store import tenants
from kennel.sweep.compare import Repairs

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was done about a ref. `kind`: "changed", "gone" or "held"; `why`: for people."""

    tenant: Tenant
    kind: str
    commit: str
    why: str


def repair(
    db: Connection,
    project: Project,
    repairs: Repairs,
    *,
    now: float,
    confirmed: bool,
    label: str | None = None,
) -> list[Repair]:
    """Make up for webhooks that never came.

    `confirmed`: a person has ordered what goes. `label`: the one that approves of pull requests.
    """
    done = [*_applied(db, project, repairs, now, label)]
    for ref, commit in repairs.heads:
        if there := tenants.find(db, Tenant(project.name, ref)):
            tenants.change(db, there.id, head=commit)
    for one in done:
        if confirmed and one.kind == "gone" and (left := tenants.find(db, one.tenant)):
            tenants.change(db, left.id, confirmed=True)
    return done


def _applied(
    db: Connection, project: Project, repairs: Repairs, now: float, label: str | None
) -> Iterator[Repair]:
    for event in (*repairs.changed, *repairs.gone):
        try:
            with db.begin_nested():
                outcome = apply_to(db, project, event, now=now, label=label)
        except Exception:  # one that we cannot digest must not hold up the others
            log.exception("cannot repair", project=project.name, ref=str(event.ref))
            continue
        yield _repair(project, event, outcome)


def _repair(project: Project, event: OfARef, outcome: str) -> Repair:
    commit = "" if isinstance(event, RefDeleted | PullRequestClosed) else event.commit
    return Repair(
        tenant=Tenant(project.name, event.ref),
        kind="changed" if commit else "gone",
        commit=commit,
        why=outcome,
    )
