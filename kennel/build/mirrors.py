"""Keeps the mirrors of repositories small, and drops what nobody needs of them."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kennel.build.places import Places
from kennel.build.programs import Programs
from kennel.errors import BuildError
from kennel.plugin import in_thread

REFS = "refs/kennel/"
"""Where a mirror has its refs."""
LOCKS = ("*.lock", "refs/**/*.lock", "objects/info/**/*.lock")
GC = ("-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
DOOMED = ".gone"
"""Ends the names of folders that are being removed; no project is called so."""
NOBODY = 0
"""What a program is for that no build needs."""


class Mirrors:
    """The mirrors of all projects. Who changes one holds its lock. `env`: git's environment."""

    def __init__(self, places: Places, programs: Programs, env: Mapping[str, str]) -> None:
        self._places = places
        self._programs = programs
        self._env = env
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, project: str) -> asyncio.Lock:
        """Return the lock of a project's mirror."""
        return self._locks[project]

    async def refs(self, project: str) -> frozenset[str]:
        """Return the refs of a mirror; none where there is no mirror."""
        if not await in_thread((self._places.mirror(project) / ".git").is_dir):
            return frozenset()
        answer = await self._git(project, ["for-each-ref", "--format=%(refname)", REFS])
        return frozenset(answer.decode().split())

    async def drop(self, project: str, refs: Collection[str]) -> None:
        """Delete refs. What only they led to goes when git packs the mirror."""
        lines = "".join(f"delete {ref}\n" for ref in sorted(refs))
        await self._git(project, ["update-ref", "--stdin"], feed=lines)

    async def pack(self, project: str) -> None:
        """Pack the loose objects of a mirror, if there are many."""
        async with self.lock(project):
            if await in_thread((self._places.mirror(project) / ".git").is_dir):
                await self._git(project, GC)

    async def _git(self, project: str, words: Sequence[str], *, feed: str = "") -> bytes:
        said: list[str] = []

        async def listen(lines: Sequence[str]) -> None:
            said.extend(lines)

        done = await self._programs.run(
            NOBODY,
            ["git", "-C", str(self._places.mirror(project)), *words],
            env=self._env,
            listen=listen,
            feed=feed.encode(),
        )
        if done.status:
            raise BuildError(f"git failed in the mirror of {project}: {' '.join(said[-3:])}")
        return done.output


def unlock(mirror: Path) -> None:
    """Remove the locks that a git which was killed has left: nobody would ever do it."""
    for pattern in LOCKS:
        for path in (mirror / ".git").glob(pattern):
            path.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a folder so that, wherever this is cut off, nobody takes the rest for the whole."""
    doomed = folder.with_name(f"{folder.name.removesuffix(DOOMED)}{DOOMED}")
    if doomed != folder:
        shutil.rmtree(doomed, ignore_errors=True)
        folder.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
