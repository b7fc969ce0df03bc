"""Runs the programs of builds, each in a session or unit of its own, with nothing left behind."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from kennel.build.lines import CHUNK, batches
from kennel.build.sandbox import UNIT, Reach, Sandbox
from kennel.errors import BuildError
from kennel.plugin import in_thread
from kennel.plugin.session import Sessions

Listener = Callable[[Sequence[str]], Awaitable[None]]
"""Is given the lines a program writes to stderr, as they come."""

MOST_OUTPUT = 8 * 1024 * 1024
"""Bytes of stdout that anything we ask for can have."""
LINGER = 2.0
"""Seconds that what a program left behind may hold on to its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a program that ended wrote to stdout, and its exit status."""

    status: int
    output: bytes


class Programs:
    """Runs programs with an environment that holds nothing of Kennel's own."""

    def __init__(
        self, folder: Path, *, sandbox: Sandbox | None = None, memory_max: int | None = None
    ) -> None:
        self._sessions = Sessions(folder, at_death="TERM")
        self._sandbox = sandbox
        self._memory_max = memory_max
        self._numbers = count(1)

    async def run(
        self,
        about: int,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        listen: Listener,
        feed: bytes = b"",
        reach: Reach | None = None,
        most_output: int = MOST_OUTPUT,
    ) -> Finished:
        """Run a command to its end. `about`: the number of what it is for. `feed`: its stdin.

        With a `reach` it runs apart (evaluation, build); without one it runs as Kennel (git). If
        this is cancelled the program and all it started are ended first. Raises BuildError if it
        cannot be executed or if it writes more than `most_output` bytes to stdout.
        """
        await in_thread(_refuse_absent, command[0], env)
        name = f"kennel-build-{about}-{next(self._numbers)}"
        apart = self._sandbox is not None and reach is not None
        words = list(command)
        if self._sandbox is not None and reach is not None:
            words = self._sandbox.wrap(name, command, env=env, reach=reach)
        try:
            process = await self._sessions.start(
                name,
                words,
                env={"PATH": os.environ.get("PATH", os.defpath)} if apart else env,
                cwd=reach.cwd if reach and not apart else "/",
                stdin=asyncio.subprocess.PIPE if feed else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                memory_max=None if apart or reach is None else self._memory_max,
            )
        except OSError as error:
            raise BuildError(f"cannot run {words[0]}: {error.strerror or error}") from error
        try:
            output = await _talk(process, feed, listen, most_output)
        except BaseException:
            await _surely(self._end(name, process, unit=apart))
            raise
        if _is_closed(process):
            await in_thread(self._sessions.forget, name)
        else:  # it is over, and something that it started is not
            await _surely(self._end(name, process, unit=apart))
        return Finished(status=process.returncode or 0, output=output)

    async def _end(self, name: str, process: asyncio.subprocess.Process, *, unit: bool) -> None:
        """End a program, hearing what it still has to say: who cannot speak cannot end."""
        draining = asyncio.gather(_drain(process.stdout), _drain(process.stderr))
        try:
            if unit:
                await stop_units([f"{name}.service"])
            await self._sessions.end(name, process)
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
            process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001  has no other way
            await asyncio.sleep(0)

    async def sweep(self) -> list[str]:
        """End what an earlier Kennel left running. Return the names."""
        found = await in_thread(self._sessions.sweep)
        if self._sandbox is not None:
            units = await left_units()
            await stop_units(units)
            found += units
        return found


def _refuse_absent(program: str, env: Mapping[str, str]) -> None:
    """Say it in our words, before some wrapper of ours says it in its own."""
    if shutil.which(program, path=env.get("PATH")) is None:
        raise BuildError(
            f"there is no program {program} where Kennel looks for it (its PATH): install it, and"
            " restart Kennel with a PATH that has it"
        )


async def _talk(
    process: asyncio.subprocess.Process, feed: bytes, listen: Listener, most_output: int
) -> bytes:
    """Feed a program and hear it out. Return its stdout."""
    output = bytearray()

    async def talk() -> None:
        await asyncio.gather(
            _feed(process.stdin, feed),
            _collect(process.stdout, output, most_output),
            _hear(process.stderr, listen),
        )

    talking, ending = asyncio.create_task(talk()), asyncio.create_task(_exit(process.pid))
    try:
        await asyncio.wait([talking, ending], return_when=asyncio.FIRST_COMPLETED)
        if not talking.done():
            await asyncio.wait([talking], timeout=LINGER)
        if talking.done():
            await talking
            await process.wait()
    finally:
        talking.cancel()
        ending.cancel()
        await asyncio.gather(talking, ending, return_exceptions=True)
    return bytes(output)


async def _exit(pid: int) -> None:
    """Wait until a process has ended. (asyncio's own `wait` waits for its pipes to close, too.)"""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _surely(work: Coroutine[Any, Any, None]) -> None:
    """Do something to its end, even if whoever waits for it is cancelled once more meanwhile."""
    task, cancelled = asyncio.create_task(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


def _is_closed(process: asyncio.subprocess.Process) -> bool:
    return all(stream is None or stream.at_eof() for stream in (process.stdout, process.stderr))


async def _drain(stream: asyncio.StreamReader | None) -> None:
    while stream and await stream.read(CHUNK):
        pass


async def _feed(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    if stream is None:
        return
    with contextlib.suppress(ConnectionError):
        stream.write(data)
        await stream.drain()
    stream.close()


async def _collect(stream: asyncio.StreamReader | None, output: bytearray, most: int) -> None:
    while stream and (chunk := await stream.read(CHUNK)):
        output += chunk
        if len(output) > most:
            raise BuildError(f"an answer has more than {most} bytes, which is more than can be")


async def _hear(stream: asyncio.StreamReader | None, listen: Listener) -> None:
    if stream is None:
        return
    async for lines in batches(stream):
        await listen(lines)


async def left_units() -> list[str]:
    """Return the units of builds that systemd knows of."""
    command = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "kennel-build-*")
    answer = await _systemctl(*command)
    words = (line.split() for line in answer.decode(errors="replace").splitlines())
    return [first for first, *_ in filter(None, words) if UNIT.fullmatch(first)]


async def stop_units(units: Sequence[str]) -> None:
    """Stop units and wait until nothing of them runs."""
    if units:
        await _systemctl("systemctl", "stop", "--", *units)


async def _systemctl(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    return (await process.communicate())[0]
