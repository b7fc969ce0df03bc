"""Builds of one commit on several refs of a project: it is built once."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kennel.domain.record import Build
from kennel.store.builds import record, selected
from kennel.store.tables import builds

MOST = 5
"""How many builds are worth a look: the newest were kept."""


def built(db: Connection, build_id: int) -> list[Build]:
    """Return other builds of a build's commit that gave something, newest first."""
    gave = (builds.c.built_at.is_not(None), builds.c.outputs.is_not(None))
    query = selected.where(*_others(db, build_id), *gave)
    return [record(row) for row in db.execute(query.order_by(builds.c.id.desc()).limit(MOST))]


def under_way(db: Connection, build_id: int) -> int | None:
    """Return another build that is building a build's commit, if there is one."""
    mine = (*_others(db, build_id), builds.c.state == "building")
    return db.scalar(sa.select(builds.c.id).where(*mine).limit(1))


def failed_meanwhile(db: Connection, build_id: int, among: Collection[int]) -> Build | None:
    """Return one of some builds that failed with a build's commit while that was waiting for it.

    What failed for a commit that nobody trusts says nothing of one that is trusted: it had no
    credentials for submodules.
    """
    mine = db.execute(sa.select(builds).where(builds.c.id == build_id)).one()
    query = selected.where(
        *_others(db, build_id),
        builds.c.id.in_(list(among)),
        builds.c.state == "failed",
        builds.c.finished_at >= mine.created_at,
        sa.or_(builds.c.trusted, sa.literal(not mine.trusted)),
    )
    row = db.execute(query.order_by(builds.c.id.desc()).limit(1)).first()
    return record(row) if row else None


def _others(db: Connection, build_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    mine = db.execute(sa.select(builds).where(builds.c.id == build_id)).one()
    return (
        builds.c.project_id == mine.project_id,
        builds.c.commit == mine.commit,
        builds.c.id != build_id,
    )
