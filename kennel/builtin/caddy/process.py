"""The Caddy that Kennel starts itself, and starts again whenever it dies."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kennel.builtin.caddy.admin import Admin
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import in_thread
from kennel.plugin.session import Sessions

Json = dict[str, Any]

START = 15.0
"""Seconds that Caddy may take until its admin API answers; it takes 0.05 on an idle machine."""
STEADY = 60.0
"""Seconds after which a Caddy that dies is not one that cannot start."""
SLOWEST = 30.0
"""Seconds between two starts at most."""

SESSION, LOG = "caddy", "caddy.log"

log = logging.getLogger(__name__)


class Caddy:
    """A process with the configuration that `document` gives at the time of each start.

    `folder`: for its files, on a tmpfs. `state`: for keys and certificates.
    """

    def __init__(
        self, folder: Path, state: Path, admin: Admin, address: str, document: Callable[[], bytes]
    ) -> None:
        self._folder = folder
        self._state = state
        self._admin = admin
        self._address = address
        self._document = document
        self._log = state / LOG
        self._logged = 0
        self._sessions = Sessions(folder / "sessions")
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    def sweep(self) -> bool:
        """Kill one that an earlier Kennel left behind; return whether there was one. Blocking."""
        return bool(self._sessions.sweep())

    async def start(self, binary: str) -> None:
        """Start it, and keep it running from now on. Raises Rejected if it does not start."""
        await self._start(binary)
        self._keeper = asyncio.create_task(self._keep(binary))

    async def stop(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await self._end()

    async def _keep(self, binary: str) -> None:
        """Start it again when it ends: at once, but ever more slowly if it ends every time."""
        clock, pause = asyncio.get_running_loop().time, 0.0
        while True:
            began = clock()
            if self._process:
                code = await self._process.wait()
                log.warning("caddy ended with %s, starting it again", code)
            pause = 0.0 if clock() - began > STEADY else min(max(2 * pause, 0.05), SLOWEST)
            await asyncio.sleep(pause)
            await self._end()
            try:
                await self._start(binary)
            except ProviderError as error:
                log.error("%s", error)  # noqa: TRY400 - the message says it all
                await self._end()

    async def _start(self, binary: str) -> None:
        config = self._folder / "config.json"
        errors = self._folder / "stderr"
        # The admin API stays where it is even if somebody loads a configuration without one.
        env = {
            "HOME": str(self._state),
            "XDG_DATA_HOME": str(self._state),
            "XDG_CONFIG_HOME": str(self._state),
            "CADDY_ADMIN": self._address,
        }
        with await in_thread(self._prepare, config, errors) as stderr:
            self._process = await self._sessions.start(
                SESSION,
                [binary, "run", "--config", str(config)],
                env=env,
                cwd=self._folder,
                stderr=stderr,
            )
        await self._ready(self._process, errors)

    def _prepare(self, config: Path, errors: Path) -> Any:
        config.write_bytes(self._document())
        self._logged = self._log.stat().st_size if self._log.exists() else 0
        return errors.open("wb")

    async def _ready(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + START
        while process.returncode is None and clock() < deadline:
            # The admin API answers before the configuration is in force, and if that fails.
            with contextlib.suppress(Unavailable):
                if (await self._admin.read()).config:
                    return
            await asyncio.sleep(0.02)
        said = await in_thread(self._last_words, errors)
        if process.returncode is None:
            await self._end()
        raise Rejected(f"Kennel's own Caddy does not start: {said}")

    def _last_words(self, errors: Path) -> str:
        """Return why it ended: what it said before it had read where its log is, or after."""
        written = self._log.read_bytes()[self._logged :] if self._log.exists() else b""
        lines = (errors.read_bytes() + written).decode(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        try:
            return str(json.loads(last)["msg"])
        except (ValueError, TypeError, KeyError):
            return last or "it says nothing"

    async def _end(self) -> None:
        if self._process:
            process, self._process = self._process, None
            await self._sessions.end(SESSION, process)
