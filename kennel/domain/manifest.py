"""What a commit declares. `kennel.build.manifest` reads it; this is what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
    """A process.

    `port`: whether it listens on the port that Kennel gives it; one that does not (a bot, a queue)
    is ready when it has been running for a while. `schedule`: it is run at these times, in
    systemd's OnCalendar notation, and has no port either. `previews`: whether previews have it.
    `custom_domains`: hosts in production, the one that people are told first. `redirects`: hosts
    that lead there.
    """

    name: str
    package: str
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    custom_domains: tuple[str, ...] = ()
    redirects: tuple[str, ...] = ()
    ready: Ready = field(default_factory=Ready)
    limits: Limits = field(default_factory=Limits)
    port: bool = True
    schedule: str | None = None
    previews: bool = True

    @property
    def listens(self) -> bool:
        """Return whether requests can be sent to it."""
        return self.port and self.schedule is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A command that is run once, to its end.

    It finds the environment of `service`. `package`: where its program is. `timeout`: seconds.
    """

    service: str
    package: str
    args: tuple[str, ...] = ()
    timeout: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Errand):
    """It is run for each build before that becomes live, such as migrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed(Errand):
    """It is run for each tenant, once its resources are there for the first time.

    `production`: for that of production, too.
    """

    production: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder of files.

    `spa`: unknown paths answer /index.html. Otherwise they answer 404, with `/404.html` if
    there is one. `custom_domains`, `redirects`: as those of a service.
    """

    name: str
    package: str
    spa: bool = False
    custom_domains: tuple[str, ...] = ()
    redirects: tuple[str, ...] = ()


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
    release: Release | None = None
    seed: Seed | None = None

    @property
    def errands(self) -> Mapping[str, Errand]:
        """Return the commands that are run once, by name."""
        found: dict[str, Errand | None] = {"seed": self.seed, "release": self.release}
        return {name: one for name, one in found.items() if one is not None}

    @property
    def packages(self) -> frozenset[str]:
        """Return the flake packages that have to be built."""
        return frozenset(
            [service.package for service in self.services.values()]
            + [site.package for site in self.sites.values()]
            + [errand.package for errand in self.errands.values()]
        )

    @property
    def primary(self) -> str | None:
        """Return what gets the plain host: the only service, else the first service or site.

        The order is the alphabet's: Nix and JSON objects have no other.
        A service or site named like the project goes before; see `names.primary_of`. What does not
        listen needs no host.
        """
        listening = [name for name, service in self.services.items() if service.listens]
        return next(iter(sorted(listening) or sorted(self.sites)), None)

    def of_preview(self) -> "Manifest":
        """Return what of it a preview has."""
        services = {name: one for name, one in self.services.items() if one.previews}
        return replace(self, services=services)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What building a manifest's packages gave.

    `paths`: package → store path. `programs`: service → the absolute path of what to execute.
    `release` and `seed`: those of the release and the seed command.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    release: str | None = None
    seed: str | None = None
