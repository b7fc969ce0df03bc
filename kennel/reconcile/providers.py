"""What the reconciler works with: providers, and the operator's rules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kennel.plan import Policy
from kennel.plugin import DnsProvider, Provisioner, Router, SecretSource, Supervisor
from kennel.secrets import Grants
from kennel.store import releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """The providers in use, opened."""

    supervisor: Supervisor
    router: Router
    provisioners: Mapping[str, Provisioner] = field(default_factory=dict)
    secret_sources: Mapping[str, SecretSource] = field(default_factory=dict)
    dns: Mapping[str, DnsProvider] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator decided about how services run. Times are in seconds.

    `ready_timeout`: for services whose manifest says nothing. `settle_time`: how long a service
    without a port has to run until it counts as ready. `look_every`: between two looks at what is
    live, at most. `target`: where names of custom domains lead. `wildcard`: whether the ephemeral
    domain's is published as well. `grants`: what secrets each project may have. `secrets_dir`: a
    folder on a tmpfs to work them out in.
    """

    host: str
    ephemeral: str
    ports: range
    policy: Policy
    ready_timeout: float = 60.0
    settle_time: float = 2.0
    look_every: float = 10.0
    target: str = ""
    wildcard: bool = False
    is_free: Callable[[int], bool] = releases.can_bind
    grants: Callable[[str], Grants] = lambda project: Grants(project=project)
    secrets_dir: Path = Path("/run/kennel/secrets")
