"""From a request to a delivery in the inbox.

In this order: which forge is it, is it signed with a secret that may speak for somebody, what
does it say, is that about somebody for whom the secret speaks. Nothing is parsed before it is
verified, and nothing is done about it here: a forge waits five seconds and never asks again.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from litestar.exceptions import ClientException, NotAuthorizedException, NotFoundException

from kennel.domain import Event, Ignored, Ping, Repository, Secret
from kennel.domain.delivery import NewDelivery
from kennel.plugin import Delivery, Forge, in_thread
from kennel.web.ports import Inbox, Registry

T = TypeVar("T")
logger = logging.getLogger(__name__)

BIG = 64 * 1024
"""Bytes of a body from which it is hashed and parsed in a thread: a secret takes 1 ms per MB."""
PRIVATE = ("authorization", "cookie", "key", "password", "secret", "signature", "token")
"""Words in the names of headers that are not kept."""
UNSIGNED = (
    "the signature is missing or wrong: the hook needs the webhook secret of this Kennel, or of the"
    " project where it has one of its own"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a forge is told. `content` becomes JSON."""

    status: int
    content: Mapping[str, object]


class Reception:
    """Takes deliveries in."""

    def __init__(self, registry: Registry, inbox: Inbox, forges: Iterable[Forge]) -> None:
        self._registry = registry
        self._inbox = inbox
        self._forges = sorted(forges, key=lambda forge: forge.precedence())

    async def receive(self, delivery: Delivery) -> Answer:
        """Keep a delivery and say so. Raises HTTPException for one that is refused."""
        forge = self._forge_of(delivery)
        secrets = list(self._registry.secrets())
        scopes = await _run(delivery, lambda: _verified(forge, delivery, secrets))
        if not scopes:
            raise NotAuthorizedException(UNSIGNED)
        event = await _run(delivery, lambda: _read(forge, delivery))
        if isinstance(event, Ping):
            return Answer(status=200, content={"pong": event.about})
        project = _of_scope(scopes)
        if not isinstance(event, Ignored):
            self._admit(event.repository, scopes, {key for key, _ in secrets})
            project = event.repository.full_name
        number = await self._inbox.put(_new(forge, delivery, project))
        return Answer(status=202, content={"delivery": number})

    def _forge_of(self, delivery: Delivery) -> Forge:
        for forge in self._forges:
            if forge.recognises(delivery):
                return forge
        there = ", ".join(forge.name for forge in self._forges) or "none"
        raise ClientException(f"no forge sends requests like this one; known are: {there}")

    def _admit(
        self, repository: Repository, scopes: frozenset[str | None], own: set[str | None]
    ) -> None:
        """Return if who signed may speak for the repository, and if we listen to it.

        A project with a secret of its own is spoken for by that alone; all others, registered or
        not, by the shared one.
        """
        project = self._registry.project_of(repository)
        if (project if project in own else None) not in scopes:
            logger.warning("%s: signed with another project's secret", repository.full_name)
            raise NotAuthorizedException(UNSIGNED)
        if project is None and not self._registry.admits(repository):
            raise NotFoundException(
                f"{repository.full_name} is no project here: run"
                f" `kennel projects add {repository.clone_url}` on the server, or add"
                f' "{repository.full_name}" to `allow` in its kennel.toml'
            )


async def _run(delivery: Delivery, work: Callable[[], T]) -> T:
    return await in_thread(work) if len(delivery.body) > BIG else work()


def _verified(
    forge: Forge, delivery: Delivery, secrets: Iterable[tuple[str | None, Secret]]
) -> frozenset[str | None]:
    """Return for whom the signature speaks: projects, and None for all without an own secret."""
    matches = [(key, forge.verify(delivery, secret)) for key, secret in secrets]
    return frozenset(key for key, matched in matches if matched)


def _read(forge: Forge, delivery: Delivery) -> Event:
    try:
        return forge.read(delivery)
    except ValueError as error:
        what = forge.event_name(delivery)[:63]
        raise ClientException(f"{forge.name}: {what!a}: {error}") from error


def _of_scope(scopes: frozenset[str | None]) -> str:
    """Return whose delivery it is where only the signature tells."""
    named = sorted(scope for scope in scopes if scope is not None)
    return named[0] if len(named) == 1 and len(scopes) == 1 else ""


def _new(forge: Forge, delivery: Delivery, project: str) -> NewDelivery:
    """Return what is kept: no credentials, and nothing longer than the inbox has room for."""
    return NewDelivery(
        forge=forge.name,
        event=forge.event_name(delivery)[:63],
        delivery_id=forge.delivery_id(delivery)[:255],
        project=project[:255],
        headers={k: v for k, v in delivery.headers.items() if not any(w in k for w in PRIVATE)},
        body=delivery.body,
        received_at=time.time(),
    )
