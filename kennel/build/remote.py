"""Asks repositories which refs they have, without fetching anything."""

import re
import shutil
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from kennel.build.credentials import access
from kennel.build.git import COMMIT, environment, explained
from kennel.build.places import Places
from kennel.build.programs import Programs
from kennel.domain import Ref
from kennel.domain.record import Project
from kennel.plugin import in_thread, webhook
from kennel.plugin.webhook import HEADS

BRANCHES = ("--heads",)
EVERYTHING = ("--refs",)
PULL = re.compile(r"refs/pull/([1-9][0-9]*)/head")
MOST_SAID = 50
"""Lines of git's that an error is read from."""

Heads = MappingProxyType[Ref, str]
"""The refs of a repository, each with the commit it is at."""


class Remote:
    """Runs `git ls-remote`, with nothing of Kennel's environment, for one project at a time."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._programs = Programs(places.sweeps)

    async def prepare(self) -> None:
        """End what an earlier Kennel left running, and remove the keys that it left."""
        await in_thread(self._places.prepare)
        await self._programs.sweep()
        await in_thread(self._remove_keys)

    def _remove_keys(self) -> None:
        for folder in self._places.keys.glob("project-*"):
            shutil.rmtree(folder, ignore_errors=True)

    async def heads(self, project: Project, *, pulls: bool) -> Heads:
        """Return the branches of a project's repository, and its pull requests if `pulls`.

        Those that no webhook could name are left out. Nothing at all is what an empty repository
        has. Raises BuildError or ConfigError with what to do, `Unavailable` for what may pass.
        """
        said: list[str] = []

        async def listen(lines: Sequence[str]) -> None:
            said.extend(lines)
            del said[:-MOST_SAID]

        key = self._places.keys / f"project-{project.id}"
        async with access(project, key, self._places.state / "known_hosts") as way:
            done = await self._programs.run(
                project.id,
                ["git", "ls-remote", *(EVERYTHING if pulls else BRANCHES), "--", "kennel"],
                env=environment(self._places, way, allow_file=way.is_local),
                listen=listen,
            )
            if done.status:
                words = "\n".join(said)
                for secret in way.secrets:
                    words = words.replace(secret, "[hidden]")
                raise explained("the refs", way.url, words)
        return await in_thread(_heads, done.output)


def _heads(answer: bytes) -> Heads:
    return Heads(dict(_parsed(answer)))


def _parsed(answer: bytes) -> Iterator[tuple[Ref, str]]:
    """Yield what the lines `COMMIT<tab>NAME` say of branches and pull requests."""
    for line in answer.split(b"\n"):
        commit, _, name = line.decode(errors="replace").partition("\t")
        if COMMIT.fullmatch(commit) and (ref := _ref(name)):
            yield ref, commit


def _ref(name: str) -> Ref | None:
    """Return the ref of that full name, None where it is another thing or of no use here."""
    if "\N{REPLACEMENT CHARACTER}" in name:
        return None
    try:
        if pull := PULL.fullmatch(name):
            return webhook.pull_request(int(pull[1]), where=name)
        if name.startswith(HEADS):
            return webhook.branch(name.removeprefix(HEADS), where=name)
    except ValueError:
        pass
    return None
