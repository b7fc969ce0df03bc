"""Compare every repository with what Kennel knows of it, now and then, and repair what differs."""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.engine import Connection

from kennel.build.remote import Remote
from kennel.domain import Ref, RefKind, Tenant
from kennel.domain.record import Project
from kennel.errors import Conflict, KennelError
from kennel.plugin import Forge
from kennel.store import Store, inbox, projects, refs
from kennel.sweep.asking import Asking, repository_of
from kennel.sweep.compare import Known, Repairs, Seen, compare, missing, moved
from kennel.sweep.patience import Patience
from kennel.sweep.repairing import Repair, repair

log = structlog.get_logger(__name__)
PARALLEL = 8
"""Repositories that are asked side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of looking at a project. `problem`: what could not be done, "" if all could."""

    project: str
    repairs: Sequence[Repair] = ()
    problem: str = ""


class Sweeper:
    """Looks at every repository, several side by side, at none of them twice at a time.

    `label`: what approves of a pull request. `drain` empties the inbox. `changed` wakes whoever
    has something to build, or to take away.
    """

    def __init__(
        self,
        store: Store,
        remote: Remote,
        forges: Mapping[str, Forge],
        *,
        every: float,
        label: str,
        drain: Callable[[], Awaitable[object]],
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._remote = remote
        self._asking = Asking(remote, forges, every=every)
        self._every = every
        self._label = label
        self._drain = drain
        self._changed = changed
        self._clock = clock
        self._room = asyncio.Semaphore(PARALLEL)
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._absent: dict[int, frozenset[Ref]] = {}
        self._patience = Patience(every)
        self.repairs = 0
        """How many webhooks were made up for."""
        self.last: dict[str, str] = {}
        """What is in the way of each project that was looked at, "" where nothing is."""

    async def run(self) -> None:
        """Look at every repository, now and for ever."""
        await self._remote.prepare()
        while True:
            try:
                await self.round()
            except Exception:  # such as a database that is away: the next look may go well
                log.exception("cannot look at the repositories")
            await asyncio.sleep(self._every)

    async def round(self) -> list[Found]:
        """Look at every repository but those that have not answered lately."""
        return await self._look_at(await self._due())

    async def sweep(self, project: str | None = None, *, force: bool = False) -> list[Found]:
        """Look at a project's repository, or at all, even if they did not answer lately.

        `force` lets refs go, however many they are. Raises NotFound for an unknown project,
        Conflict for one that is being removed.
        """
        chosen = await self._store.read(partial(_chosen, name=project))
        return await self._look_at(chosen, by_hand=True, force=force)

    async def _due(self) -> Sequence[Project]:
        """Return the projects to look at. Forget those that are not there any more."""
        there = await self._store.read(partial(_chosen, name=None))
        numbers, names = {one.id for one in there}, {one.name for one in there}
        self._patience.keep(numbers)
        self._asking.keep(numbers)
        self._absent = {key: refs for key, refs in self._absent.items() if key in numbers}
        self.last = {name: problem for name, problem in self.last.items() if name in names}
        return [one for one in there if self._patience.is_due(one.id)]

    async def _look_at(
        self, chosen: Sequence[Project], *, by_hand: bool = False, force: bool = False
    ) -> list[Found]:
        look = partial(self._look, by_hand=by_hand, force=force)
        return list(await asyncio.gather(*(look(project) for project in chosen)))

    async def _empty_inbox(self) -> None:
        """Let what came in be heard of first. That there is nothing, writes nothing."""
        if await self._store.read(partial(inbox.waiting, limit=1)):
            await self._drain()

    async def _look(self, project: Project, *, by_hand: bool, force: bool) -> Found:
        """Look at one project. What goes wrong costs the others nothing."""
        async with self._locks[project.id], self._room:
            try:
                found = await self._swept(project, by_hand=by_hand, force=force)
                self._patience.worked(project.id)
            except KennelError as error:
                found = self._failed(project, str(error))
            except Exception as error:
                log.exception("a fault of Kennel's own", project=project.name)
                what = f"a fault of Kennel's own ({type(error).__name__}): see its log"
                found = self._failed(project, what)
        self._tell(found)
        return found

    def _failed(self, project: Project, problem: str) -> Found:
        self._patience.failed(project.id)
        return Found(project=project.name, problem=problem)

    async def _swept(self, project: Project, *, by_hand: bool, force: bool) -> Found:
        """Ask, compare, repair. Nothing is written where nothing differs."""
        before = await self._store.read(partial(refs.known, of=project.id, label=self._label))
        if before is None:
            return Found(project=project.name)
        see = partial(self._asking.see, project, pulls=_has_pulls(before), at_once=by_hand)
        absent, seen = self._absent.get(project.id, frozenset()), await see()
        if by_hand and (lacking := missing(seen, before)):
            absent, seen = lacking, await see()
        await self._empty_inbox()
        decide = partial(
            self._decided, project=project, before=before, seen=seen, absent=absent, force=force
        )
        repairs, done = await self._store.read(decide), list[Repair]()
        if repairs.changed or repairs.gone or repairs.heads:
            repairs, done = await self._store.write(
                partial(self._repaired, project=project, decide=decide, force=force)
            )
        self._absent[project.id] = repairs.absent
        self._wake(done)
        return Found(
            project=project.name,
            repairs=[*done, *_held(project, repairs)],
            problem="; ".join(
                filter(None, (self._asking.problems.get(project.id), _why(project, seen, repairs)))
            ),
        )

    def _decided(
        self,
        db: Connection,
        *,
        project: Project,
        before: Known,
        seen: Seen,
        absent: Collection[Ref],
        force: bool,
    ) -> Repairs:
        """Compare what was seen with what is known by now."""
        after = refs.known(db, of=project.id, label=self._label)
        if after is None:
            return Repairs()
        return compare(
            seen,
            after,
            repository_of(project),
            moved=moved(before, after),
            absent=absent,
            force=force,
        )

    def _repaired(
        self,
        db: Connection,
        *,
        project: Project,
        decide: Callable[[Connection], Repairs],
        force: bool,
    ) -> tuple[Repairs, list[Repair]]:
        repairs = decide(db)
        now = self._clock()
        return repairs, repair(db, project, repairs, now=now, confirmed=force, label=self._label)

    def _wake(self, done: Sequence[Repair]) -> None:
        """Count what was done, say so, and wake who goes on with it."""
        self.repairs += len(done)
        for one in done:
            log.info("no webhook told of this", tenant=str(one.tenant), outcome=one.why)
        if done:
            self._changed()

    def _tell(self, found: Found) -> None:
        """Say what is in the way of a project when that changes, and not every time."""
        before = self.last.get(found.project, "")
        self.last[found.project] = found.problem
        if _alike(found.problem) == _alike(before):
            return
        if found.problem:
            log.warning("a project is not swept", project=found.project, problem=found.problem)
        else:
            log.info("a project is swept again", project=found.project)


def _chosen(db: Connection, name: str | None) -> list[Project]:
    """Return a project, or all that are not being removed. Raises NotFound, Conflict."""
    if name is None:
        return [project for project in projects.every(db) if not project.removed]
    project = projects.by_name(db, name)
    if project.removed:
        raise Conflict(f"project {name} is being removed")
    return [project]


def _has_pulls(known: Known) -> bool:
    return any(ref.kind is RefKind.PULL_REQUEST for ref in known.wanted)


def _why(project: Project, seen: Seen, repairs: Repairs) -> str:
    """Return why something is held, and what to do about it."""
    if not repairs.why:
        return ""
    if not seen.heads:
        return f"{repairs.why}; `kennel projects remove {project.name}` would"
    return f"{repairs.why}. If that is right: `kennel sweep {project.name} --force`"


def _held(project: Project, repairs: Repairs) -> list[Repair]:
    return [
        Repair(tenant=Tenant(project.name, ref), kind="held", commit="", why=repairs.why)
        for ref in repairs.held
    ]


def _alike(problem: str) -> str:
    """Return what two texts have in common that tell of one problem: not how long it took."""
    return re.sub(r"[0-9]+", "", problem)
