"""What a commit declares. `kennel.build.manifest` reads it; this is what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kennel.domain.unit import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """When a service counts as ready to be sent traffic.

    `path`: an HTTP path that answers 2xx or 3xx; None means that its port accepts a connection.
    `timeout`: seconds it may take from its start; None: the operator's `services.ready_timeout`.
    """

    path: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process that listens on the port Kennel gives it."""

    name: str
    package: str
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    custom_domain: str | None = None
    ready: Ready = field(default_factory=Ready)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder of files.

    `spa`: unknown paths answer /index.html. Otherwise they answer 404, with `/404.html` if
    there is one.
    """

    name: str
    package: str
    spa: bool = False
    custom_domain: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that one commit wants to have running.

    `resources` maps the name of a resource, such as `postgres`, to its options. A service and
    a site never share a name.
    """

    services: Mapping[str, Service] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    previews: bool = True

    @property
    def packages(self) -> frozenset[str]:
        """Return the flake packages that have to be built."""
        return frozenset(
            [service.package for service in self.services.values()]
            + [site.package for site in self.sites.values()]
        )

    @property
    def primary(self) -> str | None:
        """Return what gets the plain host: the only service, else the first service or site.

        The order is the alphabet's: Nix and JSON objects have no other.
        A service or site named like the project goes before; see `names.primary_of`.
        """
        return next(iter(sorted(self.services) or sorted(self.sites)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What building a manifest's packages gave.

    `paths`: package → store path. `programs`: service → the absolute path of what to execute.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
