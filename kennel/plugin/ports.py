"""What a provider must be able to do. One class for each kind of provider.

Most have the same three verbs: `observe` tells what is there, `ensure` makes one thing so,
`remove` takes it away. `ensure` and `remove` may be repeated at will, and may be cut off at any
point by a crash: the next call goes on from whatever is there.

Every method that talks to a service may raise `Unavailable` (out of reach: asked again on the
next pass) or `Rejected` (somebody has to act; the message says who and what). Anything else that
escapes is a bug of the plugin; it is logged and costs only the tenant in question.

A provider marks what it makes and `observe` shows only what is marked. It never touches anything
else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

from kennel.domain import (
    Env,
    Event,
    PullRequestChanged,
    Reference,
    Repository,
    Route,
    Secret,
    Target,
    Tenant,
    Unit,
    UnitStatus,
)
from kennel.errors import Rejected
from kennel.plugin.command import Command, Order


class Provider(ABC):
    """Opened once when the daemon starts, closed once when it stops."""

    name: ClassVar[str]
    """Lower case; unique among the providers of its kind; what people write in kennel.toml."""

    async def __aenter__(self) -> Self:
        """Open connections. May raise `Rejected` to stop the start, with what to do about it.

        `Unavailable` is tried again. The start waits for a supervisor and a router; who uses a
        provisioner that is away waits for it, and nobody else.
        """
        return self

    async def __aexit__(  # noqa: B027  # most have nothing to close
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close connections. What was provided stays as it is."""

    async def check(self) -> None:  # noqa: B027  # most have nothing to check
        """Return if all is well; else raise `Unavailable` or `Rejected` with the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something on a server that is marked as a tenant's.

    `name`: what the server calls it. `size`: bytes; None where that cannot be told. `detail`: more
    for people, such as "12 objects".
    """

    tenant: Tenant
    name: str
    size: int | None = None
    detail: str = ""


class Provisioner(Provider, ABC):
    """Gives each tenant a resource of its own, such as a database.

    `name` is what a manifest lists under `resources`.
    """

    variables: ClassVar[frozenset[str]]
    """The environment variables `ensure` answers with: always the same, always all of them."""

    commands: ClassVar[Sequence[Command]] = ()
    """What people may order: `kennel NAME COMMAND`, carried out by `command`."""

    def use(self, supervisor: "Supervisor") -> None:
        """Take note of what can run a unit for a tenant. Called once, before this is opened.

        Such a unit is called by `names.unit`, with a name of the tenant's no service can have,
        and is this provisioner's to observe, start again, and remove.
        """

    def check_options(self, options: Mapping[str, object]) -> None:
        """Return if `ensure` would take these options; else raise `Rejected`, as it would.

        Asked when a commit is built, so that what is wrong is known before anything of it is
        deployed. Does no I/O.
        """

    @abstractmethod
    async def observe(self) -> set[Tenant]:
        """Return every tenant that has, in whole or in part, something marked as Kennel's."""

    @abstractmethod
    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        """Make the tenant's resource and return how to reach it: the same answer every time.

        `options` is what the manifest says of this resource; an unknown or wrong one is
        `Rejected` with what is allowed.
        """

    @abstractmethod
    async def remove(self, tenant: Tenant) -> None:
        """Take the tenant's resource away with everything in it."""

    async def lacking(self, tenants: Collection[Tenant]) -> set[Tenant]:
        """Return those of these tenants whose resource is not there whole: they are ensured again.

        Asked in every pass of all tenants that should have one, so it asks the server once.
        """
        return set(tenants) - await self.observe()

    async def resources(self) -> Sequence[Resource]:
        """Return everything `observe` knows of, with what people want to know of it."""
        return [Resource(tenant=one, name=str(one)) for one in sorted(await self.observe())]

    async def command(self, name: str, order: Order, tell: Callable[[str], None]) -> None:
        """Carry out one of `commands`. `tell`: is given lines for the person who ordered it.

        Raises `Rejected` with what would be right, `Unavailable`.
        """
        raise NotImplementedError(name, order, tell)


class SecretSource(Provider, ABC):
    """Looks up the secrets of a project."""

    @abstractmethod
    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        """Return the values of those names that the source has for this project and profile.

        A name that is not there is left out. "Cannot tell" (sealed, forbidden, unreachable) is
        `Unavailable` or `Rejected`, never an empty answer.
        """

    async def shared(
        self, project: str, profile: str, wanted: Collection[Reference]
    ) -> Mapping[Reference, Secret]:
        """Return what this project and profile refer to and is there: of several projects.

        Asked only for what the operator shares with the project. "Cannot tell" is as above.
        """
        items = ", ".join(sorted(one.item for one in wanted))
        raise Rejected(
            f"{self.name} has nothing that projects share: {project} ({profile}) refers to {items}"
        )

    def place(self, project: str, profile: str, name: str) -> str:
        """Return where the source looks a name up, for who has to set it. Does no I/O."""
        return f"{self.name} {project}/{profile}/{name}"


class Supervisor(Provider, ABC):
    """Runs units."""

    survives: ClassVar[bool]
    """Whether units go on running when Kennel stops or is killed."""

    @abstractmethod
    async def observe(self) -> Mapping[str, UnitStatus]:
        """Return every unit of Kennel's on this host by name, with one call where possible.

        A unit that stopped or failed for good may be absent, and so may one of `run` that is over.
        One with a schedule is SCHEDULED between its runs; if the last one failed, with the reason.
        """

    @abstractmethod
    async def ensure(self, unit: Unit, env: Env) -> None:
        """Start the unit unless it runs already; return when its program has been executed.

        PORT and HOST come in `env` like everything else. `Rejected` if it cannot be executed. One
        with a schedule is run at its times from then on, and never twice at a time; it is
        `Rejected` with the fix if these cannot be read.
        """

    @abstractmethod
    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        """Run the unit's program once, to its end. Return None if it ended well, else why not.

        `within`: seconds after which it is ended, by somebody who does so even if Kennel is gone.
        A unit of that name that an earlier call has started, and that was cut off, is waited for
        and not started again, be it over or not; only what does not survive Kennel is started by
        the next one. What it wrote can be read with `logs` until `remove`, which has to be called
        in any case. `Unavailable` if it was stopped meanwhile, `Rejected` if it cannot be executed.
        """

    @abstractmethod
    async def remove(self, unit: str) -> None:
        """Stop the unit, wait until its last process is gone, forget what was kept for it."""

    @abstractmethod
    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        """Return the last lines the unit wrote, oldest first; of a stopped unit too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterState:
    """What a router does at the moment.

    `routes`: the table in force; None when it cannot be told or was changed by somebody else.
    `live`: for each tenant, `digest_of` the targets its requests go to.
    """

    routes: frozenset[Route] | None
    live: Mapping[Tenant, str]


class Router(Provider, ABC):
    """Brings traffic in.

    Two things are kept apart: *routes* say which hosts there are, and change when hosts appear
    or go; *targets* say where the requests of a tenant end up, and change with every deployment.
    """

    @abstractmethod
    async def observe(self) -> RouterState:
        """Return what is in force. `Unavailable` when the proxy does not answer."""

    @abstractmethod
    async def publish(self, routes: Collection[Route]) -> None:
        """Make this the whole table, in one write; write nothing where it is in force already.

        Hosts that are in nobody's route answer 404. The proxy's own configuration beside
        Kennel's is left alone.
        """

    @abstractmethod
    async def switch(self, tenant: Tenant, targets: Mapping[str, Target]) -> None:
        """Send the requests of every service and site of a tenant to these targets, at once.

        Requests under way end where they began. None is refused or sent elsewhere.
        """

    @property
    def group(self) -> int:
        """Return the group of the processes that connect to sockets; -1: it may be any."""
        return -1

    async def visited(self) -> Collection[Tenant] | None:
        """Return the tenants whose services and sites were asked for since the last call.

        None: it cannot be told; nobody is put to sleep for want of visitors then. A visit may be
        reported twice, and is never left out, but for one that a `Socket` got: who listens there
        sees it. Each request is a visit, whoever sends it; a switch is none.
        """
        return None

    @abstractmethod
    async def remove(self, tenant: Tenant) -> None:
        """Forget a tenant's targets. Its routes are gone before."""

    @abstractmethod
    def url(self, host: str) -> str:
        """Return the address people reach a host at, such as `https://shop-main.example.net`."""


class DnsProvider(Provider, ABC):
    """Publishes names for custom domains."""

    @abstractmethod
    def covers(self, host: str) -> bool:
        """Return whether a host lies in one of the configured zones."""

    @abstractmethod
    async def observe(self) -> Mapping[str, str]:
        """Return host → target of every record marked as Kennel's, in all zones."""

    @abstractmethod
    async def ensure(self, host: str, target: str) -> None:
        """Publish a host. `target` is an address or a name. A foreign record is `Rejected`."""

    @abstractmethod
    async def remove(self, host: str) -> None:
        """Take a record of Kennel's away. A foreign one is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook request as it came in. Header names are lower case."""

    headers: Mapping[str, str]
    body: bytes


class Forge(Provider, ABC):
    """Understands the webhooks of one kind of forge. Only `pull_requests` does I/O."""

    @abstractmethod
    def recognises(self, delivery: Delivery) -> bool:
        """Return whether this forge sent the delivery, by its headers alone."""

    @abstractmethod
    def precedence(self) -> int:
        """Return the order of asking, lower first: Forgejo sends GitHub's headers too."""

    @abstractmethod
    def verify(self, delivery: Delivery, secret: Secret) -> bool:
        """Return, in constant time, whether the delivery is signed with the secret.

        An empty secret verifies nothing.
        """

    @abstractmethod
    def read(self, delivery: Delivery) -> Event:
        """Return what the delivery says. Raises `ValueError` naming what is wrong with it."""

    @abstractmethod
    def delivery_id(self, delivery: Delivery) -> str:
        """Return the forge's own id of the delivery, or "" where there is none."""

    @abstractmethod
    def event_name(self, delivery: Delivery) -> str:
        """Return the forge's name of the event, for people: `push`, `pull_request`."""

    async def pull_requests(
        self, repository: Repository, token: Secret
    ) -> Sequence[PullRequestChanged] | None:
        """Return every open pull request of a repository, as its webhooks would tell of it.

        None: this forge cannot be asked. An answer that is not complete is `Unavailable`, never a
        shorter list. `Rejected` for a token that may not ask, with what it needs.
        """
        del repository, token
        return None


class Cache(Provider, ABC):
    """Keeps what was built for other machines."""

    @abstractmethod
    async def push(self, paths: Sequence[str]) -> None:
        """Upload store paths with their closures. Only builds of trusted commits are offered."""
