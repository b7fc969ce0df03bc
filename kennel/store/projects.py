"""Questions about registered repositories."""

from collections.abc import Collection, Mapping
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from kennel.domain import Repository, names
from kennel.domain.record import Project
from kennel.errors import Conflict, NotFound
from kennel.store import hosts
from kennel.store.tables import departures, projects


def _record(row: Row[Any]) -> Project:
    values = {key: value for key, value in row._asdict().items() if key != "created_at"}
    return Project(**{**values, "domains": tuple(values["domains"])})


def every(db: Connection) -> list[Project]:
    """Return all projects, by name."""
    return [_record(row) for row in db.execute(sa.select(projects).order_by(projects.c.name))]


def by_name(db: Connection, name: str) -> Project:
    """Return a project. Raises NotFound that lists what there is."""
    row = db.execute(sa.select(projects).where(projects.c.name == name)).first()
    if row is None:
        there = ", ".join(db.scalars(sa.select(projects.c.name).order_by(projects.c.name)))
        raise NotFound(f"no project is called {name!r}; there is: {there or 'none yet'}")
    return _record(row)


def by_id(db: Connection, project_id: int) -> Project:
    """Return a project that must be there."""
    return _record(db.execute(sa.select(projects).where(projects.c.id == project_id)).one())


def matching(db: Connection, repository: Repository) -> Project | None:
    """Return the project of a repository, known by its id at the forge.

    A project added by hand has no id yet and learns it from the first delivery that carries its
    name; after that, another repository of the same name is another repository.
    """
    of_forge = sa.select(projects).where(projects.c.forge == repository.forge)
    if row := db.execute(of_forge.where(projects.c.forge_id == repository.id)).first():
        return _record(row)
    nameless = of_forge.where(projects.c.forge_id.is_(None))
    row = db.execute(nameless.where(_is_called(repository.full_name))).first()
    return _record(row) if row else None


def _is_called(full_name: str) -> sa.ColumnElement[bool]:
    """Return whether a project is this repository: at a forge, names have no case."""
    return sa.func.lower(projects.c.full_name) == full_name.lower()


def learn(db: Connection, project: Project, repository: Repository) -> None:
    """Note the id and the present name of a project's repository, where they are new."""
    known = {"forge_id": project.forge_id, "full_name": project.full_name}
    seen = {"forge_id": repository.id, "full_name": repository.full_name}
    if known != seen and not _name_is_taken(db, project, repository):
        db.execute(sa.update(projects).where(projects.c.id == project.id).values(**seen))


def _name_is_taken(db: Connection, project: Project, repository: Repository) -> bool:
    same = (projects.c.forge == repository.forge, _is_called(repository.full_name))
    taken = sa.select(projects.c.id).where(*same, projects.c.id != project.id)
    return db.execute(taken).first() is not None


def register(
    db: Connection,
    *,
    now: float,
    forge: str,
    full_name: str,
    clone_url: str,
    name: str | None = None,
    forge_id: str | None = None,
    default_branch: str = "main",
    secret: str | None = None,
    token: str | None = None,
    ssh_key: str | None = None,
    domains: tuple[str, ...] = (),
    previews: bool = True,
) -> Project:
    """Add a project. Without a `name` it gets the repository's, or owner-repository if taken.

    One that was removed, and of which something is left, becomes what it was when it is added by
    hand, without a `forge_id`: its production data is its own. Raises Conflict when the name or
    the repository is registered already.
    """
    same = sa.and_(projects.c.forge == forge, _is_called(full_name))
    values = {
        "clone_url": clone_url,
        "default_branch": default_branch,
        "secret": secret,
        "token": token,
        "ssh_key": ssh_key,
        "domains": list(domains),
        "previews": previews,
        "removed": False,
    }
    if row := db.execute(sa.select(projects).where(same)).first():
        _take_back(db, _record(row), name, values, by_hand=forge_id is None)
    else:
        values |= {"forge": forge, "forge_id": forge_id, "full_name": full_name}
        free = _free_name(db, name, full_name)
        db.execute(sa.insert(projects).values(name=free, created_at=now, **values))
    return _record(db.execute(sa.select(projects).where(same)).one())


def _take_back(
    db: Connection,
    known: Project,
    name: str | None,
    values: Mapping[str, object],
    *,
    by_hand: bool,
) -> None:
    """Let a removed project be one again. A repository cannot do that: it may be another one."""
    if not known.removed:
        raise Conflict(f"{known.full_name} is registered already: it is project {known.name!r}")
    if not by_hand:
        raise Conflict(
            f"{known.full_name} was removed, and something of it is left: add it by hand"
        )
    if name not in {None, known.name}:
        raise Conflict(
            f"{known.full_name} was project {known.name!r}, and something of it is left:"
            " add it under that name"
        )
    configure(db, known, **values)


def _free_name(db: Connection, wanted: str | None, full_name: str) -> str:
    taken = set(db.scalars(sa.select(projects.c.name)))
    if wanted is not None:
        if not names.PROJECT.fullmatch(wanted):
            raise Conflict(f"{wanted!r} is no name for a project: use 1 to 39 of a-z, 0-9 and -")
        if wanted in taken:
            raise Conflict(f"a project called {wanted!r} is there already: choose another name")
        return wanted
    candidates = (names.project(full_name), names.project_with_owner(full_name))
    free = next((name for name in candidates if name not in taken), None)
    if free is None:
        raise Conflict(f"the names {candidates[0]} and {candidates[1]} are taken: choose a name")
    return free


def configure(db: Connection, project: Project, **values: object) -> None:
    """Set what the operator's kennel.toml says of a project.

    Of one that was removed and is there again it is forgotten that its refs left. Custom domains
    that are not granted any more are free at once.
    """
    if project.removed and values.get("removed") is False:
        db.execute(sa.delete(departures).where(departures.c.project_id == project.id))
    if (granted := values.get("domains")) is not None:
        hosts.withdraw(db, project_id=project.id, granted=cast("Collection[str]", granted))
    db.execute(sa.update(projects).where(projects.c.id == project.id).values(**values))


def remove(db: Connection, name: str) -> None:
    """Mark a project as removed: its tenants are taken down first, then the row goes."""
    project = by_name(db, name)
    db.execute(sa.update(projects).where(projects.c.id == project.id).values(removed=True))
