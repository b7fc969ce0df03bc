"""What the waker asks of the rest of Kennel."""

from dataclasses import dataclass
from typing import Protocol

from kennel.domain import Environment, Key, Tenant, Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """The service that has a host. `stopped`: by hand, so that no visitor wakes it."""

    key: Key
    environment: Environment
    stopped: bool = False


class NotWoken(Exception):
    """A service cannot be had at the moment.

    The message is shown to whoever visits, so it says nothing of the machine. `again`: seconds
    after which it is worth asking again, None if somebody has to act first.
    """

    def __init__(self, reason: str, *, again: float | None = None) -> None:
        super().__init__(reason)
        self.again = again


class Residents(Protocol):
    """Who lives where, and how they are woken."""

    def find(self, host: str) -> Resident | None:
        """Return which service has a host (lower case, no port), awake or not. From memory."""

    async def wake(self, tenant: Tenant) -> None:
        """Record that a tenant is visited, and have it woken if it sleeps.

        Returns once that is recorded, before anything runs. Called at most every ten seconds
        for a tenant, however many visit it.
        """

    async def awake(self, tenant: Tenant, name: str) -> Upstream:
        """Return where a service takes requests, as soon as it does; at once if it does already.

        Called after `wake`, once for each request, and cancelled when nobody waits any more.
        Raises NotWoken if it will not come to that.
        """
