"""Who may speak to Kennel, kept in memory: projects, their webhook secrets, and their hosts.

The daemon is the only one who writes to its store, so what is in memory is what is in there.
"""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.engine import Connection

from kennel.domain import Repository, Secret
from kennel.domain.record import Project
from kennel.errors import ConfigError, Conflict
from kennel.intake import is_allowed
from kennel.plugin.settings import read_secret
from kennel.settings import ProjectTable, Settings
from kennel.store import Store, projects, tenants

log = structlog.get_logger(__name__)


class Registry:
    """Answers what a request has to know without asking the database."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._shared = shared_secret(settings.webhook_secret_file)
        self._projects: Sequence[Project] = ()
        self._keys: list[tuple[str | None, Secret]] = []
        self._hosts: frozenset[str] = frozenset()

    async def load(self) -> None:
        """Read the projects and their secrets anew.

        What kennel.toml grants a project holds from the moment that it registers itself.
        """
        self._projects = await self._store.read(projects.every)
        tables = self._settings.projects
        told = [
            (one, _changes(one, tables[one.name])) for one in self._projects if one.name in tables
        ]
        if any(changes for _, changes in told):
            await self._store.write(partial(_configure, told=told, now=time.time()))
            self._projects = await self._store.read(projects.every)
        shared: list[tuple[str | None, Secret]] = [(None, self._shared)] if self._shared else []
        self._keys = shared + [own for one in self._projects if (own := _own_key(one))]

    def serve(self, hosts: frozenset[str]) -> None:
        """Note which hosts are in the routes now."""
        self._hosts = hosts

    def secrets(self) -> Iterable[tuple[str | None, Secret]]:
        """Return every secret that may have signed a webhook, with the project it speaks for."""
        return self._keys

    def project_of(self, repository: Repository) -> str | None:
        """Return the name of the project that a repository is registered as."""
        mine = [one for one in self._projects if one.forge == repository.forge]
        for project in mine:
            if project.forge_id == repository.id:
                return project.name
        for project in mine:
            if project.forge_id is None and _is_called(project, repository):
                return project.name
        return None

    def admits(self, repository: Repository) -> bool:
        """Return whether the first delivery of an unknown repository may register it."""
        return is_allowed(repository.full_name, self._settings.allow)

    def knows_host(self, host: str) -> bool:
        """Return whether a host, lower case, is one that Kennel serves."""
        return host in self._hosts


def _is_called(project: Project, repository: Repository) -> bool:
    return project.full_name.lower() == repository.full_name.lower()


def shared_secret(file: Path | None) -> Secret | None:
    """Read the secret that all forges sign with. Raises ConfigError if it cannot be used."""
    if file is None:
        return None
    return read_secret(f"file:{file}", where="webhook_secret_file")


def _own_key(project: Project) -> tuple[str | None, Secret] | None:
    """Return a project's own secret. One that cannot be read signs nothing, and says so."""
    if project.secret is None:
        return None
    try:
        return project.name, read_secret(project.secret, where=f"project {project.name}")
    except ConfigError as error:
        log.warning("webhooks of a project are refused", project=project.name, reason=str(error))
        return project.name, Secret("")


async def register_configured(store: Store, settings: Settings, *, now: float) -> None:
    """Make the projects that kennel.toml lists what it says. Raises ConfigError."""
    for name, table in settings.projects.items():
        await store.write(partial(_register, name=name, table=table, now=now))


def _register(db: Connection, name: str, table: ProjectTable, now: float) -> None:
    known = {project.name: project for project in projects.every(db)}
    if project := known.get(name):
        if _means_another(table, project):
            log.warning(
                "kennel.toml means another repository: nothing of it holds for this project",
                project=name,
                repository=project.full_name,
            )
        _configure(db, [(project, _changes(project, table))], now)
    elif table.url:
        try:
            projects.register(
                db,
                now=now,
                name=name,
                forge=table.forge,
                full_name=table.full_name or full_name_of(table.url),
                clone_url=table.url,
                default_branch=table.default_branch,
                domains=table.domains,
                secret=table.secret,
                token=table.token,
                ssh_key=table.ssh_key,
                previews=table.previews,
            )
        except Conflict as error:
            raise ConfigError(f"kennel.toml: [projects.{name}]: {error}") from error


def _configure(
    db: Connection, told: Sequence[tuple[Project, dict[str, object]]], now: float
) -> None:
    """Note what kennel.toml says. Where previews are off by now, those that are there go."""
    for project, changes in told:
        if changes:
            projects.configure(db, project, **changes)
        if not changes.get("previews", project.previews):
            tenants.leave_previews(db, project_id=project.id, now=now)


def _meant(table: ProjectTable) -> str | None:
    """Return OWNER/NAME of the repository that a table is about, if it says."""
    return table.full_name or (full_name_of(table.url) if table.url else None)


def _means_another(table: ProjectTable, project: Project) -> bool:
    """Return whether a table is about another repository than the one that has its name.

    A project that registered itself may have come by the name before the one that is meant: what
    is granted to a repository is not granted to another.
    """
    meant = _meant(table)
    if meant is None or project.forge_id is None:
        return False
    return meant.lower() != project.full_name.lower()


def _changes(project: Project, table: ProjectTable) -> dict[str, object]:
    """Return what kennel.toml says otherwise of a project than the store does."""
    if _means_another(table, project):
        return {}
    meant = _meant(table)
    said: dict[str, object] = {
        "domains": table.domains,
        "secret": table.secret,
        "token": table.token,
        "ssh_key": table.ssh_key,
        "previews": table.previews,
    }
    if table.url:
        said |= {"clone_url": table.url, "removed": False}
    if meant and meant.lower() != project.full_name.lower():
        said["full_name"] = meant
    changed = {key: value for key, value in said.items() if value != getattr(project, key)}
    return changed | ({"domains": list(table.domains)} if "domains" in changed else {})


def full_name_of(url: str) -> str:
    """Return OWNER/NAME of a clone URL: the last two parts of its path.

    Raises ConfigError where there are no two.
    """
    path = url.split("://", 1)[-1].removesuffix("/").removesuffix(".git")
    parts = path.replace(":", "/").split("/")
    if len(parts) < 2 or not all(parts[-2:]):  # noqa: PLR2004
        raise ConfigError(f"cannot read OWNER/NAME from {url!r}: give full_name as well")
    return "/".join(parts[-2:])
