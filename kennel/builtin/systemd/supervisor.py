"""The supervisor that production uses."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self
from weakref import WeakValueDictionary

from dbus_fast import Message

from kennel.builtin.systemd import journal
from kennel.builtin.systemd.bus import Bus, Refused, unit_of
from kennel.builtin.systemd.config import SystemdConfig
from kennel.builtin.systemd.environment import EnvironmentFiles, encode
from kennel.builtin.systemd.failures import Failures, ended, executed
from kennel.builtin.systemd.firewall import Firewall
from kennel.builtin.systemd.jobs import Jobs
from kennel.builtin.systemd.properties import Order, Orders, told_apart
from kennel.builtin.systemd.rows import SHAPE, UP, Found, has_our_shape, name_of
from kennel.builtin.systemd.ruleset import Users, closed_ports
from kennel.builtin.systemd.units import LOST, STOPPED, Units
from kennel.domain import Env, Secret, Unit, UnitState, UnitStatus
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Supervisor, in_thread
from kennel.plugin.schedule import unreadable
from kennel.plugin.settings import Host

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that systemd may take to answer when Kennel stops."""

SPAWN = re.compile(r"Failed at step (\w+) spawning (.+?): (.+)$")
"""What systemd writes to the journal when there is no program to run."""


class SystemdSupervisor(Supervisor):
    """Runs each unit as a transient service of the system's systemd, or a timer with one.

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
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._bus = Bus(config.bus, on_signal=self._heard, on_loss=self._lost)
        self._units = Units(self._bus, self._jobs, self._failures, config)
        self._orders = Orders(config, self._files.path, closed_ports(config, host))
        self._firewall = Firewall(config, host, self._users)

    async def __aenter__(self) -> Self:
        await in_thread(self._files.prepare)
        try:
            await self._bus.open()
            await in_thread(self._files.keep_only, (await self._units.all()).keys())
            await self._firewall.open()
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
        await self._firewall.close(self._something_runs)
        await self._bus.close()

    async def _something_runs(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                return bool(await self._units.all())
        except (ProviderError, TimeoutError):
            return True  # as far as anybody can tell

    async def _users(self) -> Users:
        (users,) = await self._bus.call("GetDynamicUsers")
        return told_apart(users)

    async def check(self) -> None:
        """Ask for a unit that cannot be: whoever may not start units is told so first."""
        try:
            await self._bus.call(
                "StartTransientUnit", "ssa(sv)a(sa(sv))", "kennel-check.service", "fail", [], []
            )
        except Refused as error:
            log.debug("systemd answers as it should: %s", error)
        await self._firewall.check()

    async def observe(self) -> Mapping[str, UnitStatus]:
        units = await self._units.all()
        for name, found in units.items():
            if found.rests:
                await self._learn(name, found)
        gone = {
            name: UnitStatus(state=UnitState.FAILED, reason=reason)
            for name, reason in self._failures.given_up().items()
        }
        there = {name: found.status(name, self._failures) for name, found in units.items()}
        return {**gone, **{name: status for name, status in there.items() if status}}

    async def _learn(self, unit: str, found: Found) -> None:
        """Ask how the last run of a unit ended, where that was not heard.

        A failed one is forgiven: the project's failure is not the machine's, whose `systemctl
        --failed` people watch, and which fails a `nixos-rebuild switch`.
        """
        if not self._failures.knows(unit):
            self._failures.learn(unit, await self._units.properties(unit))
        if found.service and found.service.active == "failed":
            await self._units.forgive(unit)

    async def ensure(self, unit: Unit, env: Env) -> None:
        text = _text(unit, env)
        async with self._starting(unit.name):
            found = await self._units.find(unit.name)
            if found and self._is_up(unit, found):
                return
            await self._units.clear(unit.name)
            await in_thread(self._files.write, unit.name, text)
            await self._start(unit)

    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        text = _text(unit, env)
        async with self._starting(unit.name):
            job = None
            if await self._units.find(unit.name) is None:
                await in_thread(self._files.write, unit.name, text)
                order = self._orders.once(unit, within)
                job = await self._submit(unit, order, wanted=lambda _: True)
            patience = within + 2 * self._config.stop_timeout + 5
            result = await self._units.ended(unit.name, job, within=patience)
            return await self._outcome(unit, result, within)

    async def _outcome(self, unit: Unit, result: str | None, within: float) -> str | None:
        """Return why a run failed that is over; None if it did not. `result`: of its job."""
        if result == STOPPED or await self._units.find(unit.name) is None:
            raise Unavailable(f"{unit.name} was stopped by somebody while it ran")
        seen = await self._units.properties(unit.name)
        if seen["Result"] == "success":
            return None
        if seen["Result"] == "timeout":
            return f"it took longer than {within:g} s"
        if not executed(seen):
            await self._cannot(unit, ended(seen))
        return ended(seen)

    async def remove(self, unit: str) -> None:
        _refuse_foreign(unit)
        await self._units.clear(unit)
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

    def _is_up(self, unit: Unit, found: Found) -> bool:
        if unit.schedule is not None:
            return found.has_times
        status = found.status(unit.name, self._failures)
        return status is not None and status.state in UP

    async def _start(self, unit: Unit) -> None:
        """Start a unit that is not there; where it cannot be, leave nothing of it."""
        timed = unit.schedule is not None
        order = self._orders.at_times(unit) if timed else self._orders.always(unit)
        job = await self._submit(unit, order, wanted=lambda found: self._is_up(unit, found))
        result = "done" if job is None else await self._units.started(job, unit.name)
        if result in {STOPPED, LOST}:
            await self.remove(unit.name)
            raise Unavailable(f"{unit.name} was stopped by somebody while it started")
        if result != "done" and not self._failures.was_executed(unit.name):
            await self._cannot(unit, self._failures.reason(unit.name) or result)

    async def _submit(
        self, unit: Unit, order: Order, wanted: Callable[[Found], bool]
    ) -> str | None:
        """Return the job that starts a unit; None if somebody was faster."""
        self._failures.begin(unit.name)
        try:
            self._firewall.demand()
            return await self._units.submit(unit.name, order, wanted)
        except Rejected as error:
            await in_thread(self._files.remove, unit.name)
            if _is_about_times(error, unit):
                raise unreadable(unit) from error
            raise

    async def _cannot(self, unit: Unit, why: str) -> NoReturn:
        """Leave nothing of a unit whose program cannot be executed, and raise Rejected.

        The reason is systemd's own where the journal has it.
        """
        for line in reversed(await self.logs(unit.name, 20)):
            if spawn := SPAWN.search(line):
                why = f"{spawn[3]} ({spawn[1]})"
                break
        await self.remove(unit.name)
        raise Rejected(f"{unit.key}: {unit.command[0]} cannot be run: {why}")

    def _lost(self) -> None:
        self._jobs.lost()
        self._failures.lost()
        self._firewall.wake()

    def _heard(self, signal: Message) -> None:
        if signal.member == "JobRemoved":
            _, job, unit, result = signal.body
            if has_our_shape(unit):
                self._jobs.removed(job, result)
        elif signal.member == "UnitRemoved":
            if _is_service(signal.body[0]):
                self._failures.removed(name_of(signal.body[0]))
                self._firewall.forget(signal.body[0])
        elif signal.member == "PropertiesChanged" and signal.path:
            self._changed(unit_of(signal.path), signal.body[1])

    def _changed(self, full: str, changed: Mapping[str, Any]) -> None:
        if _is_service(full):
            values = {key: value.value for key, value in changed.items()}
            self._failures.changed(name_of(full), values)
            if "UID" in values:
                self._firewall.heard(full, values["UID"])


def _is_about_times(error: Rejected, unit: Unit) -> bool:
    about = isinstance(error, Refused) and "calendar" in error.text
    return about and unit.schedule is not None


def _is_service(full: str) -> bool:
    return has_our_shape(full) and full.endswith(".service")


def _text(unit: Unit, env: Env) -> bytes:
    """Return the text of a unit's environment file. Raises Rejected for what cannot be one."""
    _refuse_foreign(unit.name)
    return encode({"HOME": Secret("/tmp"), **env}, unit=unit.name)  # noqa: S108  private


def _refuse_foreign(unit: str) -> None:
    if not SHAPE.fullmatch(unit):
        raise Rejected(f"{unit!r} is not the name of a unit of Kennel's: it is left alone")
