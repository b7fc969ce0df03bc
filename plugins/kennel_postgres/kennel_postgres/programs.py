"""pg_dump and pg_restore: passwords go through the environment, data through files of mode 0600."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kennel.errors import Rejected
from kennel.plugin import in_thread

LONGEST = 500
"""Characters of a reason."""

EXTENSION = re.compile(r"\d+; \d+ \d+ EXTENSION - (\S+)")
COMMENT_ON_EXTENSION = re.compile(r"\d+; \d+ \d+ COMMENT - EXTENSION ")


class Programs:
    """Runs them. `folder`: where they are; None: on PATH."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def check(self) -> None:
        """Raise Rejected if they are not there."""
        for name in ("pg_dump", "pg_restore"):
            await in_thread(self._path, name)

    async def dump(self, env: Mapping[str, str], file: Path) -> None:
        """Write a database to a file, whole. `env`: how to get there.

        Owners and rights are left out: whoever restores it owns it. Raises Rejected.
        """
        descriptor = await in_thread(os.open, file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            await self._run(
                "pg_dump", "--format=custom", "--no-owner", "--no-acl", env=env, out=descriptor
            )
            await in_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)

    async def contents(self, file: Path) -> Sequence[str]:
        """Return what a dump holds, line by line, as `pg_restore --list` says."""
        listed = await self._run("pg_restore", "--list", str(file), env={})
        return listed.splitlines()

    async def restore(self, env: Mapping[str, str], file: Path, contents: Sequence[str]) -> None:
        """Put what a dump holds into an empty database: all of it, or nothing and Rejected.

        What is said of extensions is left out: that is for their owner to say.
        """
        chosen = file.with_name(f"{file.name}.list.part")
        lines = [line for line in contents if not COMMENT_ON_EXTENSION.match(line)]
        await in_thread(chosen.write_text, "\n".join(lines) + "\n")
        try:
            words = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
            await self._run(
                "pg_restore",
                *words,
                f"--use-list={chosen}",
                f"--dbname={env['PGDATABASE']}",
                str(file),
                env=env,
            )
        finally:
            await in_thread(chosen.unlink)

    def _path(self, name: str) -> str:
        found = shutil.which(name, path=None if self._folder is None else str(self._folder))
        if found is None:
            raise Rejected(
                f"postgres: there is no {name} here: install the client programs of PostgreSQL,"
                " or say where they are: programs in [plugins.postgres]"
            )
        return found

    async def _run(
        self, name: str, *words: str, env: Mapping[str, str], out: int = asyncio.subprocess.PIPE
    ) -> str:
        """Run a program to its end; return what it wrote. Raises Rejected with its first error."""
        path = await in_thread(self._path, name)
        around = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        process = await asyncio.create_subprocess_exec(
            path,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
            env={**around, "LC_ALL": "C", "PGAPPNAME": "kennel", "PGCONNECT_TIMEOUT": "10", **env},
        )
        async with _ended(process):
            said, wrong = await process.communicate()
        if process.returncode:
            raise Rejected(f"postgres: {name}: {_reason(wrong.decode(errors='replace'))}")
        return (said or b"").decode(errors="replace")


@asynccontextmanager
async def _ended(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Let a program not go on that nobody waits for any more."""
    try:
        yield
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _reason(wrong: str) -> str:
    """Return the first error that was told of, without the data that may stand below it."""
    lines = wrong.strip().splitlines() or ["it failed and did not say why"]
    first = next((line for line in lines if "error:" in line), lines[0])
    return first.partition("error: ")[2][:LONGEST] or first[:LONGEST]


def extensions_in(contents: Sequence[str]) -> Sequence[str]:
    """Return the extensions that a dump wants."""
    found = (EXTENSION.match(line) for line in contents)
    return [match[1] for match in found if match]
