"""What should become of a ref. Pure: a row in, an answer out."""

from enum import Enum

from kennel.domain import Environment
from kennel.domain.record import TenantRecord


class Fate(Enum):
    """What a tenant is due.

    AWAKE: what it declares is running. KEPT: its ref is gone and nothing of it runs, but its data
    stays until an operator says otherwise. GONE: everything of it goes.
    """

    AWAKE = "awake"
    KEPT = "kept"
    GONE = "gone"


def fate_of(tenant: TenantRecord) -> Fate:
    """Return a tenant's fate. Production data is never dropped by an event."""
    if tenant.wanted:
        return Fate.AWAKE
    return Fate.KEPT if tenant.environment is Environment.PROD else Fate.GONE
