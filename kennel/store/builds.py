r"""The queue and the history of builds.

    queued -> building -> built -> done
       \          \       / \      /
        `----------`-----/---`--> failed, cancelled
                        `---- again: rolled back to, restarted

Every change of state names the state it comes from, so that of two who race one wins.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from kennel.domain import Manifest, Outputs, Ref, SecretSpec, Tenant
from kennel.domain.record import Build, Project
from kennel.errors import NotFound
from kennel.store import projects
from kennel.store.tables import builds, deployments, generations, tenants
from kennel.store.tables import projects as project_rows

HEAD = "0" * 40
"""The commit of a build that is to take whatever its ref points to when it starts."""

UNDER_WAY = ("queued", "building")
ON_ITS_WAY = (*UNDER_WAY, "built")
_is_building = builds.c.state == "building"
CALLED_OFF = "superseded by build "
"""How the reason begins of a build that waited to be live when a person wanted an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A build that a worker has taken, and the project it is of."""

    build: Build
    project: Project


selected = sa.select(builds, project_rows.c.name.label("project")).join(
    project_rows, builds.c.project_id == project_rows.c.id
)
"""Builds, with the names of their projects: what `record` takes."""


def record(row: Row[Any]) -> Build:
    """Return a row of builds, with the name of its project beside it, as a record."""
    return Build(
        id=row.id,
        tenant=Tenant(row.project, Ref(row.ref)),
        commit=row.commit,
        state=row.state,
        reason=row.reason,
        trusted=row.trusted,
        manifest=msgspec.convert(row.manifest, Manifest) if row.manifest else None,
        outputs=msgspec.convert(row.outputs, Outputs) if row.outputs else None,
        created_at=row.created_at,
        started_at=row.started_at,
        built_at=row.built_at,
        finished_at=row.finished_at,
        released_at=row.released_at,
        good_at=row.good_at,
        secrets=msgspec.convert(row.secrets, SecretSpec) if row.secrets else None,
    )


def get(db: Connection, build_id: int) -> Build:
    """Return a build. Raises NotFound."""
    row = db.execute(selected.where(builds.c.id == build_id)).first()
    if row is None:
        raise NotFound(f"there is no build {build_id}: `kennel builds` lists them")
    return record(row)


def recent(
    db: Connection, *, project: str | None = None, ref: Ref | None = None, limit: int = 20
) -> list[Build]:
    """Return the newest builds, newest first."""
    query = selected.order_by(builds.c.id.desc()).limit(limit)
    if project is not None:
        query = query.where(project_rows.c.name == project)
    if ref is not None:
        query = query.where(builds.c.ref == ref.name)
    return [record(row) for row in db.execute(query)]


def built_ones(db: Connection) -> list[Build]:
    """Return the builds that wait to be deployed, oldest first."""
    query = selected.where(builds.c.state == "built").order_by(builds.c.id)
    return [record(row) for row in db.execute(query)]


def latest(db: Connection) -> list[Build]:
    """Return the newest build of every ref: one that was cancelled only where there is no other."""
    counts = sa.case((builds.c.state != "cancelled", builds.c.id))
    newest = sa.select(sa.func.coalesce(sa.func.max(counts), sa.func.max(builds.c.id)))
    newest = newest.group_by(builds.c.project_id, builds.c.ref)
    return [record(row) for row in db.execute(selected.where(builds.c.id.in_(newest)))]


def queue(
    db: Connection,
    *,
    project_id: int,
    ref: Ref,
    commit: str,
    trusted: bool,
    now: float,
    again: bool = False,
) -> int | None:
    """Queue a commit and cancel what it supersedes. Return its id.

    Return None where nothing has to be done: the newest build of the ref that counts is of this
    commit, and is on its way; or it was live, or called off by a person, and the ref is served.
    `again` builds it all the same: the ref is back, or a person wants it.
    """
    newest = _newest(db, project_id, ref)
    same = newest is not None and newest.commit == commit and newest.state != "failed"
    if same and not again and _is_served(db, project_id, ref):
        return None
    cancel_under_way(db, project_id, ref, reason=f"superseded by {commit[:12]}", now=now)
    values = {
        "project_id": project_id,
        "ref": ref.name,
        "commit": commit,
        "state": "queued",
        "reason": "",
        "trusted": trusted,
        "created_at": now,
    }
    inserted = db.execute(sa.insert(builds).values(**values).returning(builds.c.id))
    return int(inserted.scalar_one())


def _newest(db: Connection, project_id: int, ref: Ref) -> Any:
    """Return the newest build of a ref that was not cancelled, but for one that was called off."""
    mine = (builds.c.project_id == project_id, builds.c.ref == ref.name)
    counts = sa.or_(builds.c.state != "cancelled", builds.c.reason.startswith(CALLED_OFF))
    query = sa.select(builds.c.id, builds.c.commit, builds.c.state).where(*mine, counts)
    return db.execute(query.order_by(builds.c.id.desc()).limit(1)).first()


def _is_served(db: Connection, project_id: int, ref: Ref) -> bool:
    """Return whether anything of a ref is live or on its way: what was before it left is not."""
    mine = (tenants.c.project_id == project_id, tenants.c.ref == ref.name)
    live = sa.exists().where(*mine, deployments.c.tenant_id == tenants.c.id)
    coming = sa.exists().where(
        builds.c.project_id == project_id, builds.c.ref == ref.name, builds.c.state.in_(ON_ITS_WAY)
    )
    return bool(db.scalar(sa.select(sa.or_(live, coming))))


def cancel_under_way(
    db: Connection,
    project_id: int,
    ref: Ref,
    *,
    reason: str,
    now: float,
    states: Sequence[str] = UNDER_WAY,
) -> None:
    """Cancel the builds of a ref that are in one of the states. A worker notices and stops."""
    db.execute(
        sa.update(builds)
        .where(builds.c.project_id == project_id, builds.c.ref == ref.name)
        .where(builds.c.state.in_(states))
        .values(state="cancelled", reason=reason, finished_at=now)
    )


def claim(db: Connection, *, now: float) -> Claimed | None:
    """Take the next build: of the project that has waited longest since its last start.

    Return None where nothing can be started: nothing is queued, or only refs that are building, or
    commits that another ref of their project is building. Those are built once; who waits for them
    waits in the queue, and holds up nobody.
    """
    busy = sa.select(builds.c.project_id, builds.c.ref).where(_is_building)
    shared = sa.select(builds.c.project_id, builds.c.commit)
    shared = shared.where(_is_building, builds.c.commit != HEAD)
    last = (
        sa.select(builds.c.project_id, sa.func.max(builds.c.started_at).label("at"))
        .group_by(builds.c.project_id)
        .subquery()
    )
    waiting = (
        selected.join(last, last.c.project_id == builds.c.project_id)
        .where(builds.c.state == "queued")
        .where(sa.tuple_(builds.c.project_id, builds.c.ref).not_in(busy))
        .where(sa.tuple_(builds.c.project_id, builds.c.commit).not_in(shared))
        .order_by(sa.func.coalesce(last.c.at, 0.0), builds.c.id)
        .limit(1)
    )
    row = db.execute(waiting).first()
    if row is None or not _move(db, row.id, "queued", state="building", started_at=now):
        return None
    return Claimed(build=get(db, row.id), project=projects.by_id(db, row.project_id))


def _move(db: Connection, build_id: int, *come_from: str, **values: object) -> bool:
    change = sa.update(builds).where(builds.c.id == build_id, builds.c.state.in_(come_from))
    return db.execute(change.values(**values)).rowcount == 1


def aim(db: Connection, build_id: int, *, commit: str) -> None:
    """Note which commit a build of `HEAD` turned out to be of."""
    chosen = (builds.c.id == build_id, builds.c.commit == HEAD)
    db.execute(sa.update(builds).where(*chosen).values(commit=commit))


def wanted(db: Connection, build_id: int) -> bool:
    """Return whether a build that was started should go on."""
    return db.scalar(sa.select(builds.c.state).where(builds.c.id == build_id)) == "building"


def built(
    db: Connection,
    build_id: int,
    *,
    manifest: Manifest,
    outputs: Outputs,
    now: float,
    secrets: SecretSpec | None = None,
) -> bool:
    """Record what a build gave: from here on it waits to be deployed.

    Return False if it was cancelled meanwhile. Older ones of its ref that wait too are not
    deployed any more.
    """
    if not _move(
        db,
        build_id,
        "building",
        state="built",
        built_at=now,
        manifest=msgspec.to_builtins(manifest),
        outputs=msgspec.to_builtins(outputs),
        secrets=None if secrets is None else msgspec.to_builtins(secrets),
    ):
        return False
    row = db.execute(sa.select(builds).where(builds.c.id == build_id)).one()
    db.execute(
        sa.update(builds)
        .where(builds.c.project_id == row.project_id, builds.c.ref == row.ref)
        .where(builds.c.state == "built", builds.c.id < build_id)
        .values(state="cancelled", reason=f"superseded by {row.commit[:12]}", finished_at=now)
    )
    return True


def done(db: Connection, build_id: int, *, now: float) -> bool:
    """Record that a build is live. Return False if it was cancelled meanwhile."""
    first = sa.func.coalesce(builds.c.good_at, now)
    return _move(db, build_id, "built", state="done", reason="", finished_at=now, good_at=first)


def released(db: Connection, build_id: int, *, now: float) -> None:
    """Record that a build's release command ended well: it is not run again."""
    db.execute(sa.update(builds).where(builds.c.id == build_id).values(released_at=now))


OVER = ("done", "failed", "cancelled")


def again(db: Connection, build_id: int, *, now: float) -> bool:
    """Let a build that was good wait to be deployed once more. False: it is on its way already.

    Another one of its ref that waits is not deployed any more.
    """
    if not _move(db, build_id, *OVER, state="built", reason="", finished_at=None):
        return False
    row = db.execute(sa.select(builds).where(builds.c.id == build_id)).one()
    db.execute(
        sa.update(builds)
        .where(builds.c.project_id == row.project_id, builds.c.ref == row.ref)
        .where(builds.c.state == "built", builds.c.id != build_id)
        .values(state="cancelled", reason=f"{CALLED_OFF}{build_id}", finished_at=now)
    )
    return True


def waits_beside(db: Connection, build_id: int) -> bool:
    """Return whether another build of the same ref waits to be deployed."""
    mine = sa.select(builds.c.project_id, builds.c.ref).where(builds.c.id == build_id).subquery()
    other = sa.select(builds.c.id).where(
        builds.c.project_id == mine.c.project_id,
        builds.c.ref == mine.c.ref,
        builds.c.state == "built",
    )
    return db.execute(other.limit(1)).first() is not None


def good(db: Connection, tenant: Tenant) -> list[Build]:
    """Return the builds of a ref that were live once, newest first."""
    mine = (project_rows.c.name == tenant.project, builds.c.ref == tenant.ref.name)
    query = selected.where(*mine, builds.c.good_at.is_not(None))
    return [record(row) for row in db.execute(query.order_by(builds.c.id.desc()))]


def failed(db: Connection, build_id: int, *, reason: str, now: float) -> bool:
    """Record why a build, or its deployment, did not work."""
    return _move(
        db, build_id, "queued", "building", "built", state="failed", reason=reason, finished_at=now
    )


def cancelled(db: Connection, build_id: int, *, reason: str, now: float) -> bool:
    """Record that somebody or something newer made a build unnecessary."""
    return _move(
        db,
        build_id,
        "queued",
        "building",
        "built",
        state="cancelled",
        reason=reason,
        finished_at=now,
    )


def requeue(db: Connection, build_id: int) -> bool:
    """Put a build that was interrupted back in its place in the queue."""
    return _move(db, build_id, "building", state="queued", started_at=None)


def busy_projects(db: Connection) -> set[str]:
    """Return the names of the projects that are building something."""
    return {record(row).tenant.project for row in db.execute(selected.where(_is_building))}


def recover(db: Connection, running: Collection[int] = ()) -> list[int]:
    """Put back what counts as building and is not among what is `running`. Return the ids.

    An earlier Kennel was building it when it ended, or what came of it could not be recorded.
    """
    building = list(db.scalars(sa.select(builds.c.id).where(builds.c.state == "building")))
    lost = [build_id for build_id in building if build_id not in running]
    return [build_id for build_id in lost if requeue(db, build_id)]


def prune(db: Connection, *, keep: int, before: float) -> int:
    """Forget builds that nobody will ask for. Return how many.

    Of a ref that is known the newest `keep` stay, and the newest one that gave anything; those of
    a ref that was forgotten go when they ended before a time. What is in use, or not over yet,
    stays.
    """
    used = sa.union(
        sa.select(deployments.c.build_id),
        sa.select(generations.c.build_id),
        sa.select(sa.func.max(builds.c.id))
        .where(builds.c.built_at.is_not(None))
        .group_by(builds.c.project_id, builds.c.ref),
    ).subquery()
    known = sa.exists().where(
        tenants.c.project_id == builds.c.project_id, tenants.c.ref == builds.c.ref
    )
    numbered = sa.select(builds.c.id, known.label("known"), _place("place")).subquery()
    many = sa.select(numbered.c.id).where(numbered.c.known, numbered.c.place > keep)
    many = many.where(numbered.c.id.not_in(sa.select(used.c[0])))
    old = sa.select(builds.c.id).where(~known, builds.c.finished_at < before)
    over = builds.c.state.in_(OVER)
    chosen = sa.or_(builds.c.id.in_(many), builds.c.id.in_(old))
    return db.execute(sa.delete(builds).where(over, chosen)).rowcount


def _place(name: str) -> sa.Label[int]:
    """Return a column that numbers the builds of each ref, the newest first."""
    order = builds.c.id.desc()
    row = sa.func.row_number().over(
        partition_by=(builds.c.project_id, builds.c.ref), order_by=order
    )
    return row.label(name)


def kept(db: Connection, keep: int) -> set[int]:
    """Return the builds whose outputs must stay: on their way, live, or good and recent.

    `keep`: how many good ones of each ref that still exists.
    """
    used = sa.union(
        sa.select(builds.c.id).where(builds.c.state.in_(("building", "built"))),
        sa.select(deployments.c.build_id),
        sa.select(generations.c.build_id),
    )
    return set(db.scalars(used)) | _last_good(db, keep)


def _last_good(db: Connection, keep: int) -> set[int]:
    here = sa.and_(
        tenants.c.project_id == builds.c.project_id, tenants.c.ref == builds.c.ref, tenants.c.wanted
    )
    good = (
        sa.select(builds.c.id, _place("place"))
        .join(tenants, here)
        .where(builds.c.good_at.is_not(None))
        .subquery()
    )
    return set(db.scalars(sa.select(good.c.id).where(good.c.place <= keep)))
