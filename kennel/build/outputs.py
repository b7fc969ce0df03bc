"""Whether what a build gave is still there."""

from pathlib import Path

from kennel.build.places import Places
from kennel.domain.record import Build
from kennel.plugin import in_thread


async def has_outputs(places: Places, build: Build) -> bool:
    """Return whether a build can be deployed again: its outputs are there, and kept."""
    outputs = build.outputs
    if outputs is None or build.manifest is None:
        return False
    paths = [places.roots / str(build.id), *map(Path, outputs.paths.values())]
    return await in_thread(lambda: all(path.exists() for path in paths))
