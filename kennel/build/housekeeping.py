"""Drops what builds leave behind and nobody needs any more."""

import shutil
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from kennel.build.log import expire
from kennel.build.places import Places
from kennel.plugin import in_thread


def sweep(places: Places) -> None:
    """Remove what only a running build needs: checkouts and keys. No build runs."""
    for folder in (places.checkouts, places.keys):
        for path in folder.iterdir():
            shutil.rmtree(path, ignore_errors=True)


async def tidy(
    places: Places,
    kept: Callable[[], Awaitable[set[int]]],
    *,
    days: int,
    now: float,
    running: Collection[int],
) -> None:
    """Release the outputs of builds that are not kept, and remove old logs.

    Folders are listed before the store is asked: one that appears later is not looked at.
    """
    there = await in_thread(_numbered, places.roots)
    needed = await kept() | set(running)
    for build_id, folder in there.items():
        if build_id not in needed:
            await in_thread(shutil.rmtree, folder, ignore_errors=True)
    await in_thread(expire, places.logs, days=days, now=now, running=running)


def _numbered(folder: Path) -> dict[int, Path]:
    return {int(path.name): path for path in folder.iterdir() if path.name.isdecimal()}
