"""Programs that run in a session of their own and are never left behind.

A session is a process with everything it starts. It is ended as a whole. If Kennel is killed,
the program is killed with it (the kernel does that for the program itself), and what is left of
its session is ended by `Sessions.sweep` at the next start.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from kennel.plugin.threads import in_thread

GRACE = 5.0
"""Seconds between asking a session to end and killing it."""


class Sessions:
    """The sessions of one purpose, such as "builds", noted in a folder on a tmpfs.

    `at_death`: the signal that a program gets when Kennel is killed. `TERM` is for one that has
    to end sessions of its own, as Nix does its builders; whatever it leaves is killed by `sweep`.
    """

    def __init__(self, folder: Path, *, at_death: str = "KILL") -> None:
        self._folder = folder
        self._at_death = at_death

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | str = "/",
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int | IO[Any] = asyncio.subprocess.DEVNULL,
        stderr: int | IO[Any] = asyncio.subprocess.DEVNULL,
        memory_max: int | None = None,
        limit: int = 1 << 20,
    ) -> asyncio.subprocess.Process:
        """Start a command whose name is unique in this folder. Its environment is `env` alone.

        `memory_max`: bytes of address space for each process. `limit`: the longest line that
        its streams read. Raises OSError if it cannot be executed.
        """
        process = await asyncio.create_subprocess_exec(
            *await in_thread(_tied_to_us, self._at_death, memory_max),
            *command,
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            limit=limit,
        )
        try:
            await in_thread(self._note, name, process.pid)
        except BaseException:  # cancelled, or no room for the note: nobody would ever end it
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        return process

    async def end(
        self, name: str, process: asyncio.subprocess.Process, *, grace: float = GRACE
    ) -> None:
        """End a session: ask it, wait for `grace` seconds, kill what is left, wait for it.

        What is left of a session whose first process has ended is killed at once.
        """
        await in_thread(_signal, process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
        await in_thread(_kill_all, process.pid)
        await process.wait()
        await in_thread(self.forget, name)

    def forget(self, name: str) -> None:
        """Drop the note of a session that has ended by itself."""
        (self._folder / name).unlink(missing_ok=True)

    def sweep(self) -> list[str]:
        """Kill the sessions that an earlier Kennel left behind. Return their names."""
        if not self._folder.is_dir():
            return []
        return [note.name for note in sorted(self._folder.iterdir()) if self._kill(note)]

    def _note(self, name: str, pid: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(json.dumps([pid, started_at(pid)]))

    def _kill(self, note: Path) -> bool:
        try:
            pid, started = json.loads(note.read_text())
        except (OSError, ValueError):  # cut off while it was written: nothing ran yet
            pid, started = 0, None
        note.unlink(missing_ok=True)
        leader = started_at(pid) if pid else None
        if not pid or (leader is not None and leader != started):  # the number is another's now
            return False
        return _kill_all(pid)


def started_at(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; None if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def _members(session: int) -> list[int]:
    """Return the processes of a session, in whichever group; not those that have ended."""
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdecimal() and _session_of(folder) == session
    ]


def _session_of(folder: Path) -> int | None:
    try:
        state, _, _, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):  # it has just gone
        return None
    return None if state in "ZX" else int(session)


def _signal(session: int, number: int) -> bool:
    """Signal every process of a session. Return whether there was one."""
    found = _members(session)
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(found)


def _kill_all(session: int) -> bool:
    """Kill a session and wait until it is gone: it may be starting more processes meanwhile.

    Return whether there was anything to kill.
    """
    found = _signal(session, signal.SIGKILL)
    for _ in range(1000):
        if not _signal(session, signal.SIGKILL):
            break
        time.sleep(0.002)
    return found


@cache
def _program(name: str) -> str | None:
    return shutil.which(name)


def _tied_to_us(at_death: str, memory_max: int | None) -> list[str]:
    """Return the words that make a program die with Kennel and keep to its limit.

    util-linux does both before it becomes the program; doing it between fork and exec in a
    process with threads is not safe.
    """
    words: list[str] = []
    if setpriv := _program("setpriv"):
        words += [setpriv, "--pdeathsig", at_death, "--"]
    if memory_max is not None and (prlimit := _program("prlimit")):
        words += [prlimit, f"--as={memory_max}", "--"]
    return words
