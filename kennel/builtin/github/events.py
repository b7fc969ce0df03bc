"""What follows from what GitHub sends."""

from collections.abc import Iterable
from dataclasses import replace

from kennel.builtin.github import payload as sent
from kennel.domain import (
    Event,
    Ignored,
    Ping,
    PullRequestChanged,
    PullRequestClosed,
    Ref,
    RefDeleted,
    Repository,
)
from kennel.plugin import webhook

FORGE = "github"
PUSHED = frozenset({"opened", "reopened", "synchronize"})
LABELLED = frozenset({"labeled", "unlabeled"})


def read(name: str, text: bytes) -> Event:
    """Return what an event called `name` says. Raises ValueError naming what is wrong."""
    match name:
        case "ping":
            zen = webhook.decode(sent.Ping, text).zen
            return Ping(about=f"GitHub says {webhook.shown(zen)}")
        case "push":
            push = webhook.decode(sent.Push, text)
            known = _repository(push.repository)
            return webhook.pushed(known, ref=push.ref, before=push.before, after=push.after)
        case "create":
            return Ignored(reason="a ref was created; the push that follows names its commit")
        case "delete":
            return _deleted(webhook.decode(sent.RefEvent, text))
        case "pull_request":
            return _pull_request(text)
    return Ignored(reason=f"nothing follows from {webhook.shown(name)} events")


def _repository(repository: sent.Repository) -> Repository:
    return webhook.repository(
        forge=FORGE,
        number=repository.id,
        full_name=repository.full_name,
        clone_url=repository.clone_url,
        default_branch=repository.default_branch,
    )


def _deleted(event: sent.RefEvent) -> Event:
    if event.ref_type != "branch":
        what = webhook.shown(event.ref_type)
        return Ignored(reason=f"{webhook.shown(event.ref)} is a {what}; only branches are deployed")
    ref = webhook.branch(event.ref, where="ref")
    return RefDeleted(repository=_repository(event.repository), ref=ref)


def _pull_request(text: bytes) -> Event:
    event = webhook.decode(sent.PullRequestAction, text)
    repository = _repository(event.repository)
    ref = webhook.pull_request(event.number, where="number")
    if event.action == "closed":
        closed_at = webhook.moment(event.pull_request.updated_at)
        return PullRequestClosed(repository=repository, ref=ref, updated_at=closed_at)
    if event.action not in PUSHED | LABELLED and not _retargeted(event):
        return Ignored(reason=f"{ref}: nothing follows from {webhook.shown(event.action)}")
    told = webhook.decode(sent.PullRequestEvent, text)
    if told.pull_request.state == "closed":
        return Ignored(reason=f"{ref} is closed: nothing of it is deployed")
    return replace(
        _changed(repository, ref, told.pull_request, event.repository.id),
        opened=event.action == "opened",
        reopened=event.action == "reopened",
        retargeted=_retargeted(event),
        relabelled=event.action in LABELLED,
        added=_added(event.action, told.label),
    )


def listed(repository: Repository, pulls: Iterable[sent.Listed]) -> list[PullRequestChanged]:
    """Return what webhooks would tell of open pull requests. Raises ValueError as `read` does."""
    return [
        _changed(
            repository,
            webhook.pull_request(pull.number, where="number"),
            pull,
            pull.base.repo.id,
        )
        for pull in pulls
    ]


def _changed(
    repository: Repository, ref: Ref, pull: sent.PullRequest, base: int
) -> PullRequestChanged:
    """Return what a pull request says. `base`: the repository that it is to be merged into."""
    return PullRequestChanged(
        repository=repository,
        ref=ref,
        commit=webhook.commit(pull.head.sha, where="pull_request.head.sha"),
        trusted=_trusted(pull, base),
        labels=frozenset(label.name for label in pull.labels or ()),
        updated_at=webhook.moment(pull.updated_at),
    )


def _added(action: str, label: sent.Label | None) -> frozenset[str] | None:
    """Return the labels that were set just now, None where that is not told."""
    if action not in LABELLED or label is None:
        return None
    return frozenset({label.name} if action == "labeled" else ())


def _retargeted(event: sent.PullRequestAction) -> bool:
    """Return whether it is to be merged into another branch now. Titles and texts change more."""
    changes = event.changes if event.action == "edited" else None
    return changes is not None and changes.base is not None


def _trusted(pull: sent.PullRequest, base: int) -> bool:
    """Return whether the head is a branch of the repository: whoever pushed it may write there."""
    return pull.head.repo is not None and pull.head.repo.id == base
