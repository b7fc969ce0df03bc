"""What evaluating a flake answers, and what is wrong with it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from kennel.build import manifest
from kennel.domain import Manifest
from kennel.errors import ManifestError

SHOWN = 20


class Package(msgspec.Struct, frozen=True):
    """A package of the flake. `derivation` is None if it is something else."""

    derivation: str | None
    path: str = ""
    program: str | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """What `evaluate.nix` tells. `packages`: those that were named; None is not there.

    `there`: all names of packages. `sources`: store paths that strings of `kennel` refer to.
    """

    kennel: msgspec.Raw
    packages: dict[str, Package | None]
    there: list[str]
    sources: list[str]

    @property
    def declares(self) -> bool:
        """Return whether the flake has an output `kennel`."""
        return bytes(self.kennel) != b"null"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a commit declares, with the packages it names."""

    manifest: Manifest
    evaluation: Evaluation


Check: TypeAlias = Callable[[Manifest], None]
"""Raises ManifestError for a manifest that cannot be deployed here."""


def declared(evaluation: Evaluation, known: Manifest | None, check: Check) -> Declared | None:
    """Return what an evaluation says to deploy: `known`, or its own output; None without any.

    Raises ManifestError for a wrong declaration, for packages that the flake does not have, and
    for what `check` refuses.
    """
    if known is None and not evaluation.declares:
        return None
    found = known or manifest.parse(bytes(evaluation.kennel))
    _check_packages(found, evaluation)
    check(found)
    return Declared(found, evaluation)


def _check_packages(found: Manifest, evaluation: Evaluation) -> None:
    problems = []
    for whose, name in manifest.packages_of(found):
        package = evaluation.packages.get(name)
        if package is None:
            near = difflib.get_close_matches(name, evaluation.there, 1)
            there = ", ".join(evaluation.there[:SHOWN]) or "none"
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {there}"
            problems.append(f"{whose}: the flake has no package {name!r}; {hint}")
        elif package.derivation is None:
            problems.append(f"{whose}: the package {name!r} is no derivation")
    if problems:
        raise ManifestError("\n".join(problems))
