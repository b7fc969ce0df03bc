"""What GitHub sends: docs.github.com, "Webhook events and payloads".

Only the fields that something follows from; all others are skipped.
"""

import msgspec


class Repository(msgspec.Struct, frozen=True):
    id: int
    full_name: str
    clone_url: str
    default_branch: str | None = None


class Push(msgspec.Struct, frozen=True):
    """`after` is zeros when the branch was deleted."""

    ref: str
    before: str
    after: str
    repository: Repository


class RefEvent(msgspec.Struct, frozen=True):
    """`create` and `delete`. `ref` is always the short name."""

    ref: str
    ref_type: str
    repository: Repository


class HeadRepository(msgspec.Struct, frozen=True):
    id: int


class Head(msgspec.Struct, frozen=True):
    """`repo` is null when the fork is gone."""

    ref: str
    sha: str
    repo: HeadRepository | None = None


class Label(msgspec.Struct, frozen=True):
    name: str


class PullRequest(msgspec.Struct, frozen=True):
    """`state` is "open" or "closed"."""

    head: Head
    labels: list[Label] | None = None
    state: str = "open"
    updated_at: str | None = None


class Base(msgspec.Struct, frozen=True):
    repo: HeadRepository


class Listed(PullRequest, frozen=True, kw_only=True):
    """A pull request in a list, where no `repository` stands beside it."""

    number: int
    base: Base


class Moved(msgspec.Struct, frozen=True):
    """From where; where to is what the pull request says."""


class Changes(msgspec.Struct, frozen=True):
    """What was edited. `base`: the branch that the pull request wants to be merged into."""

    base: Moved | None = None


class Dated(msgspec.Struct, frozen=True):
    """What every pull request has, whatever its head looks like."""

    updated_at: str | None = None


class PullRequestAction(msgspec.Struct, frozen=True):
    """What all `pull_request` payloads begin with."""

    action: str
    number: int
    repository: Repository
    changes: Changes | None = None
    pull_request: Dated = Dated()


class PullRequestEvent(msgspec.Struct, frozen=True):
    """`label`: the one that was set or removed."""

    pull_request: PullRequest
    label: Label | None = None


class Ping(msgspec.Struct, frozen=True):
    """`zen` is a sentence for whoever looks at the first delivery."""

    zen: str = ""
