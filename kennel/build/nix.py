"""Evaluates what a commit declares, and builds it. Works with Nix 2.8 and everything newer."""

import asyncio
import difflib
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import msgspec

from kennel.build.job import Job
from kennel.build.manifest import things
from kennel.build.places import Places, shared, trust_owners
from kennel.build.programs import Finished, Programs
from kennel.build.progress import Progress
from kennel.build.sandbox import Reach
from kennel.domain import Manifest
from kennel.errors import BuildError, ManifestError
from kennel.plugin import in_thread
from kennel.settings import BuildTable

EXPRESSION = Path(__file__).with_name("evaluate.nix")
FEATURES = ("--extra-experimental-features", "nix-command flakes")
CAREFUL = ("--option", "accept-flake-config", "false")
"""A flake's own `nixConfig` may name programs that Nix runs: nobody asked for those."""

SELECTS_OUTPUTS = (2, 13)
"""The first Nix that takes `x.drv^out`; to older ones `x.drv` means its outputs."""

VANISHED = re.compile(r"path '[^']*\.drv' (?:is not valid|does not exist)|don't know how to build")
MEMORY = re.compile(r"out of memory|bad_alloc|cannot allocate memory", re.IGNORECASE)
UNLOCKED = re.compile(r"in pure mode|unlocked|--no-update-lock-file|requires lock file changes")


class Vanished(BuildError):
    """Garbage was collected between evaluation and build."""


class Package(msgspec.Struct, frozen=True):
    """A package of the flake. `derivation` is None if it is something else."""

    derivation: str | None
    output: str = "out"
    program: str | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """What `evaluate.nix` answers. `needs`: what strings of `kennel` refer to."""

    kennel: msgspec.Raw
    packages: dict[str, Package | None]
    there: list[str]
    needs: dict[str, "Need"]


class Need(msgspec.Struct, frozen=True):
    """What is needed of a store path. A path without outputs is there already."""

    outputs: list[str] = []


class BuiltDerivation(msgspec.Struct, frozen=True):
    """An element of what `nix build --json` answers."""

    outputs: dict[str, str | None]
    drvPath: str = ""  # noqa: N815  Nix's own name for it


@dataclass(frozen=True, slots=True)
class Source:
    """A commit as Nix takes it. `folder`: what it has to read for that."""

    url: str
    folder: Path

    @classmethod
    def of_mirror(cls, mirror: Path, name: str, commit: str) -> "Source":
        return cls(f"git+file://{quote(str(mirror))}?ref={quote(name)}&rev={commit}", mirror)


class Nix:
    """Runs Nix as kennel.toml says."""

    def __init__(self, settings: BuildTable, places: Places, programs: Programs) -> None:
        self._settings = settings
        self._places = places
        self._programs = programs
        self._expression = EXPRESSION.read_text()
        self._version: tuple[int, int] | None = None
        self._asking = asyncio.Lock()

    async def evaluate(self, job: Job, source: Source, wanted: Iterable[str] | None) -> Evaluation:
        """Return what a flake declares and the derivations of the packages it names.

        `wanted`: the packages to look at instead of those. Raises BuildError with Nix's words.
        """
        arguments = (
            f"url = {string(source.url)}; system = {string(self.system)};"
            f" wanted = {'null' if wanted is None else _list(wanted)};"
        )
        progress = Progress()
        done = await self.run(
            job,
            ["eval", *self._options, "--json", "--expr", f"({self._expression}) {{ {arguments} }}"],
            progress,
            reads=(source.folder,),
        )
        if done.status:
            raise BuildError(self._evaluation_failed(progress.failure()))
        try:
            return msgspec.json.decode(done.output, type=Evaluation)
        except msgspec.DecodeError as error:
            raise BuildError(
                f"nix eval answers what Kennel does not understand: {error}"
            ) from error

    def _evaluation_failed(self, said: str) -> str:
        advice = ""
        if UNLOCKED.search(said):
            advice = "\nCommit a flake.lock that fits flake.nix: `nix flake lock` writes it"
        return f"evaluation failed: {said}{advice}{self._memory(said)}"

    async def source(self, job: Job, folder: Path) -> Source:
        """Return a folder of files as Nix takes it: with its hash, so that it counts as locked."""
        progress = Progress()
        words = ["hash", "path", "--sri", str(folder)]
        done = await self.run(job, words, progress, reads=(folder,))
        if done.status:
            raise BuildError(f"cannot read the checkout: {progress.failure()}")
        digest = done.output.decode().strip()
        return Source(f"path:{quote(str(folder))}?narHash={quote(digest, safe='')}", folder)

    async def build(self, job: Job, evaluation: Evaluation) -> dict[str, str]:
        """Build what an evaluation named, all at once. Return package → store path.

        The results are kept from the garbage by links in the build's folder, made by Nix itself
        as it goes. Raises BuildError with the end of the log of what failed, `Vanished` if
        evaluation has to be repeated.
        """
        packages = {n: p for n, p in evaluation.packages.items() if p and p.derivation}
        link = await in_thread(shared, self._places.roots / str(job.build.id))
        words = ["build", *self._options, "--json", "--out-link", str(link / "result")]
        what = await self._installables(packages, evaluation.needs)
        if not what:
            return {}
        progress = Progress({p.derivation or "": name for name, p in packages.items()})
        done = await self.run(job, [*words, *what], progress, writes=(link,))
        if done.status:
            said = progress.failure()
            kind = Vanished if VANISHED.search(said) else BuildError
            raise kind(f"the build failed: {said}{self._memory(said)}")
        return _paths(packages, done.output)

    async def _installables(
        self, packages: Mapping[str, Package], needs: Mapping[str, Need]
    ) -> list[str]:
        wanted: dict[str, set[str]] = {}
        for package in packages.values():
            wanted.setdefault(package.derivation or "", set()).add(package.output)
        for path, need in needs.items():
            wanted.setdefault(path, set()).update(need.outputs)
        selects = await self.version() >= SELECTS_OUTPUTS
        return [
            f"{path}^{','.join(sorted(outputs))}" if selects and outputs else path
            for path, outputs in sorted(wanted.items())
        ]

    async def run(
        self,
        job: Job,
        words: Sequence[str],
        progress: Progress,
        *,
        reads: tuple[Path, ...] = (),
        writes: tuple[Path, ...] = (),
    ) -> Finished:
        """Run a command of Nix and log what it does."""
        home = await self.home(job)

        async def listen(lines: Sequence[str]) -> None:
            await job.log.say(*progress.read(lines))

        return await self._programs.run(
            job.build.id,
            ["nix", *FEATURES, *CAREFUL, "--log-format", "internal-json", *words],
            env=self.env(home),
            listen=listen,
            reach=Reach(writes=(home, *writes), reads=reads),
        )

    async def home(self, job: Job) -> Path:
        """Return the HOME for a project's builds."""
        home = self._places.home(job.project.name, trusted=job.build.trusted)
        await in_thread(shared, home)
        await in_thread(trust_owners, home)
        return home

    def env(self, home: Path) -> dict[str, str]:
        """Return the whole environment of a step: nothing in it is Kennel's own."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            **self._settings.environment,
        }

    @property
    def _options(self) -> list[str]:
        given = (("--store", self._settings.store), ("--eval-store", self._settings.eval_store))
        stores = [word for option, value in given if value for word in (option, value)]
        return [*stores, *self._settings.nix_options]

    @cached_property
    def system(self) -> str:
        """Return what Nix calls this machine, such as x86_64-linux. `--system` says otherwise."""
        options = self._settings.nix_options
        if "--system" in options[:-1]:
            return options[options.index("--system") + 1]
        machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine())
        return f"{machine or platform.machine()}-{platform.system().lower()}"

    async def version(self) -> tuple[int, int]:
        """Return Nix's version. Asked once. Raises BuildError if there is no Nix."""
        async with self._asking:
            if self._version is None:
                self._version = await self._ask_version()
            return self._version

    async def _ask_version(self) -> tuple[int, int]:
        async def ignore(_lines: Sequence[str]) -> None: ...

        env = self.env(self._places.homes)
        done = await self._programs.run(0, ["nix", "--version"], env=env, listen=ignore)
        found = re.findall(r"(\d+)\.(\d+)", done.output.decode(errors="replace"))
        if not found:
            raise BuildError(f"`nix --version` says {done.output[:80]!r}: is that Nix?")
        return int(found[-1][0]), int(found[-1][1])

    def _memory(self, said: str) -> str:
        if self._settings.memory_max is None or not MEMORY.search(said):
            return ""
        return f"\nA build may use {self._settings.memory_max} bytes (build.memory_max)"


def _paths(packages: Mapping[str, Package], answer: bytes) -> dict[str, str]:
    built: dict[str, dict[str, str | None]] = {}
    for one in msgspec.json.decode(answer, type=list[BuiltDerivation]):
        built.setdefault(one.drvPath, {}).update(one.outputs)
    paths = {}
    for name, package in packages.items():
        path = built.get(package.derivation or "", {}).get(package.output)
        if path is None:
            raise BuildError(f"package {name!r}: nix build does not say where its output is")
        paths[name] = path
    return paths


def check_packages(manifest: Manifest, evaluation: Evaluation) -> None:
    """Raise ManifestError naming every package that the flake does not have."""
    problems = []
    for thing in things(manifest):
        package = evaluation.packages.get(thing.package)
        if package is None:
            near = difflib.get_close_matches(thing.package, evaluation.there, 1)
            there = ", ".join(evaluation.there[:20]) or "none"
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {there}"
            problems.append(f"{thing.name}: the flake has no package {thing.package!r}; {hint}")
        elif package.derivation is None:
            problems.append(f"{thing.name}: the package {thing.package!r} is no derivation")
    if problems:
        raise ManifestError("\n".join(problems))


def string(text: str) -> str:
    """Return a text as Nix writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def _list(texts: Iterable[str]) -> str:
    return f"[ {' '.join(string(text) for text in texts)} ]"
