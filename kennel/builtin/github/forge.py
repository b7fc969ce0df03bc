"""GitHub as a forge."""

from typing import ClassVar

from kennel.builtin.github import events
from kennel.domain import Event, Secret
from kennel.plugin import Delivery, Forge, webhook

OTHERS = frozenset({"x-forgejo-event", "x-gitea-event", "x-gogs-event"})
"""What those send that send GitHub's headers as well."""


class GitHub(Forge):
    """GitHub and GitHub Enterprise Server."""

    name: ClassVar[str] = "github"

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
