"""What systemd lists of units, and what it means."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kennel.builtin.systemd.failures import RESULTS, Failures
from kennel.builtin.systemd.properties import MARK
from kennel.domain import UnitState, UnitStatus
from kennel.plugin.schedule import last_run

SHAPE = re.compile(r"kennel-[a-z0-9-]+--(?:[0-9a-f]{12}|[a-z2-7]{10})")
"""What `names.unit` makes: a generation or a hash at the end. No other unit is ever touched."""

PATTERNS = ("kennel-*.service", "kennel-*.timer")

UP = {UnitState.STARTING, UnitState.RUNNING, UnitState.RESTARTING, UnitState.SCHEDULED}

ACTIVE = {
    "active": UnitState.RUNNING,
    "reloading": UnitState.RUNNING,
    "refreshing": UnitState.RUNNING,
    "activating": UnitState.STARTING,
    "deactivating": UnitState.STOPPING,
    "failed": UnitState.FAILED,
}
"""systemd's ActiveState; a unit that is "inactive" is as good as not there."""


class Row(NamedTuple):
    """What ListUnitsByPatterns says of a unit, as far as it matters.

    `job`: the path of a job that is under way, or "/".
    """

    full: str
    description: str
    load: str
    active: str
    sub: str
    job: str

    @classmethod
    def of(cls, row: Sequence[str]) -> "Row":
        full, description, load, active, sub, _, _, _, _, job = row
        return cls(full, description, load, active, sub, job)

    @property
    def name(self) -> str:
        return name_of(self.full)

    @property
    def is_ours(self) -> bool:
        return self.description.startswith(MARK)

    @property
    def is_ending(self) -> bool:
        """Return whether something is going on that will be over by itself."""
        return self.job != "/" or self.active in {"activating", "deactivating", "reloading"}


@dataclass(frozen=True, slots=True)
class Found:
    """What is loaded of a unit: a service; a timer and the service that it starts."""

    service: Row | None
    timer: Row | None

    @property
    def rows(self) -> list[Row]:
        """Return what there is, in the order of stopping it."""
        return [row for row in (self.timer, self.service) if row]

    @property
    def has_times(self) -> bool:
        return self.timer is not None and self.timer.active == "active"

    @property
    def rests(self) -> bool:
        """Return whether its timer waits for the next run."""
        return self.has_times and not self._runs

    @property
    def _runs(self) -> bool:
        return self.service is not None and self.service.active not in {"inactive", "failed"}

    def status(self, name: str, failures: Failures) -> UnitStatus | None:
        """Return how the unit is doing; None if it is as good as not there."""
        if self.has_times:
            return self._timed(failures.reason(name))
        if self.timer and self.timer.active == "failed":
            return UnitStatus(state=UnitState.FAILED, reason="its timer failed")
        if self.service is None:
            return None
        return _untimed(self.service, failures.reason(name), failures.restarts(name))

    def _timed(self, reason: str) -> UnitStatus:
        if self._runs:
            return UnitStatus(state=UnitState.RUNNING)
        if reason == RESULTS["timeout"]:
            reason = "it took longer than it may"
        return UnitStatus(state=UnitState.SCHEDULED, reason=last_run(reason))


def _untimed(row: Row, reason: str, restarts: int) -> UnitStatus | None:
    state = ACTIVE.get(row.active)
    if row.sub == "exited":  # a run that has ended well
        return None
    if state is UnitState.STARTING and row.sub.startswith("auto-restart"):
        state = UnitState.RESTARTING
    if state is None or state in {UnitState.RUNNING, UnitState.STOPPING}:
        reason = ""
    return UnitStatus(state=state, reason=reason, restarts=restarts) if state else None


def name_of(full: str) -> str:
    """Return a unit's name without its suffix."""
    return full.removesuffix(".service").removesuffix(".timer")


def has_our_shape(full: str) -> bool:
    """Return whether this could be the whole name of a unit of ours."""
    return full.endswith((".service", ".timer")) and bool(SHAPE.fullmatch(name_of(full)))


def group(rows: Iterable[Row]) -> Mapping[str, Found]:
    """Return name → what is loaded of that unit."""
    services: dict[str, Row] = {}
    timers: dict[str, Row] = {}
    for row in rows:
        (timers if row.full.endswith(".timer") else services)[row.name] = row
    return {name: Found(services.get(name), timers.get(name)) for name in {**services, **timers}}
