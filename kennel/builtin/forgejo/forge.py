"""Forgejo and Gitea as forges."""

from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar

from kennel.builtin.forgejo import api, events
from kennel.domain import Event, PullRequestChanged, Repository, Secret
from kennel.plugin import Delivery, Forge, webhook
from kennel.plugin.rest import Rest


class Gitea(Forge):
    """Gitea, by the headers of services/webhook/deliver.go.

    It sends GitHub's headers too, so it is asked before GitHub.
    """

    name: ClassVar[str] = "gitea"
    prefix: ClassVar[str] = "x-gitea"
    order: ClassVar[int] = 20
    full_refs: ClassVar[bool] = False
    """Whether `create` and `delete` may carry full refs."""

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
        return "x-gitea-event" in delivery.headers and "x-forgejo-event" not in delivery.headers

    def precedence(self) -> int:
        return self.order

    def verify(self, delivery: Delivery, secret: Secret) -> bool:
        """Check the signature of the JSON text: in a form, of the text and not of the form."""
        try:
            text = webhook.payload(delivery)
        except ValueError:
            return False
        names = (f"{self.prefix}-signature", "x-gitea-signature", "x-hub-signature-256")
        return webhook.signed(text, secret, [delivery.headers.get(name, "") for name in names])

    def read(self, delivery: Delivery) -> Event:
        name = delivery.headers.get(f"{self.prefix}-event", "")
        text = webhook.payload(delivery)
        return events.read(self.name, name, text, full_refs=self.full_refs)

    def delivery_id(self, delivery: Delivery) -> str:
        return delivery.headers.get(f"{self.prefix}-delivery", "")

    def event_name(self, delivery: Delivery) -> str:
        """Return the coarse name; older versions leave it empty for packages, not the fine one."""
        coarse = delivery.headers.get(f"{self.prefix}-event", "")
        return coarse or delivery.headers.get(f"{self.prefix}-event-type", "")

    async def pull_requests(
        self, repository: Repository, token: Secret
    ) -> Sequence[PullRequestChanged] | None:
        """Ask the API beside the repository, or at `api_url`."""
        base = self._api_url or api.base_of(repository)
        if base is None:
            return None
        return await api.open_pull_requests(self._client, base.removesuffix("/"), repository, token)


class Forgejo(Gitea):
    """Forgejo, which sends Gitea's and GitHub's headers beside its own.

    A hook of its type `forgejo` says `refs/heads/x` where one of type `gitea` says `x`; nothing
    else tells them apart.
    """

    name: ClassVar[str] = "forgejo"
    prefix: ClassVar[str] = "x-forgejo"
    order: ClassVar[int] = 10
    full_refs: ClassVar[bool] = True

    def recognises(self, delivery: Delivery) -> bool:
        return "x-forgejo-event" in delivery.headers
