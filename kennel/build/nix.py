"""Evaluates what a commit declares, and builds it. Works with Nix 2.8 and everything newer."""

import os
import platform
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import msgspec

from kennel.build.evaluation import Check, Declared, Evaluation, declared
from kennel.build.job import Job
from kennel.build.places import Places, shared, trust_owners
from kennel.build.programs import Finished, Listener, Programs
from kennel.build.progress import Progress
from kennel.build.sandbox import Reach
from kennel.crashpoint import reached
from kennel.domain import Manifest
from kennel.errors import BuildError
from kennel.plugin import in_thread
from kennel.settings import BuildTable

EXPRESSION = Path(__file__).with_name("evaluate.nix").read_text()
FEATURES = ("--extra-experimental-features", "nix-command flakes")
CAREFUL = ("--option", "accept-flake-config", "false", "--option", "pure-eval", "true")
"""A flake's own `nixConfig` may name programs that Nix runs: nobody asked for those."""

MEMORY = re.compile(r"out of memory|bad_alloc|cannot allocate memory", re.IGNORECASE)
NOBODY = re.compile(r"build-users-group' (does not exist|has no members)|no build users")
UNLOCKED = re.compile(r"in pure mode|unlocked|--no-update-lock-file|requires lock file changes")


@dataclass(frozen=True, slots=True)
class Source:
    """A commit as Nix takes it. `folder`: what it has to read for that."""

    url: str
    folder: Path

    @classmethod
    def of_mirror(cls, mirror: Path, name: str, commit: str) -> "Source":
        return cls(f"git+file://{quote(str(mirror))}?ref={quote(name)}&rev={commit}", mirror)


class Nix:
    """Runs Nix as kennel.toml says. `check` refuses what cannot be deployed here."""

    def __init__(
        self, settings: BuildTable, places: Places, programs: Programs, check: Check
    ) -> None:
        self._settings = settings
        self._places = places
        self._programs = programs
        self._check = check

    async def build(
        self, job: Job, source: Source, known: Manifest | None = None
    ) -> Declared | None:
        """Evaluate what a flake declares and build it, in one go. Return what that is.

        `known`: what to build instead of what the flake's own output says. Return None if there
        is neither. The results are kept from the garbage by links in the build's folder, which
        Nix makes before it ends. Raises ManifestError for a wrong declaration, before anything
        is built; BuildError with Nix's words, and the end of the log of what failed.
        """
        link = await in_thread(shared, self._places.roots / str(job.build.id))
        asked = _Asked(job, known, self._check)
        words = ["nix-build", *self._options, "--out-link", str(link / "result")]
        done = await self._run(
            job,
            [*words, "--expr", self._call(source, asked)],
            asked.listen,
            Reach(writes=(link,), reads=(source.folder,)),
        )
        if done.status:
            said = asked.progress.failure()
            what = "the build failed" if asked.declared else "evaluation failed"
            raise BuildError(f"{what}: {said}{self._advice(said)}")
        if asked.declared is not None:
            await self.keep(job, asked.declared.evaluation.sources, "source")
        return asked.declared

    def _call(self, source: Source, asked: "_Asked") -> str:
        """Return the expression that tells and builds."""
        wanted = "null" if asked.known is None else _list(sorted(asked.known.packages))
        return (
            f"({EXPRESSION}) {{ url = {string(source.url)}; system = {string(self.system)};"
            f" wanted = {wanted}; mark = {string(asked.mark)}; }}"
        )

    async def keep(self, job: Job, paths: Sequence[str], name: str) -> None:
        """Keep store paths that are there from the garbage, by links of that name.

        Raises BuildError if one of them is not there.
        """
        if not paths:
            return
        link = await in_thread(shared, self._places.roots / str(job.build.id))
        words = ["nix-store", *self._options, "--realise", "--add-root", str(link / name)]
        progress = Progress()
        listen = _logged(job, progress)
        done = await self._run(job, [*words, *paths], listen, Reach(writes=(link,)))
        if done.status:
            raise BuildError(f"cannot keep {', '.join(paths)}: {progress.failure()}")

    async def source(self, job: Job, folder: Path) -> Source:
        """Return a folder of files as Nix takes it: with its hash, so that it counts as locked."""
        progress = Progress()
        words = ["nix", "hash", "path", "--sri", str(folder)]
        done = await self._run(job, words, _logged(job, progress), Reach(reads=(folder,)))
        if done.status:
            raise BuildError(f"cannot read the checkout: {progress.failure()}")
        digest = done.output.decode().strip()
        return Source(f"path:{quote(str(folder))}?narHash={quote(digest, safe='')}", folder)

    async def _run(
        self, job: Job, words: Sequence[str], listen: Listener, reach: Reach
    ) -> Finished:
        program, *rest = words
        home = await self.home(job)
        return await self._programs.run(
            job.build.id,
            [program, *FEATURES, *CAREFUL, "--log-format", "internal-json", *rest],
            env=self.env(home),
            listen=listen,
            reach=replace(reach, writes=(home, *reach.writes)),
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

    def _advice(self, said: str) -> str:
        """Return what to do about it, where that is known."""
        advice = ""
        if NOBODY.search(said):
            advice = (
                "\nNix has no users to build as: install its daemon (Debian: nix-setup-systemd)"
            )
        if UNLOCKED.search(said):
            advice += "\nCommit a flake.lock that fits flake.nix: `nix flake lock` writes it"
        if self._settings.memory_max is not None and MEMORY.search(said):
            advice += f"\nA build may use {self._settings.memory_max} bytes (build.memory_max)"
        return advice


class _Asked:
    """Hears Nix out, and takes what the flake declares as soon as it is told."""

    def __init__(self, job: Job, known: Manifest | None, check: Check) -> None:
        self.known = known
        self._check = check
        self.mark = f"kennel-{secrets.token_hex(16)}"
        self.declared: Declared | None = None
        self.progress = Progress(self.mark)
        self._job = job

    async def listen(self, lines: Sequence[str]) -> None:
        shown = self.progress.read(lines)
        if self.progress.told is not None:
            await self._take(self.progress.told)
            self.progress.told = None
        await self._job.log.say(*shown)

    async def _take(self, told: str) -> None:
        """Refuse what is wrong before it is built: raising here ends Nix."""
        try:
            evaluation = msgspec.json.decode(told, type=Evaluation)
        except msgspec.DecodeError as error:
            raise BuildError(f"what the flake declares cannot be read: {error}") from error
        self.declared = declared(evaluation, self.known, self._check)
        if self.declared is None:
            return
        reached("manifest-read")
        packages = {n: p for n, p in evaluation.packages.items() if p is not None}
        self.progress.names = {p.derivation or "": name for name, p in packages.items()}
        await self._job.log.enter(f"building {', '.join(sorted(packages))}")


def _logged(job: Job, progress: Progress) -> Listener:
    async def listen(lines: Sequence[str]) -> None:
        await job.log.say(*progress.read(lines))

    return listen


def string(text: str) -> str:
    """Return a text as Nix writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def _list(texts: Iterable[str]) -> str:
    return f"[ {' '.join(string(text) for text in texts)} ]"
