"""One build, from its ref to store paths."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kennel.build import executable, manifest
from kennel.build.devenv import Devenv
from kennel.build.evaluation import Check, Declared
from kennel.build.git import Fetched, Git
from kennel.build.job import Job
from kennel.build.nix import Nix, Source
from kennel.build.outputs import kept_paths
from kennel.build.places import Places
from kennel.build.programs import Programs
from kennel.build.sandbox import Sandbox
from kennel.crashpoint import reached
from kennel.domain import Manifest, Outputs, SecretSpec, environment_of
from kennel.domain.record import Build
from kennel.errors import BuildError, Unavailable
from kennel.plugin import in_thread
from kennel.secrets import Grants, read
from kennel.secrets.library import Library
from kennel.settings import Settings

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two tries to reach a host."""

UNDECLARED = (
    "the repository does not say what to deploy: it has no flake.nix with an output `kennel`, and"
    f" no devenv.nix. Add to its flake.nix, for example:\n{manifest.EXAMPLE}"
)
NO_FLAKE = (
    "devenv.nix declares what to deploy, but there is no flake.nix to build it: each service and"
    " site is built from the flake's packages.SYSTEM.NAME"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of a commit. `secrets`: None where it has no secretspec.toml."""

    manifest: Manifest
    outputs: Outputs
    secrets: SecretSpec | None = None


class Builder:
    """Builds commits as kennel.toml says.

    `check` refuses what cannot be deployed here. `grants`: what a project's secretspec.toml may
    ask for.
    """

    def __init__(
        self,
        settings: Settings,
        places: Places,
        check: Check,
        grants: Callable[[str], Grants],
    ) -> None:
        self._places = places
        self._grants = grants
        self._library = Library(settings.secrets_dir)
        self.programs = Programs(
            places.sessions,
            sandbox=_sandbox(settings, places),
            memory_max=settings.build.memory_max,
        )
        self.git = Git(places, self.programs)
        self._nix = Nix(settings.build, places, self.programs, check)
        self._devenv = Devenv(settings.build.devenv, settings.build.devenv_option, self.programs)

    async def fetch(self, job: Job) -> Fetched:
        """Fetch a build's ref, and try again while its host is away: that is for others to limit.

        Raises `RefGone`, or BuildError for people.
        """
        await job.log.enter(f"fetching {job.build.tenant.ref} of {job.project.full_name}")
        pause = FIRST_PAUSE
        while True:
            try:
                return await self.git.fetch(job)
            except Unavailable as error:
                job.log.phase = f"waiting for the repository: {error}"
                await job.log.say(f"{error}; trying again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def build(self, job: Job, fetched: Fetched) -> Built:
        """Build what the commit that was fetched declares.

        Raises BuildError or ManifestError for people.
        """
        reached("commit-fetched")
        secrets = await self._secrets(job, fetched)
        async with self._source(job, fetched) as source:
            done = await self._build(job, fetched, source)
        paths, programs = _results(done)
        outputs, warnings = await in_thread(executable.outputs, done.manifest, paths, programs)
        await job.log.say(*warnings)
        reached("packages-built")
        return Built(manifest=done.manifest, outputs=outputs, secrets=secrets)

    async def share(self, job: Job, fetched: Fetched, twin: Build) -> Built | None:
        """Take what another build of the commit gave, and keep it for this one too.

        Return None where that is not there any more, or not to be relied on: devenv sees more than
        the commit, and those that nobody trusts were built where others of their kind were.
        """
        if job.build.trusted and not twin.trusted and "devenv.nix" in fetched.files:
            return None
        secrets = await self._secrets(job, fetched)
        paths = await in_thread(kept_paths, self._places, twin)
        if not paths or twin.manifest is None or twin.outputs is None:
            return None
        try:
            await self._nix.keep(job, sorted(paths), "result")
        except BuildError as error:  # it went just now
            await job.log.say(str(error))
            return None
        await job.log.say(f"the same commit was built as build {twin.id}")
        return Built(manifest=twin.manifest, outputs=twin.outputs, secrets=secrets)

    async def _secrets(self, job: Job, fetched: Fetched) -> SecretSpec | None:
        """Return what a commit declares of its secrets; no value is looked up for that.

        Raises ManifestError for what no value would mend, and for what it may not have.
        """
        if fetched.secretspec is None:
            return None
        tenant = job.build.tenant
        spec = await in_thread(read, fetched.secretspec, self._grants(tenant.project))
        profile = str(environment_of(tenant.ref))
        await self._library.check(tenant.project, profile, spec.of(profile))
        return spec

    @asynccontextmanager
    async def _source(self, job: Job, fetched: Fetched) -> AsyncIterator[Source]:
        """Give the commit to Nix: from the mirror, or checked out where it has submodules."""
        if ".gitmodules" not in fetched.files:
            mirror = self._places.mirror(job.project.name)
            yield Source.of_mirror(mirror, fetched.name, fetched.head)
            return
        async with self._checkout(job, fetched, "source") as folder:
            yield await self._nix.source(job, folder)

    @asynccontextmanager
    async def _checkout(self, job: Job, fetched: Fetched, name: str) -> AsyncIterator[Path]:
        """Give the commit's files, for the length of the block."""
        target = self._places.checkouts / str(job.build.id) / name
        await in_thread(shutil.rmtree, target, ignore_errors=True)
        try:
            await self.git.check_out(job, fetched.head, target)
            yield target
        finally:
            await in_thread(shutil.rmtree, target, ignore_errors=True)

    async def _build(self, job: Job, fetched: Fetched, source: Source) -> Declared:
        """Build what a commit declares: in its flake, else through devenv."""
        await job.log.enter("evaluating what the commit declares")
        has_flake = "flake.nix" in fetched.files
        if has_flake and (built := await self._nix.build(job, source)):
            return built
        if "devenv.nix" not in fetched.files:
            raise BuildError(UNDECLARED)
        known = await self._ask_devenv(job, fetched)
        if not has_flake or not (built := await self._nix.build(job, source, known)):
            raise BuildError(NO_FLAKE)
        return built

    async def _ask_devenv(self, job: Job, fetched: Fetched) -> Manifest:
        async with self._checkout(job, fetched, "devenv") as folder:
            home = await self._nix.home(job)
            answer = await self._devenv.manifest(job, folder, home, self._nix.env(home))
        return manifest.parse(answer)


def _results(done: Declared) -> tuple[dict[str, str], dict[str, str | None]]:
    """Return the path and the `meta.mainProgram` of every package."""
    packages = {name: p for name, p in done.evaluation.packages.items() if p is not None}
    return (
        {name: package.path for name, package in packages.items()},
        {name: package.program for name, package in packages.items()},
    )


def _sandbox(settings: Settings, places: Places) -> Sandbox | None:
    """Return how steps are kept apart; None: in sessions of their own, and no more."""
    by_supervisor = settings.build.isolation == "auto" and settings.supervisor == "systemd"
    if settings.build.isolation != "systemd" and not by_supervisor:
        return None
    return Sandbox(
        hidden=places.hidden,
        memory_max=settings.build.memory_max,
        timeout=settings.build.timeout,
    )
