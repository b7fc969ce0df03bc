"""Units as systemd has them: found, started, waited for, stopped."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kennel.builtin.systemd.bus import Bus, Refused
from kennel.builtin.systemd.config import SystemdConfig
from kennel.builtin.systemd.failures import Failures
from kennel.builtin.systemd.jobs import Jobs
from kennel.builtin.systemd.properties import OPTIONAL, Order
from kennel.builtin.systemd.rows import PATTERNS, UP, Found, Row, group, has_our_shape
from kennel.domain import UnitState, UnitStatus
from kennel.errors import Rejected, Unavailable

log = logging.getLogger(__name__)

STOPPED = "canceled"
"""How the job of a start ends that somebody stops."""

LOST = "lost"
"""How a job ended when neither signals nor the unit itself tell."""

POLL = 0.1
"""Seconds between looks at a unit whose job cannot be followed."""


class Units:
    """Everything that is done to single units over D-Bus."""

    def __init__(self, bus: Bus, jobs: Jobs, failures: Failures, config: SystemdConfig) -> None:
        self._bus = bus
        self._jobs = jobs
        self._failures = failures
        self._config = config
        self._without: set[str] = set()

    async def all(self) -> Mapping[str, Found]:
        """Return all units of ours that are loaded, with a single call."""
        rows = await self._rows(*PATTERNS)
        return group(row for row in rows if row.is_ours)

    async def find(self, unit: str) -> Found | None:
        """Return what is loaded of a unit; None if nothing is.

        Raises Rejected if somebody else made a unit of that name.
        """
        rows = await self._rows(f"{unit}.service", f"{unit}.timer")
        for row in rows:
            if not row.is_ours:
                raise Rejected(
                    f"{row.full} is not Kennel's, but has a name as Kennel gives them:"
                    " stop it or give it another name"
                )
        return group(rows).get(unit)

    async def status(self, unit: str) -> UnitStatus | None:
        found = await self.find(unit)
        return found.status(unit, self._failures) if found else None

    async def submit(self, unit: str, order: Order, wanted: Callable[[Found], bool]) -> str | None:
        """Return the job that starts a unit; None if there is one already that is `wanted`.

        Leaves out what this systemd is too old for, one property after the other.
        """
        for _ in range(len(OPTIONAL) + 1):
            try:
                (job,) = await self._bus.call(
                    "StartTransientUnit",
                    "ssa(sv)a(sa(sv))",
                    *order.arguments(without=self._without),
                )
            except Refused as error:
                if error.is_named("UnitExists"):
                    found = await self.find(unit)
                    if found and wanted(found):
                        return None
                    await self.clear(unit)
                elif not self._leave_out(error):
                    raise
            else:
                return str(job)
        raise Unavailable(f"{unit}: somebody else starts and stops it all the time")

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

    async def started(self, job: str, unit: str) -> str:
        """Wait for the job that starts a service or a timer, and return how it ended."""
        within = self._config.start_timeout + 5
        if result := await self._jobs.result(job, within=within):
            return result
        status = await self._until(unit, UnitState.STARTING, within)
        return "done" if status and status.state in UP else LOST

    async def ended(self, unit: str, job: str | None, *, within: float) -> str | None:
        """Wait until a run is over. Return how its job ended, as far as that was heard.

        Raises Unavailable if it is not over in time: systemd should have seen to that.
        """
        deadline = asyncio.get_running_loop().time() + within
        result: str | None = None
        while True:
            left = deadline - asyncio.get_running_loop().time()
            if job is not None:
                heard = await self._jobs.result(job, within=max(left, 0))
                result = result or heard
            row = await self._service(unit)
            if row is None or not row.is_ending:
                return result
            if left < 0:
                raise Unavailable(f"{unit} does not end; it is {row.active}")
            if row.job in {job, "/"}:
                await asyncio.sleep(POLL)
            job = None if row.job == "/" else row.job

    async def _service(self, unit: str) -> Row | None:
        found = await self.find(unit)
        return found.service if found else None

    async def clear(self, unit: str) -> None:
        """Stop a unit and make systemd forget it. Return when nothing of it runs."""
        found = await self.find(unit)
        if found is None:
            return
        within = 2 * self._config.stop_timeout + 5
        for row in found.rows:
            if job := await self._tell("StopUnit", "ss", row.full, "replace"):
                await self._jobs.result(str(job[0]), within=within)
            await self._tell("ResetFailedUnit", "s", row.full)
        status = await self._until(unit, UnitState.STOPPING, within)
        if status and status.state is not UnitState.FAILED:
            raise Unavailable(f"{unit} does not stop; it is {status.state.value}")

    async def forgive(self, unit: str) -> None:
        """Make systemd forget that the last run of a unit failed."""
        await self._tell("ResetFailedUnit", "s", f"{unit}.service")

    async def properties(self, unit: str) -> Mapping[str, Any]:
        """Return the properties of a unit's service."""
        return await self._bus.properties(f"{unit}.service")

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
            status = await self.status(unit)
            late = asyncio.get_running_loop().time() > deadline
            if status is None or status.state is not leaving or late:
                return status
            await asyncio.sleep(POLL)

    async def _rows(self, *patterns: str) -> list[Row]:
        (rows,) = await self._bus.call("ListUnitsByPatterns", "asas", [], list(patterns))
        found = [Row.of(row) for row in rows]
        return [row for row in found if row.load != "not-found" and has_our_shape(row.full)]
