"""Which file of a package is the one to run."""

import os
from collections.abc import Mapping
from pathlib import Path

from kennel.domain import Manifest, Outputs
from kennel.errors import ManifestError

SHOWN = 20


def outputs(
    manifest: Manifest, paths: Mapping[str, str], programs: Mapping[str, str | None]
) -> tuple[Outputs, list[str]]:
    """Return what a build gave, and warnings for its log.

    `paths`: package → store path; `programs`: package → its `meta.mainProgram`. Raises
    ManifestError telling of every service that has no program, and every site that is no folder.
    The program of a release or seed command is chosen as that of the service whose environment it
    finds.
    """
    found: dict[str, str] = {}
    problems, warnings = [], []
    for where, (name, package) in _programs_of(manifest).items():
        try:
            found[where] = str(program(name, Path(paths[package]), programs.get(package)))
        except ManifestError as error:
            problems.append(f"{where}: {error}")
    for site in manifest.sites.values():
        folder = Path(paths[site.package])
        if not folder.is_dir():
            problems.append(f"sites.{site.name}: {folder} is not a folder of files")
        elif not (folder / "index.html").is_file():
            warnings.append(f"warning: site {site.name}: there is no index.html in {folder}")
    if problems:
        raise ManifestError("\n".join(problems))
    release, seed = found.pop("release", None), found.pop("seed", None)
    of_services = {where.removeprefix("services."): path for where, path in found.items()}
    given = Outputs(paths=dict(paths), programs=of_services, release=release, seed=seed)
    return given, warnings


def _programs_of(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Return key path → service and package of everything that is executed."""
    wanted = {f"services.{one.name}": (one.name, one.package) for one in manifest.services.values()}
    errands = manifest.errands.items()
    return wanted | {name: (errand.service, errand.package) for name, errand in errands}


def program(service: str, path: Path, main: str | None) -> Path:
    """Return what to execute: `meta.mainProgram`, else `bin/SERVICE`, else the only one in `bin`.

    A package that is a single executable file is that file.
    """
    if path.is_file() and os.access(path, os.X_OK):
        return path
    there = _programs(path / "bin")
    if main is not None:
        if main in there:
            return path / "bin" / main
        raise ManifestError(f"meta.mainProgram is {main!r}, but bin/ has {_listed(there)}")
    if service in there:
        return path / "bin" / service
    if len(there) == 1:
        return path / "bin" / there[0]
    raise ManifestError(
        f"which program of its package should run? bin/ has {_listed(there)}; set"
        f" meta.mainProgram or call one {service!r}"
    )


def _programs(folder: Path) -> list[str]:
    """Return the programs in a folder. Wrappers hide the wrapped ones behind a dot."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.is_file() and os.access(entry, os.X_OK)
    )


def _listed(there: list[str]) -> str:
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    return ", ".join(there[:SHOWN]) + more if there else "no programs"
