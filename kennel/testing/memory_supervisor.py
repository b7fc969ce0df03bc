"""A supervisor that runs coroutines. It passes the same contract as the real ones."""

import asyncio
import contextlib
import json
import re
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from kennel.domain import Env, Unit, UnitState, UnitStatus
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Supervisor
from kennel.plugin.schedule import last_run, unreadable

SCHEDULE = re.compile(
    r"minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|.*[0-9*].*"
)
"""What passes for a time: nothing here knows the calendar."""


class Exit(Exception):
    """What a program of the `MemorySupervisor` raises to end badly; `status` is why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exited with status {status}")


Say: TypeAlias = Callable[[str], None]
Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Program: TypeAlias = Callable[[Unit, Env, Say], Awaitable[None]]
"""What a unit of the `MemorySupervisor` does: with its environment, and a way to write lines."""


async def answer(unit: Unit, env: Env, say: Say) -> None:
    """Listen on the unit's port, if it has one, as `PROBE` does; answer an HTTP GET with 200.

    A unit with "fails" or "ends" for its mode exits at once.
    """
    mode = unit.command[3] if len(unit.command) > 3 else "serves"
    say(f"probe: {mode}")
    if mode == "fails":
        raise Exit(3)
    if mode == "ends":
        return
    ending: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
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
        with contextlib.closing(writer):
            word, _, rest = (await reader.readline()).decode().strip().partition(" ")
            while word == "GET" and (await reader.readline()).strip():
                pass  # its headers: a connection closed before they are read is reset
            if word == "say":
                say(rest)
            if word in {"exit", "kill"} and not ending.done():
                ending.set_result(_end(word, int(rest)))
            elif word:
                writer.write(_answer(word, json.dumps(seen)))
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    try:
        await _listening(serve, unit, ending)
    finally:
        if served:
            await asyncio.wait(served, timeout=1)


async def _listening(serve: Serve, unit: Unit, ending: asyncio.Future[Exception | None]) -> None:
    """Serve on the unit's port, if it has one, until it is to end; raise what it ends with."""
    async with contextlib.AsyncExitStack() as stack:
        if unit.port is not None:
            server = await asyncio.start_server(serve, unit.address, unit.port, start_serving=False)
            await stack.enter_async_context(server)  # from here on it is closed in any case
            await server.start_serving()
        if error := await ending:
            raise error


def _end(word: str, number: int) -> Exception | None:
    if word == "kill":
        return RuntimeError(f"killed by {signal.Signals(number).name}")
    return Exit(number) if number else None


def _answer(word: str, text: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text) + 1}\r\nConnection: close\r\n\r\n"
    return ((head if word == "GET" else "") + text + "\n").encode()


@dataclass
class MemoryUnit:
    """A unit of the `MemorySupervisor`. `starts`: how often it was started.

    `run`: what it came to, if it is one that is run once.
    """

    unit: Unit
    env: Env
    status: UnitStatus = UnitStatus(state=UnitState.RUNNING)  # noqa: RUF009  frozen
    task: asyncio.Task[None] | None = None
    starts: int = 0
    run: asyncio.Task[str | None] | None = None

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        return [task for task in (self.task, self.run) if task]


@dataclass
class MemoryHost:
    """What units run on: it stays when a supervisor is closed. `lines`: what each wrote."""

    units: dict[str, MemoryUnit] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)


class MemorySupervisor(Supervisor):
    """Runs a coroutine for each unit, whatever its command.

    `program`: what they run; by default they answer on their port. `host`: where they run; give
    the same one to another supervisor and it stands for a new start of Kennel. `problem`: what
    every call raises, to play a host that is out of reach. What has a schedule waits for `elapse`.
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
        return {
            name: unit.status
            for name, unit in self.host.units.items()
            if not (unit.run and unit.run.done())
        }

    async def ensure(self, unit: Unit, env: Env) -> None:
        await self.check()
        _refuse_impossible(unit, env)
        there = self.host.units.get(unit.name)
        if there and there.status.state is not UnitState.FAILED:
            return
        fresh = self.host.units[unit.name] = MemoryUnit(unit, env)
        if unit.schedule is None:
            fresh.task = asyncio.create_task(self._keep(fresh), name=unit.name)
        else:
            fresh.status = UnitStatus(state=UnitState.SCHEDULED)

    def elapse(self, unit: str) -> None:
        """Let a unit's time come: it is run, unless it is running still."""
        there = self.host.units[unit]
        if there.unit.schedule is None:
            raise ValueError(f"{unit} has no schedule")
        if there.status.state is UnitState.SCHEDULED:
            there.status = UnitStatus(state=UnitState.RUNNING)
            there.task = asyncio.create_task(self._elapsed(there), name=unit)

    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        await self.check()
        _refuse_impossible(unit, env)
        there = self.host.units.setdefault(unit.name, MemoryUnit(unit, env))
        if there.run is None:
            there.run = asyncio.create_task(self._once(there, within), name=unit.name)
        await asyncio.wait({there.run})
        if there.run.cancelled():
            raise Unavailable(f"{unit.name} was stopped while it ran")
        return there.run.result()

    async def remove(self, unit: str) -> None:
        await self.check()
        there = self.host.units.pop(unit, None)
        for task in there.tasks if there else ():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        await self.check()
        return self.host.lines.get(unit, [])[-lines:]

    async def _keep(self, unit: MemoryUnit) -> None:
        """Run the program until it ends well; again when it fails, but not more than 5 times."""
        while unit.starts < 5:
            unit.status = UnitStatus(state=UnitState.RUNNING, restarts=unit.starts)
            reason = await self._once(unit)
            if reason is None:
                del self.host.units[unit.unit.name]
                return
            unit.status = UnitStatus(
                state=UnitState.RESTARTING, reason=reason, restarts=unit.starts
            )
            await asyncio.sleep(self._delay)
        unit.status = UnitStatus(state=UnitState.FAILED, reason=unit.status.reason)

    async def _elapsed(self, unit: MemoryUnit) -> None:
        reason = await self._once(unit)
        unit.status = UnitStatus(state=UnitState.SCHEDULED, reason=last_run(reason or ""))

    async def _once(self, unit: MemoryUnit, within: float | None = None) -> str | None:
        """Run the program to its end. Return why it failed; None if it ended well."""
        say = self.host.lines.setdefault(unit.unit.name, []).append
        unit.starts += 1
        limit = asyncio.timeout(within)
        try:
            async with limit:
                await self._program(unit.unit, unit.env, say)
        except Exception as error:
            reason = f"it took longer than {within:g} s" if limit.expired() else str(error)
        else:
            return None
        say(f"{unit.unit.name}: {reason}")
        return reason


def _refuse_impossible(unit: Unit, env: Env) -> None:
    for name, secret in env.items():
        if "\0" in secret.value or "=" in name or not name:
            raise Rejected(f"{unit.name}: {name!r} cannot be passed on")
    if unit.schedule is not None and not SCHEDULE.fullmatch(unit.schedule):
        raise unreadable(unit)
