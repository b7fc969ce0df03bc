"""What Forgejo and Gitea send: modules/structs/hook.go, pull.go and repo.go in their sources.

Only the fields that something follows from; all others are skipped.
"""

import msgspec


class Repository(msgspec.Struct, frozen=True):
    id: int
    full_name: str
    clone_url: str
    default_branch: str | None = None


class Push(msgspec.Struct, frozen=True):
    ref: str
    before: str
    after: str
    repository: Repository


class RefEvent(msgspec.Struct, frozen=True):
    """`create` and `delete`. Only the first has `sha`."""

    ref: str
    ref_type: str
    repository: Repository
    sha: str | None = None


class HeadRepository(msgspec.Struct, frozen=True):
    id: int


class Head(msgspec.Struct, frozen=True):
    """`repo` is null when the branch or the fork is gone.

    An AGit pull request has the base repository here, although nobody needs the right to write
    there to make one; its label is "" and its ref `refs/pull/N/head`.
    """

    ref: str
    sha: str
    label: str | None = None
    repo: HeadRepository | None = None


class Label(msgspec.Struct, frozen=True):
    name: str


class PullRequest(msgspec.Struct, frozen=True):
    """`state` is "open" or "closed". `flow` is 1 for AGit, where the version tells."""

    head: Head
    labels: list[Label] | None = None
    state: str = "open"
    flow: int = 0
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
    """What was edited. `ref`: the branch that the pull request wants to be merged into."""

    ref: Moved | None = None


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
    pull_request: PullRequest
