"""A supervisor that runs coroutines. It passes the same contract as the real ones."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from kennel.domain import Env, Unit, UnitState, UnitStatus
from kennel.errors import ProviderError, Rejected
from kennel.plugin import Supervisor


class Exit(Exception):
    """What a program of the `MemorySupervisor` raises to end badly; `status` is why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exited with status {status}")


Say: TypeAlias = Callable[[str], None]
Program: TypeAlias = Callable[[Unit, Env, Say], Awaitable[None]]
"""What a unit of the `MemorySupervisor` does: with its environment, and a way to write lines."""


async def answer(unit: Unit, env: Env, say: Say) -> None:
    """Listen on the unit's port as `PROBE` does, and answer an HTTP GET with 200.

    A unit with "fails" among its arguments exits at once.
    """
    mode = unit.command[3] if len(unit.command) > 3 else "serves"
    say(f"probe: {mode}")
    if mode == "fails":
        raise Exit(3)
    ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen = {
        "run": secrets.token_hex(8),
        "env": {name: secret.value for name, secret in env.items()},
        "args": list(unit.command[4:]),
        "writes": [True, True],
    }

    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            served.add(task)
        word, _, rest = (await reader.readline()).decode().strip().partition(" ")
        while word == "GET" and (await reader.readline()).strip():
            pass  # its headers: a connection closed before they are read is reset
        if word == "say":
            say(rest)
        if word == "exit" and not ending.done():
            ending.set_exception(Exit(int(rest)))
        elif word == "kill" and not ending.done():
            ending.set_exception(RuntimeError(f"killed by signal {rest}"))
        elif word:
            writer.write(_answer(word, json.dumps(seen)))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    try:
        async with await asyncio.start_server(serve, unit.address, unit.port):
            await ending
    finally:
        if served:
            await asyncio.wait(served, timeout=1)


def _answer(word: str, text: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text) + 1}\r\nConnection: close\r\n\r\n"
    return ((head if word == "GET" else "") + text + "\n").encode()


@dataclass
class MemoryUnit:
    """A unit of the `MemorySupervisor`. `starts`: how often it was started."""

    unit: Unit
    env: Env
    status: UnitStatus = UnitStatus(state=UnitState.RUNNING)  # noqa: RUF009  frozen
    task: asyncio.Task[None] | None = None
    starts: int = 0


@dataclass
class MemoryHost:
    """What units run on: it stays when a supervisor is closed. `lines`: what each wrote."""

    units: dict[str, MemoryUnit] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)


class MemorySupervisor(Supervisor):
    """Runs a coroutine for each unit, whatever its command.

    `program`: what they run; by default they answer on their port. `host`: where they run; give
    the same one to another supervisor and it stands for a new start of Kennel. `problem`: what
    every call raises, to play a host that is out of reach.
    """

    name: ClassVar[str] = "memory"
    survives: ClassVar[bool] = True

    def __init__(
        self, program: Program = answer, host: MemoryHost | None = None, *, delay: float = 0.01
    ) -> None:
        self.host = host or MemoryHost()
        self.problem: ProviderError | None = None
        self._program = program
        self._delay = delay

    async def check(self) -> None:
        if self.problem:
            raise self.problem

    async def observe(self) -> Mapping[str, UnitStatus]:
        await self.check()
        return {name: unit.status for name, unit in self.host.units.items()}

    async def ensure(self, unit: Unit, env: Env) -> None:
        await self.check()
        for name, secret in env.items():
            if "\0" in secret.value or "=" in name or not name:
                raise Rejected(f"{unit.name}: {name!r} cannot be passed on")
        there = self.host.units.get(unit.name)
        if there and there.status.state is not UnitState.FAILED:
            return
        fresh = self.host.units[unit.name] = MemoryUnit(unit, env)
        fresh.task = asyncio.create_task(self._run(fresh), name=unit.name)

    async def remove(self, unit: str) -> None:
        await self.check()
        there = self.host.units.pop(unit, None)
        if there and there.task:
            there.task.cancel()
            await asyncio.gather(there.task, return_exceptions=True)

    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        await self.check()
        return self.host.lines.get(unit, [])[-lines:]

    async def _run(self, unit: MemoryUnit) -> None:
        """Run the program until it ends well; again when it fails, but not more than 5 times."""
        say = self.host.lines.setdefault(unit.unit.name, []).append
        while unit.starts < 5:
            unit.starts += 1
            unit.status = UnitStatus(state=UnitState.RUNNING)
            try:
                await self._program(unit.unit, unit.env, say)
            except Exception as error:
                say(f"{unit.unit.name}: {error}")
                unit.status = UnitStatus(state=UnitState.RESTARTING, reason=str(error))
                await asyncio.sleep(self._delay)
            else:
                del self.host.units[unit.unit.name]
                return
        unit.status = UnitStatus(state=UnitState.FAILED, reason=unit.status.reason)
