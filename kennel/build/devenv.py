"""Asks devenv what a repository declares: `devenv build scottylabs.kennel.config`, say."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from kennel.build.job import Job
from kennel.build.lines import plain
from kennel.build.manifest import MOST_BYTES
from kennel.build.places import shared
from kennel.build.programs import Programs
from kennel.build.sandbox import Reach
from kennel.errors import BuildError
from kennel.plugin import in_thread

TAIL = 20


class Devenv:
    """Runs devenv. `program`: its name or path. `option`: what it is asked to build."""

    def __init__(self, program: str, option: str, programs: Programs) -> None:
        self._program = program
        self._option = option
        self._programs = programs

    async def manifest(self, job: Job, checkout: Path, home: Path, env: Mapping[str, str]) -> bytes:
        """Return the kennel.json that devenv makes of a checkout, which it may write to.

        Raises BuildError with what devenv said, or if there is no devenv.
        """
        if await in_thread(shutil.which, self._program) is None:
            raise BuildError(
                f"the repository has a devenv.nix and this machine has no {self._program!r}:"
                " install devenv, set build.devenv, or declare the flake output `kennel` instead"
            )
        await in_thread(shared, checkout)
        said: list[str] = []

        async def listen(lines: Sequence[str]) -> None:
            said.extend(plain(line) for line in lines)
            del said[:-TAIL]
            await job.log.say(*lines)

        done = await self._programs.run(
            job.build.id,
            [self._program, "build", self._option],
            # Secrets are not for builds: this provider has none, whatever devenv.yaml says.
            env={**env, "SECRETSPEC_PROVIDER": "null://", "DEVENV_TUI": "false"},
            listen=listen,
            reach=Reach(writes=(home, checkout), cwd=checkout),
        )
        if done.status:
            raise BuildError("\n".join(["devenv build failed:", *said]))
        output = done.output.decode(errors="replace")
        return await in_thread(_read, result(output, self._option))


def result(output: str, option: str) -> Path:
    """Return the path in what `devenv build OPTION` prints: JSON from 2.0 on, before that lines."""
    start = output.find("{")
    try:
        answer = json.loads(output[start:]) if start >= 0 else None
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get(option), str):
        return Path(answer[option])
    paths = [line.strip() for line in output.splitlines() if line.startswith("/")]
    if not paths:
        raise BuildError(f"devenv build {option} names no store path; it prints: {output[-200:]!r}")
    return Path(paths[-1])


def _read(folder: Path) -> bytes:
    file = folder / "kennel.json"
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise BuildError(
            f"devenv built {folder}, and in it {file.name}: {error.strerror}"
        ) from None
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(MOST_BYTES + 1)
