"""Which previews run when there is not memory for all of them. Pure.

Who was needed last runs. Those that were needed a moment ago, and those that are pinned, are not
put to sleep: who comes then waits.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kennel.domain import Tenant

BUSY = 60.0
"""Seconds after its last use in which a preview is not put to sleep for another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A preview that would run. `memory`: bytes it may use. `active_at`: its last use."""

    tenant: Tenant
    memory: int
    active_at: float
    running: bool
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seating:
    """Who has to go to sleep, and who has to wait for room."""

    sleep: frozenset[Tenant] = frozenset()
    wait: frozenset[Tenant] = frozenset()


def seat(guests: Iterable[Guest], *, most: int | None, now: float) -> Seating:
    """Return who cannot run within `most` bytes; None: there is no limit."""
    if most is None:
        return Seating()
    left = most
    outside: list[Guest] = []
    for guest in sorted(guests, key=lambda one: _order(one, now)):
        if _stays(guest, now) or guest.memory <= left:
            left -= guest.memory
        else:
            outside.append(guest)
    return Seating(
        sleep=frozenset(one.tenant for one in outside if one.running),
        wait=frozenset(one.tenant for one in outside if not one.running),
    )


def _stays(guest: Guest, now: float) -> bool:
    return guest.running and (guest.pinned or abs(now - guest.active_at) < BUSY)


def _order(guest: Guest, now: float) -> tuple[bool, bool, float, Tenant]:
    """Put who stays first, then who is pinned, then who was needed last."""
    return not _stays(guest, now), not guest.pinned, -guest.active_at, guest.tenant
