"""What the web applications need of the daemon."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol, TypeVar

from kennel import views
from kennel.domain import Repository, Secret
from kennel.domain.delivery import NewDelivery
from kennel.plugin.manager import Plugin


class Registry(Protocol):
    """What is known of projects, answered from memory: it is asked with every request."""

    def secrets(self) -> Iterable[tuple[str | None, Secret]]:
        """Return each project that has a webhook secret of its own, and None with the shared one.

        Projects are named as `project_of` names them.
        """

    def project_of(self, repository: Repository) -> str | None:
        """Return the project registered for a repository, or None."""

    def admits(self, repository: Repository) -> bool:
        """Return whether the first delivery of an unknown repository may register it."""

    def knows_host(self, host: str) -> bool:
        """Return whether a host, lower case, is one that Kennel serves."""


class Inbox(Protocol):
    """Keeps deliveries until something is done about them."""

    async def put(self, delivery: NewDelivery) -> int:
        """Keep a delivery, durably, and return its number."""


class Control(Protocol):
    """What the command line can ask for.

    Raises NotFound and Conflict, ValueError and its kin for what makes no sense, Unavailable
    for what may work later. `ref` is as people write it: see `Ref.parse`.
    """

    async def health(self) -> views.Health:
        """Return how the daemon is."""

    async def status(self, project: str | None) -> Sequence[views.Deployment]:
        """Return what is deployed and on its way, of one project or of all."""

    async def projects(self) -> Sequence[views.Project]:
        """Return what is registered."""

    async def add_project(self, new: views.NewProject) -> views.Project:
        """Register a repository."""

    async def remove_project(self, name: str) -> None:
        """Take a project and everything it has down."""

    async def builds(
        self, project: str | None, ref: str | None, limit: int
    ) -> Sequence[views.Build]:
        """Return builds, newest first."""

    async def build(self, build: int) -> views.Build:
        """Return one build."""

    def build_log(self, build: int, *, follow: bool) -> AsyncIterator[bytes]:
        """Yield the log of a build that is there; with `follow`, until the build has ended."""

    async def cancel(self, build: int) -> views.Build:
        """Stop a build that has not ended and return it. `Conflict` if it has."""

    async def deploy(self, request: views.DeployRequest) -> views.Build:
        """Queue a build of the head of a ref."""

    async def plan(self) -> Sequence[views.Step]:
        """Return what the next pass would do."""

    async def unit_logs(
        self, project: str, ref: str, name: str | None, lines: int
    ) -> Sequence[str]:
        """Return the last lines that a service wrote. `name` None: the only one, or the primary."""

    async def deliveries(self, limit: int) -> Sequence[views.Delivery]:
        """Return the webhooks that came in, newest first."""

    async def plugins(self) -> Sequence[Plugin]:
        """Return what is installed."""


class Sweeps(Protocol):
    """What the command line can ask about lost webhooks. Raises as `Control` does."""

    async def sweep(self, order: views.SweepOrder) -> Sequence[views.Swept]:
        """Compare repositories with what is known of them, and repair what differs."""


class Inventory(Protocol):
    """What the command line can ask about resources. Raises as `Control` does."""

    async def resources(self, project: str | None) -> views.Resources:
        """Return what there is on servers, and whose it is."""


A = TypeVar("A")


class Commands(Protocol[A]):
    """What the command line can order of provisioners. Raises as `Control` does."""

    def commands(self) -> Sequence[views.Command]:
        """Return what can be ordered."""

    async def accept(self, order: views.CommandOrder) -> A:
        """Return what an order means, before anything of it is carried out."""

    def carry_out(self, accepted: A) -> AsyncIterator[bytes]:
        """Carry it out: yield lines, each the JSON of a `views.Told`."""


class Orders(Protocol):
    """What the command line can order to be done with a ref. Raises as `Control` does."""

    async def rollback(self, order: views.RollbackOrder) -> int:
        """Bring an earlier good build back. Return its number."""

    async def restart(self, order: views.Order) -> int:
        """Replace the processes of what is live by new ones. Return its build."""

    async def redeploy(self, order: views.Order) -> int:
        """Deploy what is live once more, without building. Return its build."""

    async def stop(self, order: views.Order) -> str:
        """Stop a ref's services. Return what that means, in words."""

    async def start(self, order: views.Order) -> str:
        """Start what was stopped, or sleeps."""

    async def pin(self, order: views.PinOrder) -> str:
        """Let a ref neither sleep nor expire, or let it again."""

    async def approve(self, order: views.ApproveOrder) -> str:
        """Let an untrusted pull request be built."""

    async def purge(self, order: views.Order) -> str:
        """Remove the data of a ref that is gone."""

    async def removals(self) -> Sequence[views.Removal]:
        """Return what is held back because it would be too much at once."""

    async def allow_removals(self) -> Sequence[views.Removal]:
        """Let that go. Return what it was."""
