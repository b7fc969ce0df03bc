"""Keeps one unit running: again when it fails, later and later, and not for ever."""

import asyncio
import logging
import shutil
import time
from collections import deque
from pathlib import Path

from kennel.builtin.process.config import ProcessConfig
from kennel.builtin.process.logfile import LogFile
from kennel.builtin.process.program import Run, describe
from kennel.domain import Env, Unit, UnitState, UnitStatus
from kennel.errors import Rejected
from kennel.plugin import in_thread
from kennel.plugin.session import Sessions

log = logging.getLogger(__name__)

PATH = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin"


class Keeper:
    """One unit, from the moment it is wanted until it is not.

    `status` is None once it has ended by itself and well. `home`: a folder that is the unit's own
    until then.
    """

    def __init__(
        self,
        unit: Unit,
        env: Env,
        *,
        config: ProcessConfig,
        sessions: Sessions,
        log: LogFile,
        home: Path,
    ) -> None:
        self.status: UnitStatus | None = UnitStatus(state=UnitState.STARTING)
        self._unit = unit
        self._home = home
        self._log = log
        self._env = {
            "PATH": PATH,
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            **{name: secret.value for name, secret in env.items()},
        }
        self._config = config
        self._sessions = sessions
        self._starts: deque[float] = deque(maxlen=config.start_limit)
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the unit; return when its program has been executed. Raises Rejected."""
        await in_thread((self._home / "tmp").mkdir, mode=0o700, parents=True, exist_ok=True)
        await self._launch()
        self._task = asyncio.create_task(self._keep(), name=self._unit.name)

    async def stop(self) -> None:
        """End the unit with all it started; return when nothing of it is left."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._run:
            self.status = UnitStatus(state=UnitState.STOPPING)
            await self._run.stop(self._config.stop_timeout)
        await in_thread(shutil.rmtree, self._home, ignore_errors=True)

    async def _launch(self) -> None:
        self._starts.append(time.monotonic())
        self._run = Run(self._unit, self._sessions, self._write)
        await self._run.start(self._env, self._home)
        self.status = UnitStatus(state=UnitState.RUNNING)

    async def _keep(self) -> None:
        """Start the program again until it ends well or was started too often."""
        reason = await self._ended()
        while reason and not self._exhausted():
            self.status = UnitStatus(state=UnitState.RESTARTING, reason=reason)
            await self._note(f"{reason}; it is started again")
            await asyncio.sleep(self._delay())
            try:
                await self._launch()
            except Rejected as error:
                reason = str(error)
            else:
                reason = await self._ended()
        if reason:
            await self._note(f"{reason}; given up after {len(self._starts)} starts")
        self.status = UnitStatus(state=UnitState.FAILED, reason=reason) if reason else None

    async def _ended(self) -> str:
        """Wait for the end of the run and return why it failed; "" if it ended well."""
        status = await self._run.end() if self._run else 0
        return describe(status) if status else ""

    def _exhausted(self) -> bool:
        """Return whether there were as many starts as there may be in so short a time."""
        oldest = time.monotonic() - self._config.start_limit_interval
        return len(self._starts) == self._config.start_limit and self._starts[0] > oldest

    def _delay(self) -> float:
        """Return the seconds until the next start: twice as many for every recent one."""
        oldest = time.monotonic() - self._config.start_limit_interval
        recent = sum(start > oldest for start in self._starts)
        wanted = self._config.restart_delay * 2.0 ** max(recent - 1, 0)
        return min(wanted, self._config.restart_max_delay)

    async def _note(self, text: str) -> None:
        await in_thread(self._write, f"{self._unit.name}: {text}\n".encode())

    def _write(self, data: bytes) -> None:
        """Keep output; where there is no room for it the service goes on all the same."""
        try:
            self._log.append(data)
        except OSError as error:
            log.warning("%s: its output is lost: %s", self._unit.name, error)
