"""What it costs to look at every repository for lost webhooks, beside fetching each ref.

    python -m benchmarks sweep

Repositories on this machine, asked by the daemon's own sweeper; what it finds is written to a real
store. The peer runs one `git fetch` for each ref into mirrors it keeps, as many side by side.
"""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import town
from benchmarks.report import Cell, Table, middle, ratio, worst
from benchmarks.scale import Scale
from kennel.build.places import Places
from kennel.build.remote import Remote
from kennel.store import Store, projects
from kennel.sweep.sweeper import PARALLEL, Sweeper
from kennel.testing.repository import PERSON

TIMES = 5
NEW = 'git commit-tree -m "a change" $(git hash-object -t tree -w /dev/null)'
ALL = f'c=$({NEW}) && for n in $(seq "$1"); do echo "update refs/heads/b$n $c"; done'


def run(scale: Scale) -> dict[str, Any]:
    town.quiet()
    with tempfile.TemporaryDirectory(prefix="kennel-sweep-") as folder:
        return asyncio.run(_run(scale, Path(folder)))


async def _run(scale: Scale, folder: Path) -> dict[str, Any]:
    count, refs = scale.repositories, scale.refs
    repositories = [folder / f"{number}.git" for number in range(count)]
    for repository in repositories:
        _git("git", "init", "--quiet", "--bare", "--", str(repository), cwd=folder)
        _move(repository, refs)
    store = Store(f"sqlite:///{folder}/kennel.db")
    await store.open()
    try:
        sweeper = await _sweeper(store, folder, repositories)
        first = await _timed(sweeper.round())
        same = [await _timed(sweeper.round()) for _ in range(TIMES)]
        moved = []
        for _ in range(TIMES):
            for repository in repositories:
                _move(repository, 1)
            moved.append(await _timed(sweeper.round()))
        assert sweeper.repairs == count * refs + TIMES * count, sweeper.repairs
        assert not any(sweeper.last.values()), sweeper.last
    finally:
        await store.close()
    return {
        "repositories": count,
        "refs": refs,
        "first_ms": round(1000 * first, 1),
        "same_ms": middle(same),
        "same_worst_ms": worst(same),
        "moved_ms": middle(moved),
        "fetches_ms": round(1000 * await _timed(_fetches(folder, repositories, refs)), 1),
    }


async def _sweeper(store: Store, folder: Path, repositories: Sequence[Path]) -> Sweeper:
    for number, repository in enumerate(repositories):
        register = partial(
            projects.register,
            now=time.time(),
            forge="forgejo",
            full_name=f"bench/p{number}",
            clone_url=str(repository),
        )
        await store.write(register)
    remote = Remote(Places(folder / "state", folder / "run"))
    await remote.prepare()

    async def drain() -> None:
        """Nothing comes in."""

    return Sweeper(
        store,
        remote,
        {},
        every=60.0,
        label="",
        drain=drain,
        changed=lambda: None,
    )


async def _fetches(folder: Path, repositories: Sequence[Path], refs: int) -> None:
    """Fetch each ref by itself into a mirror of its repository. Nothing is new to most."""
    room = asyncio.Semaphore(PARALLEL)

    async def fetch(repository: Path, mirror: Path, ref: str) -> None:
        async with room:
            process = await asyncio.create_subprocess_exec(
                *("git", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head"),
                *("--", str(repository), f"+{ref}:{ref}"),
                cwd=mirror,
                env=_environment(),
            )
            assert await process.wait() == 0

    for repository in repositories:
        mirror = folder / "mirrors" / repository.name
        mirror.parent.mkdir(exist_ok=True)
        _git("git", "clone", "--quiet", "--mirror", str(repository), str(mirror), cwd=folder)
    mirrors = [(one, folder / "mirrors" / one.name) for one in repositories]
    names = [f"refs/heads/b{number}" for number in range(1, refs + 1)]
    await asyncio.gather(*(fetch(*pair, name) for pair in mirrors for name in names))


def _move(repository: Path, refs: int) -> None:
    """Let the first branches of a repository have a new commit."""
    stamp = f"{time.time_ns() // 1000} +0000"
    dates = {"GIT_AUTHOR_NAME": stamp, "GIT_COMMITTER_NAME": stamp}
    _git(
        "sh",
        "-c",
        f"{{ {ALL}; }} | git update-ref --stdin",
        "sh",
        str(refs),
        cwd=repository,
        **dates,
    )


def _git(*command: str, cwd: Path, **more: str) -> None:
    subprocess.run(command, cwd=cwd, env={**_environment(), **more}, check=True)


def _environment() -> dict[str, str]:
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return {"PATH": os.environ["PATH"], **quiet, **PERSON}


async def _timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    fetches = figures["fetches_ms"]
    rows: list[Sequence[Cell]] = [
        [what, figures[key], ratio(figures[key], fetches)]
        for what, key in (
            ("nothing differs: median", "same_ms"),
            ("nothing differs: worst", "same_worst_ms"),
            ("a push was lost in each: median", "moved_ms"),
            ("all of it is new", "first_ms"),
            ("one `git fetch` for each ref", "fetches_ms"),
        )
    ]
    title = f"A sweep of {figures['repositories']} repositories with {figures['refs']} refs (ms)"
    return [Table(title, ["", "took", "ratio"], rows)]
