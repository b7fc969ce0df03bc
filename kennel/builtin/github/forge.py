"""GitHub as a forge."""

from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar

from kennel.builtin.github import api, events
from kennel.domain import Event, PullRequestChanged, Repository, Secret
from kennel.plugin import Delivery, Forge, webhook
from kennel.plugin.rest import Rest

OTHERS = frozenset({"x-forgejo-event", "x-gitea-event", "x-gogs-event"})
"""What those send that send GitHub's headers as well."""


class GitHub(Forge):
    """GitHub and GitHub Enterprise Server."""

    name: ClassVar[str] = "github"

    def __init__(self, api_url: str | None = None) -> None:
        self._api_url = api_url
        self._client = Rest()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    def recognises(self, delivery: Delivery) -> bool:
        return "x-github-event" in delivery.headers and not OTHERS & delivery.headers.keys()

    def precedence(self) -> int:
        return 30

    def verify(self, delivery: Delivery, secret: Secret) -> bool:
        """Check the signature of the raw body, be it JSON or a form. SHA-1 is not accepted."""
        given = delivery.headers.get("x-hub-signature-256", "")
        return webhook.signed(delivery.body, secret, [given])

    def read(self, delivery: Delivery) -> Event:
        return events.read(self.event_name(delivery), webhook.payload(delivery))

    def delivery_id(self, delivery: Delivery) -> str:
        return delivery.headers.get("x-github-delivery", "")

    def event_name(self, delivery: Delivery) -> str:
        return delivery.headers.get("x-github-event", "")

    async def pull_requests(
        self, repository: Repository, token: Secret
    ) -> Sequence[PullRequestChanged] | None:
        """Ask the API beside the repository, or at `api_url`."""
        base = self._api_url or api.base_of(repository)
        if base is None:
            return None
        return await api.open_pull_requests(self._client, base.removesuffix("/"), repository, token)
