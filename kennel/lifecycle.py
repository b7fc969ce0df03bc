"""What should become of a ref. Pure: from its row, the clock and the operator's terms."""

from dataclasses import dataclass
from enum import Enum

from kennel.domain import Environment
from kennel.domain.record import TenantRecord


class Fate(Enum):
    """What a tenant is due.

    AWAKE: what it declares is running. ASLEEP: nothing of it runs until somebody asks for it.
    STOPPED: nothing of it runs until it is started by hand. EXPIRED: nobody needed it for so long
    that it goes. KEPT: its ref is gone and nothing of it runs, but its data stays until an
    operator says otherwise. GONE: everything of it goes.
    """

    AWAKE = "awake"
    ASLEEP = "asleep"
    STOPPED = "stopped"
    EXPIRED = "expired"
    KEPT = "kept"
    GONE = "gone"


RESTING = frozenset({Fate.ASLEEP, Fate.STOPPED})
"""Its units are stopped; its deployment, its data and its hosts stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a tenant may be idle, in seconds, until it sleeps and until it expires.

    None: it never does.
    """

    sleep_after: float | None = None
    expire_after: float | None = None


def fate_of(tenant: TenantRecord, terms: Terms = Terms(), *, now: float = 0.0) -> Fate:
    """Return a tenant's fate. Production data is never dropped by an event.

    A clock that went back makes nobody idle.
    """
    if not tenant.wanted:
        keeps = tenant.environment is Environment.PROD and not tenant.purged
        return Fate.KEPT if keeps else Fate.GONE
    idle = now - tenant.active_at
    if not tenant.pinned and _is_over(idle, terms.expire_after):
        return Fate.EXPIRED
    if tenant.stopped:
        return Fate.STOPPED
    if not tenant.pinned and _is_over(idle, terms.sleep_after):
        return Fate.ASLEEP
    return Fate.AWAKE


def _is_over(idle: float, after: float | None) -> bool:
    return after is not None and idle >= after


def next_change(tenant: TenantRecord, terms: Terms, *, now: float) -> float | None:
    """Return the seconds until the clock alone changes a tenant's fate; None: it never will."""
    if not tenant.wanted or tenant.pinned:
        return None
    times = (terms.sleep_after, terms.expire_after)
    due = [tenant.active_at + after - now for after in times if after is not None]
    return min((seconds for seconds in due if seconds > 0), default=None)
