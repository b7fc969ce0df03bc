"""Whether what a build gave is still there, and what keeps it."""

import os
from pathlib import Path

from kennel.build.places import Places
from kennel.domain.record import Build
from kennel.plugin import in_thread


async def has_outputs(places: Places, build: Build) -> bool:
    """Return whether a build can be deployed again: its outputs are there, and kept."""
    return await in_thread(kept_paths, places, build) is not None


def kept_paths(places: Places, build: Build) -> frozenset[str] | None:
    """Return the store paths that a build keeps; None if it does not keep all it gave."""
    if build.outputs is None or build.manifest is None:
        return None
    held = frozenset(_targets(places.roots / str(build.id)))
    there = held.issuperset(build.outputs.paths.values()) and all(map(os.path.exists, held))
    return held if there else None


def _targets(folder: Path) -> list[str]:
    """Return where the links of a folder lead."""
    try:
        return [str(path.readlink()) for path in folder.iterdir() if path.is_symlink()]
    except FileNotFoundError:
        return []
