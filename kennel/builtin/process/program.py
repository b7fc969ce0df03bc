"""A single run of a unit's program: from its start to the end of its last process."""

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO

from kennel.builtin.process.memory import explained, oom_kills
from kennel.domain import Unit
from kennel.errors import Rejected
from kennel.plugin import in_thread
from kennel.plugin.session import Sessions

WRAPPERS = {"setpriv", "prlimit"}
"""What stands before the program until it is executed."""

REFUSED = {126, 127}
"""What a wrapper exits with when there is no program to become."""

COMPLAINT = re.compile(r"^(?:setpriv|prlimit): .*: (.+)$", re.MULTILINE)

PATIENCE = 10.0
"""Seconds that a program may take to be executed."""

HEAD = TAIL = 4096
"""Bytes of its first and last output that are looked at for why it ended."""


class Run:
    """A process with everything it starts, and its output."""

    def __init__(self, unit: Unit, sessions: Sessions, write: Callable[[bytes], None]) -> None:
        self._unit = unit
        self._sessions = sessions
        self._write = write
        self._head = self._tail = b""
        self._kills = 0
        self._process: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self._transport: asyncio.BaseTransport | None = None

    async def start(self, env: Mapping[str, str], home: Path) -> None:
        """Start the program; return when it has been executed. Raises Rejected if it cannot be."""
        self._kills = await in_thread(oom_kills)
        reader, self._transport, output = await _pipe()
        with output:
            try:
                self._process = await self._sessions.start(
                    self._unit.name,
                    [*await in_thread(_limited, self._unit.limits.memory_max), *self._unit.command],
                    env=env,
                    cwd=home,
                    stdout=output,
                    stderr=output,
                )
            except OSError as error:
                raise self._cannot(error.strerror or str(error)) from error
        self._pump = asyncio.create_task(self._read(reader), name=f"log-{self._unit.name}")
        if not await in_thread(_executed, self._process.pid, len(self._unit.command)):
            await self._explain(self._process)

    async def end(self) -> str:
        """Wait until the program ends, end what it leaves behind.

        Return why it failed; "" if it ended well.
        """
        status = await self._end()
        if status == 0:
            return ""
        return explained(
            describe(status),
            status,
            said=self._tail,
            memory_max=self._unit.limits.memory_max,
            killed=await in_thread(oom_kills) > self._kills,
        )

    async def _end(self) -> int:
        process = self._started()
        await process.wait()
        await self._sessions.end(self._unit.name, process)
        await self._drain()
        return await process.wait()

    async def stop(self, grace: float) -> None:
        """Ask the program to end, then make it. Return when nothing of it is left."""
        if self._process:
            await self._sessions.end(self._unit.name, self._process, grace=grace)
        await self._drain()

    async def _explain(self, process: asyncio.subprocess.Process) -> None:
        """Raise Rejected if what ended so early was not yet the program."""
        status = await self._end()
        complaint = COMPLAINT.search(self._head.decode(errors="replace"))
        if status in REFUSED and complaint:
            raise self._cannot(complaint[1])
        self._process = process

    def _cannot(self, why: str) -> Rejected:
        return Rejected(f"{self._unit.key}: {self._unit.command[0]} cannot be run: {why}")

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self._unit.name} was never started")
        return self._process

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(1 << 16):
            self._head = (self._head + data)[:HEAD]
            self._tail = (self._tail + data)[-TAIL:]
            await in_thread(self._write, data)

    async def _drain(self) -> None:
        """Read what is left; not for ever: what left the session may still hold the other end."""
        if self._pump:
            await asyncio.wait({self._pump}, timeout=1)
            self._pump.cancel()
        if self._transport:
            self._transport.close()


async def _pipe() -> tuple[asyncio.StreamReader, asyncio.BaseTransport, IO[bytes]]:
    """Return both ends of a pipe: one to read from, one to hand to a process."""
    from_process, to_us = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_process, "rb", 0)
    )
    return reader, transport, os.fdopen(to_us, "wb", 0)


@cache
def _limited(memory_max: int | None) -> list[str]:
    """Return the words that set a program's limits before it is executed.

    No core dumps: they are files with every secret in them. Memory is limited as RLIMIT_DATA, what
    a process may write to and shares with nobody. Its whole address space (RLIMIT_AS) says nothing
    about what it uses: V8, Go and Java reserve a multiple of what they ever touch.
    """
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        return []
    memory = [] if memory_max is None else [f"--data={memory_max}"]
    return [prlimit, "--core=0", *memory, "--"]


def _executed(pid: int, words: int) -> bool:
    """Wait until a wrapper has become the program of so many words. False: it ended before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        except OSError:
            return False
        if state in "ZX":
            return False
        wrapped = len(line) > words and Path(os.fsdecode(line[0])).name in WRAPPERS
        if line and not wrapped:
            return True
        time.sleep(0.001)
    return True


def describe(status: int) -> str:
    """Say in words how a program ended. `status`: of exit, or minus the number of a signal."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
