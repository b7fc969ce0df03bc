"""A process that should run, and how it is doing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from kennel.domain.tenant import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a unit may use at most. None: the operator's default.

    `memory_max`: bytes. `cpu_weight`: 1 to 10000, 100 is normal. `tasks_max`: threads and
    processes.
    """

    memory_max: int | None = None
    cpu_weight: int | None = None
    tasks_max: int | None = None

    def within(self, allowed: "Limits") -> "Limits":
        """Return what is asked for here, as far as it is allowed."""

        def least(one: int | None, other: int | None) -> int | None:
            return other if one is None else one if other is None else min(one, other)

        return Limits(
            memory_max=least(self.memory_max, allowed.memory_max),
            cpu_weight=least(self.cpu_weight, allowed.cpu_weight),
            tasks_max=least(self.tasks_max, allowed.tasks_max),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One generation of a service as a supervisor runs it.

    `name` comes from `names.unit` and is unique on the host; it ends in no `.service`.
    `command` is absolute and its arguments are literal: nothing in them is expanded.
    `port` is where it is told to listen (on `address`); None: it does not listen. `schedule`: it
    is run at these times, in systemd's OnCalendar notation, and not at others; None: always.
    """

    name: str
    key: Key
    command: tuple[str, ...]
    port: int | None
    address: str = "127.0.0.1"
    limits: Limits = field(default_factory=Limits)
    fields: Mapping[str, str] = field(default_factory=dict)
    """Log fields besides KENNEL_PROJECT, KENNEL_REF and KENNEL_SERVICE."""
    schedule: str | None = None


class UnitState(Enum):
    """How a unit is doing. A unit that is not there has no state.

    SCHEDULED: it runs at certain times, and this is none of them.
    """

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    SCHEDULED = "scheduled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """A state and, where there is one, its reason (such as "exited with status 3").

    `restarts`: how often it failed and was started again, as far as the present Kennel has seen.
    """

    state: UnitState
    reason: str = ""
    restarts: int = 0
