"""Runs one unit at certain times."""

import asyncio
import logging
import time

from kennel.builtin.process.almanac import next_time
from kennel.builtin.process.errand import performed
from kennel.builtin.process.stage import Stage
from kennel.domain import UnitState, UnitStatus
from kennel.errors import ProviderError, Rejected
from kennel.plugin.schedule import last_run

log = logging.getLogger(__name__)
NAP = 10.0
"""Seconds to sleep at most before looking at the clock, which may be set, or the lid closed."""
SECOND = 0.5
"""What is added to a time to be past it: times are told in whole seconds."""


class Timetable:
    """One unit, run at its times and not at others. What falls into a run is left out."""

    def __init__(self, stage: Stage) -> None:
        self.status: UnitStatus | None = UnitStatus(state=UnitState.SCHEDULED)
        self._stage = stage
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the first time from now on. Raises Rejected for times that are none."""
        due = await next_time(self._stage.unit, after=time.time())
        self._task = asyncio.create_task(self._keep(due), name=self._stage.unit.name)

    async def stop(self) -> None:
        """End the run that is under way, with all it started, and let there be no other."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        self.status = UnitStatus(state=UnitState.STOPPING)
        await self._stage.stop()
        await self._stage.clear()

    async def _keep(self, due: float | None) -> None:
        try:
            while due is not None:
                await _until(due)
                await self._perform()
                due = await next_time(self._stage.unit, after=max(time.time(), due + SECOND))
        except ProviderError as error:
            self.status = UnitStatus(state=UnitState.FAILED, reason=str(error))
        except Exception as error:
            log.exception("%s is not run any more", self._stage.unit.name)
            reason = f"internal error: {type(error).__name__}"
            self.status = UnitStatus(state=UnitState.FAILED, reason=reason)

    async def _perform(self) -> None:
        self.status = UnitStatus(state=UnitState.RUNNING)
        try:
            reason = await performed(self._stage, self._stage.config.run_timeout)
        except Rejected as error:
            reason = str(error)
        if reason:
            await self._stage.note(reason)
        await self._stage.clear()
        self.status = UnitStatus(state=UnitState.SCHEDULED, reason=last_run(reason))


async def _until(due: float) -> None:
    while (left := due - time.time()) > 0:  # noqa: ASYNC110  no clock sets an event
        await asyncio.sleep(min(left, NAP))
