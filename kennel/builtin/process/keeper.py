"""Keeps one unit running: again when it fails, later and later, and not for ever."""

import asyncio
import time
from collections import deque

from kennel.builtin.process.stage import Stage
from kennel.domain import UnitState, UnitStatus
from kennel.errors import Rejected


class Keeper:
    """One unit, from the moment it is wanted until it is not.

    `status` is None once it has ended by itself and well.
    """

    def __init__(self, stage: Stage) -> None:
        self.status: UnitStatus | None = UnitStatus(state=UnitState.STARTING)
        self._stage = stage
        self._config = stage.config
        self._starts: deque[float] = deque(maxlen=stage.config.start_limit)
        self._restarts = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the unit; return when its program has been executed. Raises Rejected."""
        await self._launch()
        self._task = asyncio.create_task(self._keep(), name=self._stage.unit.name)

    async def stop(self) -> None:
        """End the unit with all it started; return when nothing of it is left."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        self.status = self.status and UnitStatus(state=UnitState.STOPPING)
        await self._stage.stop()
        await self._stage.clear()

    async def _launch(self) -> None:
        self._starts.append(time.monotonic())
        await self._stage.launch()
        self.status = UnitStatus(state=UnitState.RUNNING, restarts=self._restarts)

    async def _keep(self) -> None:
        """Start the program again until it ends well or was started too often."""
        reason = await self._stage.ended()
        while reason and not self._exhausted():
            self._restarts += 1
            self.status = UnitStatus(
                state=UnitState.RESTARTING, reason=reason, restarts=self._restarts
            )
            await self._stage.note(f"{reason}; it is started again")
            await asyncio.sleep(self._delay())
            try:
                await self._launch()
            except Rejected as error:
                reason = str(error)
            else:
                reason = await self._stage.ended()
        if reason:
            await self._stage.note(f"{reason}; given up after {len(self._starts)} starts")
        self.status = UnitStatus(state=UnitState.FAILED, reason=reason) if reason else None

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
