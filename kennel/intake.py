"""From a delivery that was kept to what follows from it.

    delivery -> event -> its project -> the ref is there, or gone -> a build is queued, or cancelled

A delivery and what follows from it are one transaction, so a crash repeats both or neither. A
webhook only says that a ref moved: what is built is what the forge has when the build starts.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

import structlog
from sqlalchemy.engine import Connection

from kennel import pulls
from kennel.crashpoint import reached
from kennel.domain import (
    Environment,
    Event,
    Ignored,
    Ping,
    PullRequestChanged,
    PullRequestClosed,
    Ref,
    RefChanged,
    RefDeleted,
    Repository,
    environment_of,
)
from kennel.domain.delivery import StoredDelivery
from kennel.domain.record import Project
from kennel.errors import Conflict
from kennel.plugin import Delivery, Forge
from kennel.store import Store, builds, inbox, projects, tenants

log = structlog.get_logger(__name__)
EVERY = 30.0
"""Seconds between looks into the inbox that nothing asked for."""
BATCH = 100
"""Deliveries that are handled in one transaction at most."""
OfARef: TypeAlias = RefChanged | RefDeleted | PullRequestChanged | PullRequestClosed
"""What can happen to a ref."""


def is_allowed(full_name: str, allow: tuple[str, ...]) -> bool:
    """Return whether a repository may register itself: `OWNER/*` or `OWNER/NAME`, any case."""
    return any(fnmatchcase(full_name.lower(), pattern.lower()) for pattern in allow)


class Outcome(NamedTuple):
    """What became of a delivery, for people, and whether something may have to be taken away."""

    text: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """Empties the inbox in the order deliveries came in, a batch in one transaction.

    `changed` is called when there may be something new to build, or nobody wants what is being
    built; `gone` when there may be something to take away; then `registered`, since a project may
    be new or have another name. `label`: the one that approves of pull requests from forks.
    """

    store: Store
    forges: Mapping[str, Forge]
    allow: tuple[str, ...]
    changed: Callable[[], None]
    gone: Callable[[], None]
    registered: Callable[[], Awaitable[None]]
    label: str
    _wake: asyncio.Event

    @classmethod
    def of(
        cls,
        store: Store,
        forges: Mapping[str, Forge],
        *,
        allow: tuple[str, ...],
        changed: Callable[[], None],
        gone: Callable[[], None],
        registered: Callable[[], Awaitable[None]],
        label: str = "",
        arrived: asyncio.Event | None = None,
    ) -> "Intake":
        """Prepare. `arrived`: is set when there is something in the inbox."""
        wake = arrived or asyncio.Event()
        return cls(store, forges, allow, changed, gone, registered, label, wake)

    def wake(self) -> None:
        """Say that something was put into the inbox."""
        self._wake.set()

    async def run(self) -> None:
        """Empty the inbox for ever."""
        while True:
            self._wake.clear()
            try:
                await self.drain()
            except Exception:
                log.exception("cannot empty the inbox")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):  # wait_for may lose a cancellation before 3.12
                    await self._wake.wait()

    async def drain(self) -> int:
        """Handle everything that waits. Return how many deliveries that was."""
        count = 0
        while outcomes := await self.store.write(self._handle_batch):
            for delivery, outcome in outcomes:
                log.info("delivery", id=delivery, outcome=outcome.text)
            reached("delivery-applied")
            count += len(outcomes)
            self.changed()
            if any(outcome.gone for _, outcome in outcomes):
                self.gone()
            await self.registered()
            if len(outcomes) < BATCH:  # whatever came in meanwhile has woken us again
                break
        return count

    def _handle_batch(self, db: Connection) -> list[tuple[int, Outcome]]:
        return [(one.id, self._handle(db, one)) for one in inbox.waiting(db, limit=BATCH)]

    def _handle(self, db: Connection, delivery: StoredDelivery) -> Outcome:
        now = time.time()
        try:
            with db.begin_nested():
                outcome = self._outcome(db, delivery, now)
        except Exception as error:  # one that we cannot digest must not hold up the others
            log.exception("cannot handle a delivery", id=delivery.id)
            outcome = Outcome(f"internal error: {type(error).__name__}")
        inbox.handled(db, delivery.id, outcome=outcome.text, now=now)
        return outcome

    def _outcome(self, db: Connection, delivery: StoredDelivery, now: float) -> Outcome:
        forge = self.forges.get(delivery.forge)
        if forge is None:
            return Outcome(f"ignored: the plugin for {delivery.forge} is off")
        try:
            event = forge.read(Delivery(headers=delivery.headers, body=delivery.body))
        except ValueError as error:
            return Outcome(f"ignored: {error}")
        ends = isinstance(event, (RefDeleted, PullRequestClosed))
        if ends and inbox.is_repeated(db, delivery.id):  # the ref may be back by now
            return Outcome("ignored: that it is gone came in before")
        text = apply(db, event, allow=self.allow, now=now, label=self.label)
        may_withdraw = isinstance(event, PullRequestChanged) and not event.trusted
        return Outcome(text, gone=ends or may_withdraw)


def apply(
    db: Connection,
    event: Event,
    *,
    allow: tuple[str, ...],
    now: float,
    label: str | None = None,
) -> str:
    """Do what follows from an event. Return what that was, for people.

    `label`: the one that approves of pull requests; None: nothing is to be learnt from labels.
    """
    if isinstance(event, Ping):
        return f"ping: {event.about}"
    if isinstance(event, Ignored):
        return f"ignored: {event.reason}"
    project = _project(db, event.repository, allow=allow, now=now)
    if isinstance(project, str):
        return project
    return apply_to(db, project, event, now=now, label=label)


def apply_to(
    db: Connection, project: Project, event: OfARef, *, now: float, label: str | None = None
) -> str:
    """Do what follows for a project from what happened to a ref of it. Return what that was.

    Nothing is learnt of the project from the event's repository. `label`: as of `apply`.
    """
    if isinstance(event, PullRequestChanged):
        return pulls.changed(db, project, event, label=label, now=now)
    if isinstance(event, PullRequestClosed):
        return pulls.closed(db, project, event, now=now)
    if isinstance(event, RefDeleted):
        return _gone(db, project, event.ref, now)
    return _changed(db, project, event, now)


def _project(
    db: Connection, repository: Repository, *, allow: tuple[str, ...], now: float
) -> Project | str:
    """Return the project, registered now if that is allowed, or why there is none."""
    if project := projects.matching(db, repository):
        projects.learn(db, project, repository)
        return "ignored: the project is being removed" if project.removed else project
    if not is_allowed(repository.full_name, allow):
        return f"ignored: {repository.full_name} is not registered"
    try:
        return projects.register(
            db,
            now=now,
            forge=repository.forge,
            forge_id=repository.id,
            full_name=repository.full_name,
            clone_url=repository.clone_url,
            default_branch=repository.default_branch,
        )
    except Conflict as error:
        return f"ignored: cannot register: {error}"


def _gone(db: Connection, project: Project, ref: Ref, now: float) -> str:
    if tenants.gone(db, project_id=project.id, ref=ref, now=now):
        return f"{project.name}/{ref} is gone"
    return f"ignored: nothing was deployed for {project.name}/{ref}"


def _changed(db: Connection, project: Project, event: RefChanged, now: float) -> str:
    if not project.previews and environment_of(event.ref) is Environment.PREVIEW:
        return f"ignored: previews are off for {project.name}"
    is_back = tenants.seen(
        db, project_id=project.id, ref=event.ref, trusted=True, now=now, head=event.commit
    )
    build = builds.queue(
        db,
        project_id=project.id,
        ref=event.ref,
        commit=event.commit,
        trusted=True,
        now=now,
        again=is_back,
    )
    where = f"{project.name}/{event.ref}"
    return f"build {build} of {where}" if build else f"{where} has {event.commit[:12]} already"
