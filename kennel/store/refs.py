"""What is known of the refs of a project, for whoever compares it with the repository."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from kennel.domain import Ref
from kennel.store import departures
from kennel.store.builds import HEAD, UNDER_WAY
from kennel.store.tables import builds, projects, tenants
from kennel.sweep.compare import Known, Left, Wanted


def known(db: Connection, *, of: int, label: str) -> Known | None:
    """Return what is known of the refs of a project; None if it is gone, or is to go.

    `of`: its number. `label`: what approves of a pull request.
    """
    project = db.execute(sa.select(projects).where(projects.c.id == of)).first()
    if project is None or project.removed:
        return None
    newest = _newest(db, of)
    wanted = sa.select(tenants).where(tenants.c.project_id == of, tenants.c.wanted)
    left = departures.of_project(db, of)
    return Known(
        wanted={Ref(row.ref): _wanted(row, newest.get(row.ref, [])) for row in db.execute(wanted)},
        left={
            ref: Left(commit=one.commit, let_go=bool(one.reason), at=one.left_at)
            for ref, one in left.items()
        },
        previews=project.previews,
        label=label,
    )


def _newest(db: Connection, project_id: int) -> Mapping[str, list[Any]]:
    """Return the newest build of each ref, and the newest that was not cancelled, newest first."""
    counts = sa.case((builds.c.state != "cancelled", builds.c.id))
    picked = [
        sa.select(sa.func.max(number))
        .where(builds.c.project_id == project_id)
        .group_by(builds.c.ref)
        for number in (builds.c.id, counts)
    ]
    query = sa.select(builds.c.ref, builds.c.id, builds.c.commit, builds.c.state)
    query = query.where(sa.or_(*(builds.c.id.in_(one) for one in picked)))
    found: dict[str, list[Any]] = {}
    for row in db.execute(query.order_by(builds.c.id.desc())):
        found.setdefault(row.ref, []).append(row)
    return found


def _wanted(row: Row[Any], newest: list[Any]) -> Wanted:
    commits = {build.commit for build in newest}
    if not row.trusted:  # it may wait for somebody's approval, and is not built until then
        commits.add(row.head)
    return Wanted(
        newest=newest[0].id if newest else 0,
        head=row.head,
        commits=frozenset(commits),
        heading=any(build.commit == HEAD and build.state in UNDER_WAY for build in newest),
        trusted=row.trusted,
        labelled=row.labelled,
    )
