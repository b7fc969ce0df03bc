"""Looks at what is live: a process may be there and not answer any more.

It happens beside the passes, which wait for none of it and read what was seen.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from kennel.domain import Tenant, UnitState, UnitStatus, Upstream
from kennel.lifecycle import RESTING, Fate
from kennel.plan import Generation, Wanted
from kennel.reconcile import probe
from kennel.reconcile.probe import Trouble
from kennel.reconcile.providers import Rules

log = structlog.get_logger(__name__)
PARALLEL = 16
"""Services that are looked at side by side."""
PATIENCE = 3
"""Looks on end that a service may leave without an answer."""


@dataclass(slots=True)
class _Case:
    """What was seen of a unit since it was started last.

    `well`: it has answered. `silent`: looks on end that it left without an answer, since `since`,
    a time of the monotonic clock.
    """

    restarts: int
    well: bool = False
    silent: int = 0
    since: float = 0.0
    hangs: bool = False
    trouble: Trouble | None = None

    def note(self, trouble: Trouble | None, *, start: float) -> None:
        """Take note of a look. `start`: seconds that the unit has to get ready."""
        now = time.monotonic()
        self.trouble = trouble
        self.well = self.well or trouble is None
        if trouble is None or trouble.answers:
            self.silent = 0
        else:
            self.since = self.since if self.silent else now
            self.silent += 1
        patient = not self.well or (trouble is not None and trouble.late)
        self.hangs = self.silent >= PATIENCE and (not patient or now - self.since >= start)


class Liveness:
    """Knows which of the units that run do not answer as they should.

    Each is asked what it was asked before it became live: its ready path, else its port. What
    answers with an error is alive, and only shown. What does not answer at all hangs, after some
    looks; but not before it has had its time to get ready, for it may have been started again. Who
    takes a request and is slow to answer may be busy, and has as much time as that, too.

    `every`: seconds between two looks. `changed` is called when there is something new to know.
    """

    def __init__(self, rules: Rules, *, every: float, changed: Callable[[], None]) -> None:
        self._rules = rules
        self._every = every
        self._changed = changed
        self._cases: dict[str, _Case] = {}
        self._due = 0.0
        self._round: asyncio.Task[None] | None = None

    @property
    def ailing(self) -> Mapping[str, str]:
        """Return what is wrong, for each unit that does not do well."""
        cases = self._cases.items()
        return {unit: str(case.trouble) for unit, case in cases if case.trouble is not None}

    @property
    def hung(self) -> frozenset[str]:
        """Return the units that only a new start can help."""
        return frozenset(unit for unit, case in self._cases.items() if case.hangs)

    def forget(self, units: Iterable[str]) -> None:
        """Drop what was seen of units: they were started anew."""
        for unit in units:
            self._cases.pop(unit, None)

    async def stop(self) -> None:
        """Stop looking."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)

    def look(
        self,
        wanted: Iterable[Wanted],
        fates: Mapping[Tenant, Fate],
        units: Mapping[str, UnitStatus],
        *,
        but: Collection[str],
    ) -> None:
        """Begin to look at all that is live and runs, unless that was done a moment ago.

        `but`: units that are being started, and are waited for elsewhere.
        """
        if self._round is not None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._every
        chosen = [
            (generation, host)
            for one in wanted
            if fates.get(one.record.tenant) not in RESTING
            for generation, host in _listening(one)
            if generation.unit not in but and _runs(units.get(generation.unit))
        ]
        # what ended while it was looked at did not fail to answer; what hangs is started for that
        kept = {unit: case for unit, case in self._cases.items() if unit in but and case.hangs}
        fresh = {g.unit: self._case(g.unit, units[g.unit].restarts) for g, _ in chosen}
        self._cases = {**kept, **fresh}
        if chosen:
            self._round = asyncio.create_task(self._look_at(chosen), name="liveness")
            self._round.add_done_callback(self._looked)

    def _case(self, unit: str, restarts: int) -> _Case:
        known = self._cases.get(unit)
        return known if known and known.restarts == restarts else _Case(restarts)

    async def _look_at(self, chosen: Collection[tuple[Generation, str]]) -> None:
        places = asyncio.Semaphore(PARALLEL)

        async def one(generation: Generation, host: str) -> None:
            async with places:
                await self._look_at_one(generation, host)

        await asyncio.gather(*(one(generation, host) for generation, host in chosen))
        if self.ailing:  # the next look is not to wait for somebody who wants a pass
            await asyncio.sleep(max(0.0, self._due - time.monotonic()))

    async def _look_at_one(self, generation: Generation, host: str) -> None:
        case = self._cases.get(generation.unit)
        if case is None or generation.port is None:
            return
        ready = generation.service.ready
        trouble = await probe.look(Upstream(port=generation.port), ready, host=host)
        before = (case.trouble is None, case.hangs)
        case.note(trouble, start=ready.timeout or self._rules.ready_timeout)
        if (trouble is None, case.hangs) != before and self._cases.get(generation.unit) is case:
            log.info(
                "well again" if trouble is None else "not well",
                unit=generation.unit,
                why=str(trouble or ""),
                hangs=case.hangs,
            )
            self._changed()

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._round = None
        if task.cancelled():
            return
        if error := task.exception():
            log.error("cannot look at what is live", exc_info=error)
        elif self.ailing:
            self._changed()


def _listening(wanted: Wanted) -> Iterator[tuple[Generation, str]]:
    """Yield what is sent requests, with the host that it is asked at."""
    for deployed in wanted.live:
        one = deployed.generation
        if one is not None and one.port is not None and one.retired_at is None:
            yield one, wanted.hosts.get(one.key.name, ("localhost",))[-1]


def _runs(status: UnitStatus | None) -> bool:
    return status is not None and status.state is UnitState.RUNNING
