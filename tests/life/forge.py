"""A forge that lives in memory: what its repositories have, and the webhooks it sends of that."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

from kennel.domain import (
    Event,
    PullRequestChanged,
    PullRequestClosed,
    Ref,
    RefChanged,
    RefDeleted,
    Repository,
    Secret,
    Tenant,
)
from kennel.plugin import Delivery, Forge

LABEL = "kennel: deploy"
"""The one that approves of a fork's commit."""


class Kind(Enum):
    """What becomes of a commit: it runs; it runs never; it cannot even be built."""

    GOOD = "good"
    SICK = "sick"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What somebody pushed. `services`: what each of them is made of; `bot` does not listen.

    Two commits whose `api` is made of 3 have the same `api`. `site`: what the site holds; None:
    there is none. `data`: whether it asks for a resource.
    """

    id: str
    services: Mapping[str, int] = field(default_factory=dict)
    site: int | None = None
    data: bool = False
    kind: Kind = Kind.GOOD

    @property
    def short(self) -> str:
        return f"c{int(self.id, 16)}"

    @property
    def names(self) -> frozenset[str]:
        """Return what of it answers somewhere."""
        site = [] if self.site is None else ["docs"]
        return frozenset([*self.services, *site]) - {"bot"}

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        parts = [f"{name} {made_of}" for name, made_of in self.services.items()]
        parts += [] if self.site is None else [f"docs {self.site}"]
        parts += ["data"] if self.data else []
        return f"{self.short} ({', '.join(parts)}; {self.kind.value})"


@dataclass(slots=True)
class Pull:
    """A pull request as the forge has it. `fork`: its head is in somebody else's repository."""

    fork: bool
    is_open: bool = True
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Letter:
    """A webhook: its number, and what it tells."""

    number: int
    tenant: Tenant
    event: Event
    text: str


@dataclass
class MemoryForge:
    """Repositories with their branches and pull requests. `clock`: its own, in whole seconds.

    `heads`: every head that a ref has had, the present one last. What it tells waits in `letters`
    until somebody brings it to Kennel; `brought`: what was, in that order.
    """

    heads: dict[Tenant, list[Commit]] = field(default_factory=dict)
    branches: set[Tenant] = field(default_factory=set)
    pulls: dict[Tenant, Pull] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    brought: list[Letter] = field(default_factory=list)
    clock: int = 1_700_000_000
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def head(self, tenant: Tenant) -> Commit | None:
        """Return what a fetch of a ref gives: of a pull request also once it is closed."""
        there = tenant in self.branches or tenant in self.pulls
        return self.heads[tenant][-1] if there else None

    def position(self, letter: Letter) -> int:
        """Return which of the heads of its ref a letter tells of, the latest if it was twice."""
        commit = getattr(letter.event, "commit", None)
        heads = self.heads[letter.tenant]
        return max((n for n, head in enumerate(heads) if head.id == commit), default=-1)

    def push(self, tenant: Tenant, commit: Commit) -> Letter:
        """Push to a branch, new or not, or to a pull request that is open."""
        self.heads.setdefault(tenant, []).append(commit)
        if tenant in self.pulls:
            return self._tell_of(tenant)
        self.branches.add(tenant)
        event = RefChanged(repository=repository(tenant), ref=tenant.ref, commit=commit.id)
        return self._tell(tenant, event, f"push {commit.short}")

    def delete(self, tenant: Tenant) -> Letter:
        """Delete a branch."""
        self.branches.remove(tenant)
        event = RefDeleted(repository=repository(tenant), ref=tenant.ref)
        return self._tell(tenant, event, "delete")

    def open(self, tenant: Tenant, commit: Commit, *, fork: bool) -> Letter:
        self.heads[tenant] = [commit]
        self.pulls[tenant] = Pull(fork=fork)
        return self._tell_of(tenant, opened=True)

    def close(self, tenant: Tenant) -> Letter:
        self.pulls[tenant].is_open = False
        self.clock += 1
        event = PullRequestClosed(
            repository=repository(tenant), ref=tenant.ref, updated_at=float(self.clock)
        )
        return self._tell(tenant, event, "close")

    def reopen(self, tenant: Tenant) -> Letter:
        self.pulls[tenant].is_open = True
        self.clock += 1
        return self._tell_of(tenant, reopened=True)

    def label(self, tenant: Tenant, labels: frozenset[str], *, says_which: bool) -> Letter:
        """Set or take off labels. `says_which`: whether the webhook tells which were set."""
        pull = self.pulls[tenant]
        added = labels - pull.labels if says_which else None
        pull.labels = labels
        return self._tell_of(tenant, relabelled=True, added=added)

    def _tell_of(
        self,
        tenant: Tenant,
        *,
        opened: bool = False,
        reopened: bool = False,
        relabelled: bool = False,
        added: frozenset[str] | None = None,
    ) -> Letter:
        pull, commit = self.pulls[tenant], self.heads[tenant][-1]
        event = PullRequestChanged(
            repository=repository(tenant),
            ref=tenant.ref,
            commit=commit.id,
            trusted=not pull.fork,
            labels=pull.labels,
            updated_at=float(self.clock),
            opened=opened,
            reopened=reopened,
            relabelled=relabelled,
            added=added,
        )
        kinds = {"opened": opened, "reopened": reopened, "relabelled": relabelled}
        what = next((name for name, is_so in kinds.items() if is_so), "push")
        labels = f" {sorted(pull.labels)}" if relabelled else ""
        return self._tell(tenant, event, f"{what} {commit.short}{labels}")

    def _tell(self, tenant: Tenant, event: Event, what: str) -> Letter:
        number = next(self.numbers)
        letter = Letter(number, tenant, event, f"#{number} {what} of {tenant}")
        self.letters.append(letter)
        return letter


def repository(tenant: Tenant) -> Repository:
    return Repository(
        forge=Telegraph.name,
        id=tenant.project,
        full_name=f"acme/{tenant.project}",
        clone_url=f"https://forge.example/acme/{tenant.project}.git",
    )


class Telegraph(Forge):
    """The plugin that reads the webhooks of a `MemoryForge`."""

    name: ClassVar[str] = "telegraph"

    def __init__(self) -> None:
        self._sent: list[Event] = []

    def write(self, event: Event) -> Delivery:
        """Return the request that tells of an event."""
        self._sent.append(event)
        return Delivery(headers={}, body=str(len(self._sent) - 1).encode())

    def read(self, delivery: Delivery) -> Event:
        return self._sent[int(delivery.body)]

    async def check(self) -> None:
        pass

    def recognises(self, delivery: Delivery) -> bool:
        return True

    def precedence(self) -> int:
        return 0

    def verify(self, delivery: Delivery, secret: Secret) -> bool:
        return True

    def delivery_id(self, delivery: Delivery) -> str:
        return ""

    def event_name(self, delivery: Delivery) -> str:
        return "telegram"


def tenants_of(projects: Sequence[str], refs: Sequence[Ref]) -> Sequence[Tenant]:
    return [Tenant(project, ref) for project in projects for ref in refs]


def made_worse(commit: Commit, kind: Kind) -> Commit:
    return replace(commit, kind=kind)
