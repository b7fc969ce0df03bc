"""Runs one unit once, to its end."""

import asyncio

from kennel.builtin.process.stage import Stage
from kennel.domain import UnitState, UnitStatus
from kennel.errors import Unavailable


class Errand:
    """A run of a unit's program. It goes on when whoever waits for it is cut off.

    `status` is None once it is over.
    """

    def __init__(self, stage: Stage, within: float) -> None:
        self._stage = stage
        self._within = within
        self._task = asyncio.create_task(self._perform(), name=stage.unit.name)

    @property
    def status(self) -> UnitStatus | None:
        return None if self._task.done() else UnitStatus(state=UnitState.RUNNING)

    async def result(self) -> str | None:
        """Wait for its end; return None if it ended well, else why not.

        Raises Rejected if it cannot be executed, Unavailable if it was stopped meanwhile.
        """
        await asyncio.wait({self._task})
        if self._task.cancelled():
            raise Unavailable(f"{self._stage.unit.name} was stopped by somebody while it ran")
        return self._task.result()

    async def stop(self) -> None:
        """End it with all it started; return when nothing of it is left."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stage.stop()
        await self._stage.clear()

    async def _perform(self) -> str | None:
        reason = await performed(self._stage, self._within)
        if reason:
            await self._stage.note(reason)
        return reason or None


async def performed(stage: Stage, within: float) -> str:
    """Run a program to its end, and not for longer. Return why it failed; "" if it ended well.

    Raises Rejected if it cannot be executed.
    """
    await stage.launch()
    try:
        async with asyncio.timeout(within):
            return await stage.ended()
    except TimeoutError:
        await stage.stop()
        return f"it took longer than {within:g} s"
