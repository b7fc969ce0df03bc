"""What the reconciler works with: providers, and the operator's rules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kennel.domain import Limits
from kennel.plugin import Provisioner, Router, Supervisor
from kennel.store import releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """The providers in use, opened."""

    supervisor: Supervisor
    router: Router
    provisioners: Mapping[str, Provisioner] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator decided about how services run. `drain` in seconds."""

    host: str
    ephemeral: str
    ports: range
    limits: Limits
    drain: float
    is_free: Callable[[int], bool] = releases.can_bind
