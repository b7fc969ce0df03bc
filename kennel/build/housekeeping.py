"""Drops what builds leave behind and nobody needs any more."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from kennel.build.git import mirror_ref
from kennel.build.log import expire
from kennel.build.mirrors import DOOMED, Mirrors, remove
from kennel.build.places import Places
from kennel.errors import KennelError
from kennel.plugin import in_thread
from kennel.settings import BuildTable
from kennel.store import Store, builds, projects, tenants

log = structlog.get_logger(__name__)

AFTER = 3.0
"""Seconds between the end of a build, or of a ref, and cleaning up after it."""
EVERY = 600.0
"""Seconds between two times of cleaning up that nothing asked for."""
HALF = (".new", DOOMED)
"""What ends the names of folders that are being made or removed, under the lock of their mirror."""


def sweep(places: Places) -> None:
    """Remove what only a running build needs: checkouts and keys. No build runs."""
    for folder in (places.checkouts, places.keys):
        for path in _numbered(folder).values():  # other keys are in use by who asks for refs
            shutil.rmtree(path, ignore_errors=True)


class Housekeeping:
    """Compares the folders of builds with what the store knows, and removes the rest.

    What is there is listed before the store is asked: what appears later is not looked at.
    `running`: the builds that run, each with the name of its project.
    """

    def __init__(
        self,
        settings: BuildTable,
        store: Store,
        places: Places,
        mirrors: Mirrors,
        running: Callable[[], Mapping[int, str]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._places = places
        self._mirrors = mirrors
        self._running = running
        self._clock = clock
        self._asked = asyncio.Event()
        self._all = True
        self._grown: set[str] = set()

    def soon(self, built: str | None = None) -> None:
        """Ask for it. `built`: the only project whose mirror is worth a look."""
        if built is None:
            self._all = True
        else:
            self._grown.add(built)
        self._asked.set()

    async def run(self) -> None:
        """Clean up now, when asked, and every so often. Deploying what was built goes first."""
        while True:
            self._asked.clear()
            try:
                await self.tidy()
            except Exception:  # such as a database that is away: the next time may go well
                log.exception("cannot clean up after builds")
            try:
                async with asyncio.timeout(EVERY):
                    await self._asked.wait()
            except TimeoutError:
                self._all = True
            await asyncio.sleep(AFTER)

    async def tidy(self) -> None:
        """Drop what nobody needs any more. What goes wrong in one place costs no other."""
        steps = (self._release, self._expire, self._trim_mirrors, self._forget_projects, self._pack)
        for step in steps:
            try:
                await step()
            except (KennelError, OSError) as error:
                log.warning("cannot clean up after builds", reason=str(error))

    async def _release(self) -> None:
        """Release the outputs of builds that are not kept, and drop what they were built from."""
        roots = await in_thread(_numbered, self._places.roots)
        checkouts = await in_thread(_numbered, self._places.checkouts)
        kept = await self._store.read(partial(builds.kept, keep=self._settings.keep))
        running = self._running().keys()
        over = [folder for number, folder in roots.items() if number not in kept | running]
        over += [folder for number, folder in checkouts.items() if number not in running]
        for folder in over:
            await in_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _expire(self) -> None:
        """Remove old logs."""
        days, running = self._settings.log_days, set(self._running())
        await in_thread(expire, self._places.logs, days=days, now=self._clock(), running=running)

    async def _trim_mirrors(self) -> None:
        """Drop what mirrors have of refs that are forgotten."""
        chosen, self._all = (None if self._all else {*self._grown}), False
        names = {folder.name for folder in await in_thread(_folders, self._places.mirrors)}
        names = names if chosen is None else names & chosen
        there = {name: await self._mirrors.refs(name) for name in sorted(names)}
        known = await self._store.read(_known_refs)
        for project, refs in there.items():
            if project in known and (lost := refs - known[project]):
                async with self._alone(project) as alone:
                    if alone:
                        await self._mirrors.drop(project, lost)

    async def _forget_projects(self) -> None:
        """Remove the mirrors and homes of projects that are not registered any more."""
        there = await in_thread(_folders, self._places.mirrors, self._places.homes)
        for folder in await self._strays(there):
            async with self._alone(_project_of(folder)) as alone:
                if alone and folder in await self._strays([folder]):
                    await in_thread(remove, folder)

    async def _strays(self, folders: Iterable[Path]) -> list[Path]:
        """Return those of some folders that belong to no project, or are halves."""
        known = await self._store.read(_known_refs)
        return [f for f in folders if _project_of(f) not in known or f.name.endswith(HALF)]

    async def _pack(self) -> None:
        """Pack mirrors that have grown. Fetching goes first: that is done another time then."""
        for project in sorted(self._grown):
            if not self._mirrors.lock(project).locked():
                self._grown.discard(project)
                await self._mirrors.pack(project)

    @asynccontextmanager
    async def _alone(self, project: str) -> AsyncIterator[bool]:
        """Let nobody fetch for a project while the block runs; False: a build of it runs already.

        One that starts meanwhile has to fetch first.
        """
        if project in await self._busy():
            yield False
            return
        async with self._mirrors.lock(project):
            yield project not in await self._busy()

    async def _busy(self) -> set[str]:
        """Return the projects that a build runs of."""
        return await self._store.read(builds.busy_projects) | set(self._running().values())


def _known_refs(db: Any) -> dict[str, frozenset[str]]:
    """Return the names of all projects, each with what its mirror calls the refs that are known."""
    known: dict[str, set[str]] = {project.name: set() for project in projects.every(db)}
    for record in tenants.every(db):
        known[record.tenant.project].add(mirror_ref(record.tenant.ref))
    return {name: frozenset(refs) for name, refs in known.items()}


def _folders(*parents: Path) -> list[Path]:
    """Return the folders of projects in some folders."""
    there = [entry for parent in parents for entry in parent.iterdir()]
    return [path for path in there if path.is_dir() and not path.name.startswith(".")]


def _project_of(folder: Path) -> str:
    """Return whose a folder is: no project has a dot in its name."""
    return folder.name.partition(".")[0]


def _numbered(parent: Path) -> dict[int, Path]:
    return {int(path.name): path for path in parent.iterdir() if path.name.isdecimal()}
