"""The supervisor that production uses."""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from weakref import WeakValueDictionary

from dbus_fast import Message

from kennel.builtin.systemd import journal
from kennel.builtin.systemd.bus import OBJECT, Bus, Refused
from kennel.builtin.systemd.config import SystemdConfig
from kennel.builtin.systemd.environment import EnvironmentFiles, encode
from kennel.builtin.systemd.failures import Failures
from kennel.builtin.systemd.jobs import Jobs
from kennel.builtin.systemd.properties import MARK, OPTIONAL, properties
from kennel.domain import Env, Secret, Unit, UnitState, UnitStatus
from kennel.errors import Rejected, Unavailable
from kennel.plugin import Supervisor, in_thread
from kennel.plugin.settings import Host

log = logging.getLogger(__name__)

SHAPE = re.compile(r"kennel-[a-z0-9-]+--(?:[0-9a-f]{12}|[a-z2-7]{10})")
"""What `names.unit` makes: a generation or a hash at the end. No other unit is ever touched."""

UP = {UnitState.STARTING, UnitState.RUNNING, UnitState.RESTARTING}

ACTIVE = {
    "active": UnitState.RUNNING,
    "reloading": UnitState.RUNNING,
    "refreshing": UnitState.RUNNING,
    "activating": UnitState.STARTING,
    "deactivating": UnitState.STOPPING,
    "failed": UnitState.FAILED,
}
"""systemd's ActiveState; a unit that is "inactive" is as good as not there."""

LOST = "lost"
"""How a job ended when neither signals nor the unit itself tell."""

POLL = 0.1
"""Seconds between looks at a unit whose job cannot be followed."""

SPAWN = re.compile(r"Failed at step (\w+) spawning (.+?): (.+)$")
"""What systemd writes to the journal when there is no program to run."""


class Row(NamedTuple):
    """What ListUnitsByPatterns says of a unit, as far as it matters. `name`: without suffix."""

    name: str
    description: str
    load: str
    active: str
    sub: str

    @classmethod
    def of(cls, row: Sequence[str]) -> "Row":
        full, description, load, active, sub, *_ = row
        return cls(full.removesuffix(".service"), description, load, active, sub)


class SystemdSupervisor(Supervisor):
    """Runs each unit as a transient service of the system's systemd.

    A unit belongs to systemd from the moment it starts: it goes on when Kennel stops, and the
    next Kennel finds it. Its user, sandbox and limits are Kennel's choice alone.
    """

    name: ClassVar[str] = "systemd"
    survives: ClassVar[bool] = True

    def __init__(self, config: SystemdConfig, host: Host) -> None:
        self._config = config
        self._files = EnvironmentFiles(host.run_dir.absolute() / "env")
        self._jobs = Jobs()
        self._failures = Failures()
        self._without: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._bus = Bus(config.bus, on_signal=self._heard, on_loss=self._jobs.lost)

    async def __aenter__(self) -> Self:
        await in_thread(self._files.prepare)
        try:
            await self._bus.open()
            await in_thread(self._files.keep_only, (await self._list()).keys())
        except BaseException as error:
            await self._bus.close()
            if isinstance(error, Unavailable):  # now, at the start, somebody has to act
                raise Rejected(str(error)) from error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._bus.close()

    async def check(self) -> None:
        """Ask for a unit that cannot be: whoever may not start units is told so first."""
        try:
            await self._bus.call(
                "StartTransientUnit", "ssa(sv)a(sa(sv))", "kennel-check.service", "fail", [], []
            )
        except Refused as error:
            log.debug("systemd answers as it should: %s", error)

    async def observe(self) -> Mapping[str, UnitStatus]:
        gone = {
            name: UnitStatus(state=UnitState.FAILED, reason=reason)
            for name, reason in self._failures.given_up().items()
        }
        return {**gone, **await self._list()}

    async def ensure(self, unit: Unit, env: Env) -> None:
        _refuse_foreign(unit.name)
        text = encode({"HOME": Secret("/tmp"), **env}, unit=unit.name)  # noqa: S108  private
        async with self._starting(unit.name):
            status = await self._status(unit.name)
            if status and status.state in UP:
                return
            await self._clear(unit.name)
            self._failures.forget(unit.name)
            await in_thread(self._files.write, unit.name, text)
            await self._start(unit)

    async def remove(self, unit: str) -> None:
        _refuse_foreign(unit)
        await self._clear(unit)
        self._failures.forget(unit)
        await in_thread(self._files.remove, unit)

    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        return await journal.read(unit, lines, folder=self._config.journal)

    def _starting(self, unit: str) -> asyncio.Lock:
        """Return the lock that lets one start a unit at a time; to remove it takes none."""
        lock = self._locks.get(unit)
        if lock is None:
            lock = self._locks[unit] = asyncio.Lock()
        return lock

    async def _start(self, unit: Unit) -> None:
        """Start a unit that is not there; where it cannot be, leave nothing of it."""
        try:
            job = await self._submit(unit)
            result = "done" if job is None else await self._started(job, unit.name)
        except Rejected:
            await in_thread(self._files.remove, unit.name)
            raise
        if result == "done":
            return
        why = await self._why(unit)
        await self.remove(unit.name)
        if result in {"canceled", LOST}:
            raise Unavailable(f"{unit.name} was stopped by somebody while it started")
        raise Rejected(f"{unit.key}: {unit.command[0]} cannot be run: {why or result}")

    async def _submit(self, unit: Unit) -> str | None:
        """Return the job that starts the unit; None if somebody was faster.

        Leaves out what this systemd is too old for, one property after the other.
        """
        for _ in range(len(OPTIONAL) + 1):
            try:
                return await self._start_transient(unit)
            except Refused as error:
                if error.is_named("UnitExists"):
                    status = await self._status(unit.name)
                    if status and status.state in UP:
                        return None
                    await self._clear(unit.name)
                elif not self._leave_out(error):
                    raise
        raise Unavailable(f"{unit.name}: somebody else starts and stops it all the time")

    async def _start_transient(self, unit: Unit) -> str:
        wanted = properties(unit, self._files.path(unit.name), self._config, without=self._without)
        (job,) = await self._bus.call(
            *("StartTransientUnit", "ssa(sv)a(sa(sv))"),
            *(f"{unit.name}.service", "replace", wanted, []),
        )
        return str(job)

    def _leave_out(self, error: Refused) -> bool:
        """Do without an optional property that systemd does not know. False: it is not that."""
        if not error.is_named("PropertyReadOnly", "UnknownProperty"):
            return False
        unknown = next((p for p in OPTIONAL if re.search(rf"\b{p}\b", error.text)), None)
        if unknown is None:
            return False
        if unknown not in self._without:
            log.warning("this systemd does not know %s; services run without it", unknown)
        self._without.add(unknown)
        return True

    async def _started(self, job: str, unit: str) -> str:
        within = self._config.start_timeout + 5
        if result := await self._jobs.result(job, within=within):
            return result
        status = await self._until(unit, UnitState.STARTING, within)
        return "done" if status and status.state in UP else LOST

    async def _clear(self, unit: str) -> None:
        """Stop a unit and make systemd forget it. Return when nothing of it runs."""
        if await self._row(unit) is None:
            return
        within = 2 * self._config.stop_timeout + 5
        if job := await self._tell("StopUnit", "ss", f"{unit}.service", "replace"):
            await self._jobs.result(str(job[0]), within=within)
        await self._tell("ResetFailedUnit", "s", f"{unit}.service")
        status = await self._until(unit, UnitState.STOPPING, within)
        if status and status.state is not UnitState.FAILED:
            raise Unavailable(f"{unit} does not stop; it is {status.state.value}")

    async def _tell(self, member: str, signature: str, *body: object) -> Sequence[Any] | None:
        """Call what may be called on a unit that is not there: then there is nothing to do."""
        try:
            return await self._bus.call(member, signature, *body)
        except Refused as error:
            if error.is_named("NoSuchUnit"):
                return None
            raise

    async def _until(self, unit: str, leaving: UnitState, within: float) -> UnitStatus | None:
        """Return the unit's status as soon as it is not in the state `leaving` any more."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            status = await self._status(unit)
            late = asyncio.get_running_loop().time() > deadline
            if status is None or status.state is not leaving or late:
                return status
            await asyncio.sleep(POLL)

    async def _status(self, unit: str) -> UnitStatus | None:
        row = await self._row(unit)
        return self._read(row) if row else None

    async def _row(self, unit: str) -> Row | None:
        """Return what systemd lists of a unit; None if it is not loaded.

        Raises Rejected if somebody else made a unit of that name.
        """
        for row in await self._rows(f"{unit}.service"):
            if not row.description.startswith(MARK):
                raise Rejected(
                    f"{unit}.service is not Kennel's, but has a name as Kennel gives them:"
                    " stop it or give it another name"
                )
            return row
        return None

    async def _list(self) -> dict[str, UnitStatus]:
        """Return all units of ours that are up, or failed, with a single call."""
        return {
            row.name: status
            for row in await self._rows("kennel-*.service")
            if row.description.startswith(MARK) and (status := self._read(row))
        }

    async def _rows(self, pattern: str) -> list[Row]:
        (rows,) = await self._bus.call("ListUnitsByPatterns", "asas", [], [pattern])
        found = [Row.of(row) for row in rows]
        return [row for row in found if row.load == "loaded" and SHAPE.fullmatch(row.name)]

    def _read(self, row: Row) -> UnitStatus | None:
        state = ACTIVE.get(row.active)
        if state is UnitState.STARTING and row.sub.startswith("auto-restart"):
            state = UnitState.RESTARTING
        if state is None or state in {UnitState.RUNNING, UnitState.STOPPING}:
            return UnitStatus(state=state) if state else None
        return UnitStatus(state=state, reason=self._failures.reason(row.name))

    async def _why(self, unit: Unit) -> str:
        """Return why a unit did not start: systemd's own words where the journal has them."""
        for line in reversed(await self.logs(unit.name, 20)):
            if spawn := SPAWN.search(line):
                return f"{spawn[3]} ({spawn[1]})"
        return self._failures.reason(unit.name)

    def _heard(self, signal: Message) -> None:
        if signal.member == "JobRemoved":
            _, job, unit, result = signal.body
            if _ours(unit):
                self._jobs.removed(job, result)
        elif signal.member == "UnitRemoved":
            if _ours(signal.body[0]):
                self._failures.removed(signal.body[0].removesuffix(".service"))
        elif signal.member == "PropertiesChanged" and signal.path:
            self._changed(_unit_of(signal.path), signal.body[1])

    def _changed(self, full: str, changed: Mapping[str, Any]) -> None:
        name = full.removesuffix(".service")
        if _ours(full):
            self._failures.changed(name, {key: value.value for key, value in changed.items()})


def _ours(full: str) -> bool:
    return full.endswith(".service") and bool(SHAPE.fullmatch(full.removesuffix(".service")))


def _unit_of(path: str) -> str:
    """Return the name of a unit from its object's path: `_2d` stands for `-`."""
    escaped = path.removeprefix(f"{OBJECT}/unit/")
    return re.sub("_([0-9a-f]{2})", lambda byte: chr(int(byte[1], 16)), escaped)


def _refuse_foreign(unit: str) -> None:
    if not SHAPE.fullmatch(unit):
        raise Rejected(f"{unit!r} is not the name of a unit of Kennel's: it is left alone")
