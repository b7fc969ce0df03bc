"""What a forge can tell us, whichever forge it is."""

from dataclasses import dataclass
from typing import TypeAlias

from kennel.domain.tenant import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository as a forge describes it. `id` survives renames, `full_name` does not."""

    forge: str
    id: str
    full_name: str
    clone_url: str
    default_branch: str = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefChanged:
    """A branch was created, pushed to or force-pushed; `commit` was its head at that moment."""

    repository: Repository
    ref: Ref
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefDeleted:
    """A branch is gone."""

    repository: Repository
    ref: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestChanged:
    """A pull request was opened, reopened, pushed to, retargeted or labelled.

    `trusted` is True only when its head is a branch of the same repository. A fork, a deleted
    head and an AGit pull request (which looks like the same repository) are not trusted.
    `relabelled` is True when only its labels changed: nothing new has to be built. `updated_at`:
    when the forge changed it last, in seconds since the epoch; deliveries may come late.
    `opened` and `reopened` are True when that happened just now, `retargeted` when only the
    branch changed that it is to be merged into. `added`: the labels that were set just now, None
    where the forge does not tell which they are.
    """

    repository: Repository
    ref: Ref
    commit: str
    trusted: bool
    labels: frozenset[str] = frozenset()
    relabelled: bool = False
    updated_at: float | None = None
    opened: bool = False
    reopened: bool = False
    retargeted: bool = False
    added: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestClosed:
    """A pull request was closed, merged or not. `updated_at`: as of `PullRequestChanged`."""

    repository: Repository
    ref: Ref
    updated_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The forge only wants to know whether we are there."""

    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Well understood, and nothing follows from it. `reason` says why, for `kennel deliveries`."""

    reason: str


Event: TypeAlias = RefChanged | RefDeleted | PullRequestChanged | PullRequestClosed | Ping | Ignored
