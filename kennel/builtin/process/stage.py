"""What a unit runs in: a home of its own, its environment, its log."""

import logging
import shutil
from pathlib import Path

from kennel.builtin.process.config import ProcessConfig
from kennel.builtin.process.logfile import LogFile
from kennel.builtin.process.program import Run
from kennel.domain import Env, Unit
from kennel.plugin import in_thread
from kennel.plugin.session import Sessions

log = logging.getLogger(__name__)

PATH = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin"


class Stage:
    """Runs a unit's program, once at a time.

    `home`: a folder that is the unit's own until `clear`.
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
        self.unit = unit
        self.config = config
        self._home = home
        self._log = log
        self._env = {
            "PATH": PATH,
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            **{name: secret.value for name, secret in env.items()},
        }
        self._sessions = sessions
        self._run: Run | None = None

    async def launch(self) -> None:
        """Start the program; return when it has been executed. Raises Rejected."""
        await in_thread((self._home / "tmp").mkdir, mode=0o700, parents=True, exist_ok=True)
        self._run = Run(self.unit, self._sessions, self._write)
        await self._run.start(self._env, self._home)

    async def ended(self) -> str:
        """Wait for the end of the run and return why it failed; "" if it ended well."""
        return await self._run.end() if self._run else ""

    async def stop(self) -> None:
        """End the run with all it started; return when nothing of it is left."""
        if self._run:
            await self._run.stop(self.config.stop_timeout)

    async def clear(self) -> None:
        """Take the home away."""
        await in_thread(shutil.rmtree, self._home, ignore_errors=True)

    async def note(self, text: str) -> None:
        """Write a line of Kennel's own to the log."""
        await in_thread(self._write, f"{self.unit.name}: {text}\n".encode())

    def _write(self, data: bytes) -> None:
        """Keep output; where there is no room for it the service goes on all the same."""
        try:
            self._log.append(data)
        except OSError as error:
            log.warning("%s: its output is lost: %s", self.unit.name, error)
