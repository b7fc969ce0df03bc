"""Whether what was started is ready, and when it is time to give up on it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from kennel.domain import UnitState, UnitStatus
from kennel.reconcile.probe import Trouble

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.25
SHARE = 0.1
"""Of the time since the start, the part that is waited between two looks: so much, and no more,
is lost by looking too late."""
LIFE_EVERY = 0.5
"""Seconds between looks at the supervisor while a service does not answer."""
ENOUGH = 3
"""Restarts after which a unit that was never ready will not get so."""

Look: TypeAlias = Callable[[], Awaitable[Trouble | None]]
"""Asks a unit whether it is ready."""
Life: TypeAlias = Callable[[], Awaitable[UnitStatus | None]]
"""Asks the supervisor how a unit is doing. None: it is not there any more."""


class NotReady(Exception):
    """A service did not become ready. The message tells a developer what was seen."""


class Course:
    """What the supervisor said of a unit, look by look, since it is waited for."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._before: int | None = None
        self._last: UnitStatus | None = None
        self._crashes = 0
        self.reason = ""

    def note(self, status: UnitStatus | None) -> str | None:
        """Take note of a look. Return why the unit will not get ready, None if it may yet."""
        if status is None:
            return "it ended"
        if status.state is UnitState.FAILED:
            return f"it failed ({status.reason})" if status.reason else "it failed"
        self.reason = status.reason or self.reason
        if self._has_crashed(status) or status.state is not UnitState.RUNNING:
            self._since = time.monotonic()
        self._last = status
        if self._crashes < ENOUGH:
            return None
        why = f" ({self.reason})" if self.reason else ""
        return f"it was started again {self._crashes} times{why}"

    def _has_crashed(self, status: UnitStatus) -> bool:
        """Count crashes; not every supervisor does, and one that goes on may have had some."""
        self._before = status.restarts if self._before is None else self._before
        again = status.state is UnitState.RESTARTING
        was = self._last is not None and self._last.state is UnitState.RESTARTING
        counted = max(self._crashes + (again and not was), status.restarts - self._before)
        fresh = counted > self._crashes
        self._crashes = counted
        return fresh

    @property
    def has_crashed(self) -> bool:
        return self._crashes > 0

    @property
    def calm(self) -> float:
        """Return the seconds since which the unit runs, as far as it was looked at."""
        return time.monotonic() - self._since


async def answers(look: Look, life: Life, *, within: float, settle: float) -> None:
    """Return when a unit answers as it should. Raises NotReady after `within` seconds.

    One that has crashed meanwhile has to run for `settle` seconds besides: those that crash again
    and again may well answer in between.
    """
    course = Course()
    begun = asked = time.monotonic()
    while True:
        trouble = await look()
        now = time.monotonic()
        if trouble is None and (not course.has_crashed or course.calm >= settle):
            return
        seen = str(trouble or "it answers between its crashes")
        if now - begun > within:
            why = f" ({course.reason})" if course.reason else ""
            raise NotReady(f"not ready after {within:g} s: {seen}{why}")
        if now - asked > LIFE_EVERY:
            asked = now
            if (gone := course.note(await life())) is not None:
                raise NotReady(f"{gone} before it was ready: {seen}")
        await asyncio.sleep(min(max(FIRST_PAUSE, (now - begun) * SHARE), LONGEST_PAUSE))


async def runs(life: Life, *, within: float, settle: float) -> None:
    """Return when a unit has run for `settle` seconds on end. Raises NotReady.

    That is all there is to see of what does not listen.
    """
    course = Course()
    begun = time.monotonic()
    while True:
        if (gone := course.note(await life())) is not None:
            raise NotReady(f"{gone} before it had run for {settle:g} s")
        if course.calm >= settle:
            return
        if time.monotonic() - begun > within + settle:
            why = f": {course.reason}" if course.reason else ""
            raise NotReady(f"it did not run for {settle:g} s on end within {within:g} s{why}")
        await asyncio.sleep(min(max(FIRST_PAUSE, settle - course.calm), LONGEST_PAUSE))
