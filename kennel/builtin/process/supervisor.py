"""The supervisor of a laptop: no systemd, no privileges, and no walls."""

import asyncio
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from weakref import WeakValueDictionary

from kennel.builtin.process.config import ProcessConfig
from kennel.builtin.process.errand import Errand
from kennel.builtin.process.keeper import Keeper
from kennel.builtin.process.logfile import LogFile, prune
from kennel.builtin.process.stage import Stage
from kennel.builtin.process.timetable import Timetable
from kennel.domain import Env, Unit, UnitState, UnitStatus
from kennel.errors import Rejected
from kennel.plugin import Supervisor, in_thread
from kennel.plugin.session import Sessions
from kennel.plugin.settings import Host

log = logging.getLogger(__name__)


class ProcessSupervisor(Supervisor):
    """Runs each unit as a process of Kennel's own, in a session of its own.

    It is for trying out and for development. Services run as Kennel's user and can read whatever
    Kennel can, other services' environment included; of their limits only memory is kept, for
    each process alone. They end when Kennel ends; what is left after a `kill -9` of Kennel is
    ended by the next start.
    """

    name: ClassVar[str] = "process"
    survives: ClassVar[bool] = False

    def __init__(self, config: ProcessConfig, host: Host) -> None:
        self._config = config
        self._homes = host.run_dir.absolute() / "process" / "homes"
        self._logs = host.state_dir.absolute() / "process" / "logs"
        self._sessions = Sessions(host.run_dir.absolute() / "process" / "sessions")
        self._kept: dict[str, Keeper | Timetable | Errand] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        swept = await in_thread(self._prepare)
        if swept:
            log.warning("ended what an earlier Kennel had left running: %s", ", ".join(swept))
        log.warning(
            "services run as Kennel's own user (uid %d), without a sandbox and only as long as"
            ' Kennel does: in production use supervisor = "systemd"',
            os.getuid(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all units: they never outlive Kennel."""
        await asyncio.gather(*(self.remove(unit) for unit in list(self._kept)))

    async def observe(self) -> Mapping[str, UnitStatus]:
        there = {name: kept.status for name, kept in self._kept.items()}
        return {name: status for name, status in there.items() if status is not None}

    async def ensure(self, unit: Unit, env: Env) -> None:
        _refuse_impossible(unit.name, env)
        async with self._lock(unit.name):
            if self._is_up(unit.name):
                return
            await self._stop(unit.name)
            stage = self._stage(unit, env)
            keeper = Keeper(stage) if unit.schedule is None else Timetable(stage)
            try:
                await keeper.start()
            except BaseException:
                await keeper.stop()
                raise
            self._kept[unit.name] = keeper

    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        """Run a program once. It ends with Kennel: the next Kennel starts it again."""
        _refuse_impossible(unit.name, env)
        async with self._lock(unit.name):
            errand = self._kept.get(unit.name)
            if not isinstance(errand, Errand):
                await self._stop(unit.name)
                errand = self._kept[unit.name] = Errand(self._stage(unit, env), within)
        try:
            return await errand.result()
        except Rejected:
            await self.remove(unit.name)
            raise

    async def remove(self, unit: str) -> None:
        async with self._lock(unit):
            await self._stop(unit)
        await in_thread(prune, self._logs, self._config.log_days)

    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        return await in_thread(self._log(unit).tail, lines)

    def _stage(self, unit: Unit, env: Env) -> Stage:
        return Stage(
            unit,
            env,
            config=self._config,
            sessions=self._sessions,
            log=self._log(unit.name),
            home=self._homes / unit.name,
        )

    def _is_up(self, unit: str) -> bool:
        keeper = self._kept.get(unit)
        status = keeper.status if keeper else None
        return status is not None and status.state is not UnitState.FAILED

    async def _stop(self, unit: str) -> None:
        """Stop a unit and forget it; a stop that is cut off can be repeated."""
        if keeper := self._kept.get(unit):
            await keeper.stop()
            del self._kept[unit]

    def _lock(self, unit: str) -> asyncio.Lock:
        """Return the unit's own lock; it is gone when nobody holds it or waits for it."""
        lock = self._locks.get(unit)
        if lock is None:
            lock = self._locks[unit] = asyncio.Lock()
        return lock

    def _log(self, unit: str) -> LogFile:
        return LogFile(self._logs / f"{Path(unit).name}.log", self._config.log_max_bytes)

    def _prepare(self) -> list[str]:
        """End and remove what an earlier Kennel left behind. Return the names of its units."""
        swept = self._sessions.sweep()
        shutil.rmtree(self._homes, ignore_errors=True)
        for folder in (self._homes, self._logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        prune(self._logs, self._config.log_days)
        return swept


def _refuse_impossible(unit: str, env: Env) -> None:
    for name, secret in env.items():
        if not name or "=" in name or "\0" in name:
            raise Rejected(f"{unit}: {name!r} cannot be the name of a variable")
        if "\0" in secret.value:
            raise Rejected(f"{unit}: the value of {name} holds a NUL, which no environment can")
