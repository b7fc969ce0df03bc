"""What follows from what Forgejo and Gitea send."""

from collections.abc import Iterable
from dataclasses import replace

from kennel.builtin.forgejo import payload as sent
from kennel.domain import (
    Event,
    Ignored,
    PullRequestChanged,
    PullRequestClosed,
    Ref,
    RefChanged,
    RefDeleted,
    Repository,
)
from kennel.plugin import webhook

PUSHED = frozenset({"opened", "reopened", "synchronized"})
LABELLED = frozenset({"label_updated", "label_cleared"})


def read(forge: str, name: str, text: bytes, *, full_refs: bool) -> Event:
    """Return what an event called `name` says.

    `full_refs`: whether `create` and `delete` may carry `refs/heads/x` where they mean `x`.
    Raises ValueError naming what is wrong.
    """
    match name:
        case "push":
            push = webhook.decode(sent.Push, text)
            known = _repository(forge, push.repository)
            return webhook.pushed(known, ref=push.ref, before=push.before, after=push.after)
        case "create":
            return _created(forge, webhook.decode(sent.RefEvent, text), full_refs=full_refs)
        case "delete":
            return _deleted(forge, webhook.decode(sent.RefEvent, text), full_refs=full_refs)
        case "pull_request":
            return _pull_request(forge, text)
    return Ignored(reason=f"nothing follows from {webhook.shown(name)} events")


def _repository(forge: str, repository: sent.Repository) -> Repository:
    return webhook.repository(
        forge=forge,
        number=repository.id,
        full_name=repository.full_name,
        clone_url=repository.clone_url,
        default_branch=repository.default_branch,
    )


def _branch(event: sent.RefEvent, *, full_refs: bool) -> Ref:
    """Return the branch an event is about. The prefix goes once: a branch may be called like it."""
    name = event.ref.removeprefix(webhook.HEADS) if full_refs else event.ref
    return webhook.branch(name, where="ref")


def _created(forge: str, event: sent.RefEvent, *, full_refs: bool) -> Event:
    if event.ref_type != "branch":
        return _not_a_branch(event)
    if not event.sha or webhook.absent(event.sha):
        return Ignored(reason="a branch was created; the push that follows names its commit")
    return RefChanged(
        repository=_repository(forge, event.repository),
        ref=_branch(event, full_refs=full_refs),
        commit=webhook.commit(event.sha, where="sha"),
    )


def _deleted(forge: str, event: sent.RefEvent, *, full_refs: bool) -> Event:
    if event.ref_type != "branch":
        return _not_a_branch(event)
    return RefDeleted(
        repository=_repository(forge, event.repository),
        ref=_branch(event, full_refs=full_refs),
    )


def _not_a_branch(event: sent.RefEvent) -> Ignored:
    what = webhook.shown(event.ref_type)
    return Ignored(reason=f"{webhook.shown(event.ref)} is a {what}; only branches are deployed")


def _pull_request(forge: str, text: bytes) -> Event:
    event = webhook.decode(sent.PullRequestAction, text)
    repository = _repository(forge, event.repository)
    ref = webhook.pull_request(event.number, where="number")
    if event.action == "closed":
        closed_at = webhook.moment(event.pull_request.updated_at)
        return PullRequestClosed(repository=repository, ref=ref, updated_at=closed_at)
    if event.action not in PUSHED | LABELLED and not _retargeted(event):
        return Ignored(reason=f"{ref}: nothing follows from {webhook.shown(event.action)}")
    pull = webhook.decode(sent.PullRequestEvent, text).pull_request
    if pull.state == "closed":
        return Ignored(reason=f"{ref} is closed: nothing of it is deployed")
    return replace(
        _changed(repository, ref, pull, event.repository.id),
        opened=event.action == "opened",
        reopened=event.action == "reopened",
        retargeted=_retargeted(event),
        relabelled=event.action in LABELLED,
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


def _retargeted(event: sent.PullRequestAction) -> bool:
    """Return whether it is to be merged into another branch now. Titles and texts change more."""
    changes = event.changes if event.action == "edited" else None
    return changes is not None and changes.ref is not None


def _trusted(pull: sent.PullRequest, base: int) -> bool:
    """Return whether the head is a branch of the repository: whoever pushed it may write there."""
    head = pull.head
    agit = pull.flow != 0 or head.label == "" or head.ref.startswith("refs/")
    return not agit and head.repo is not None and head.repo.id == base
