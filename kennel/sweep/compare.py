"""Work out what a repository has that Kennel has not heard of, and the other way round. Pure.

the repository has          Kennel knows                       follows
--------------------------------------------------------------------------------------
a branch, at a commit       nothing of it                      build it
                            a build of that commit             (none), however it ended
                            a build of another commit          build it
                            that it expired at that commit     (none)
an open pull request        as of a branch                     what its webhook would do
the label that approves     that it was not set                note it, and approve of nothing
no such ref, twice in a row that it is wanted                  it is gone
no such ref, for many refs  that they are wanted               ask before they go
no branch at all            anything                           (none): that cannot be
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kennel.domain import (
    Environment,
    PullRequestChanged,
    Ref,
    RefChanged,
    RefDeleted,
    RefKind,
    Repository,
    environment_of,
)

A_FEW = 3
SHARE = 4
"""More refs than a few, and than one of so many, do not go in a sweep unless it is ordered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a repository has. `pulls`: the open pull requests; None: the forge was not asked.

    `heads`: its branches, and the heads of pull requests, closed ones too, where they are needed:
    where `pulls` is None and some are known.
    """

    heads: Mapping[Ref, str]
    pulls: Sequence[PullRequestChanged] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A ref that is there as far as Kennel knows.

    `newest`: its newest build, 0 without one. `head`: the newest commit heard of. `commits`: with
    one of them at its head nothing is to be built. `heading`: a build of whatever its head will be
    waits or runs.
    """

    newest: int = 0
    head: str = ""
    commits: frozenset[str] = frozenset()
    heading: bool = False
    trusted: bool = True
    labelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A ref that left, at that commit, "" where it is not known.

    `let_go`: Kennel let go of it, although it was there: it expired, or its manifest said so.
    """

    commit: str
    let_go: bool
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What Kennel knows of a project's refs. `label`: what approves of a pull request."""

    wanted: Mapping[Ref, Wanted] = field(default_factory=dict)
    left: Mapping[Ref, Left] = field(default_factory=dict)
    previews: bool = True
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairs:
    """What follows from a comparison.

    `changed`: what no webhook told of. `gone`: refs that are to go. `held`: refs that would go,
    and `why` they stay. `heads`: where refs are of which nothing is to be built, if it was taken
    to be elsewhere. `absent`: what the next comparison is to know.
    """

    changed: tuple[RefChanged | PullRequestChanged, ...] = ()
    gone: tuple[RefDeleted, ...] = ()
    held: tuple[Ref, ...] = ()
    why: str = ""
    heads: tuple[tuple[Ref, str], ...] = ()
    absent: frozenset[Ref] = frozenset()


NOTHING = "the repository shows no branch at all: nothing is taken away for that"
MANY = "{} of {} refs are missing at once, which is more than is taken away unasked"


def compare(
    seen: Seen,
    known: Known,
    repository: Repository,
    *,
    moved: Collection[Ref] = (),
    absent: Collection[Ref] = (),
    force: bool = False,
) -> Repairs:
    """Return what is to be repaired.

    `moved`: what Kennel heard of since the repository was asked. `absent`: what the list before
    this one lacked: a ref is gone only if two in a row do. `force` lets as many go as there are.
    """
    if not seen.heads:
        return Repairs(held=tuple(sorted(known.wanted)), why=NOTHING if known.wanted else "")
    changed = tuple(one for one in _changed(seen, known, repository) if one.ref not in moved)
    passed = {*moved, *(one.ref for one in changed)}
    heads = tuple(one for one in _heads(seen, known) if one[0] not in passed)
    lacking = missing(seen, known).difference(moved)
    lost = sorted(lacking)
    if len(lost) > A_FEW and len(lost) * SHARE > len(known.wanted) and not force:
        return Repairs(
            changed=changed,
            heads=heads,
            held=tuple(lost),
            why=MANY.format(len(lost), len(known.wanted)),
            absent=lacking,
        )
    gone = [ref for ref in lost if ref in absent]
    return Repairs(
        changed=changed,
        gone=tuple(RefDeleted(repository=repository, ref=ref) for ref in gone),
        heads=heads,
        absent=lacking.difference(gone),
    )


def missing(seen: Seen, known: Known) -> frozenset[Ref]:
    """Return the refs that Kennel wants and the repository does not have.

    None are where it shows no branch at all.
    """
    if not seen.heads:
        return frozenset()
    there = set(seen.heads)
    if seen.pulls is not None:
        there = {ref for ref in there if ref.kind is RefKind.BRANCH}
        there |= {pull.ref for pull in seen.pulls}
    return frozenset(known.wanted) - there


def moved(before: Known, after: Known) -> frozenset[Ref]:
    """Return the refs of which something else is known than before."""
    refs = {*before.wanted, *after.wanted, *before.left, *after.left}
    return frozenset(
        ref
        for ref in refs
        if before.wanted.get(ref) != after.wanted.get(ref)
        or before.left.get(ref) != after.left.get(ref)
    )


def _changed(
    seen: Seen, known: Known, repository: Repository
) -> Iterator[RefChanged | PullRequestChanged]:
    for ref, commit in seen.heads.items():
        if ref.kind is RefKind.BRANCH:
            if _is_new(ref, commit, known):
                yield RefChanged(repository=repository, ref=ref, commit=commit)
        elif seen.pulls is None and ref in known.wanted and _is_new(ref, commit, known):
            yield _pull(ref, commit, known, repository)
    for pull in seen.pulls or ():
        if _is_new(pull.ref, pull.commit, known) or _is_relabelled(pull, known):
            # That it ended was noted by a clock that may be another: this is not from before.
            yield replace(pull, updated_at=None) if pull.ref in known.left else pull


def _heads(seen: Seen, known: Known) -> Iterator[tuple[Ref, str]]:
    """Yield where refs are that were taken to be elsewhere: a push and a build overtook each other.

    When one of them expires, it is remembered at which commit.
    """
    there = {**seen.heads, **{pull.ref: pull.commit for pull in seen.pulls or ()}}
    for ref, wanted in known.wanted.items():
        if there.get(ref, wanted.head) != wanted.head:
            yield ref, there[ref]


def _is_new(ref: Ref, commit: str, known: Known) -> bool:
    """Return whether a ref is at a commit of which nothing was heard."""
    if not known.previews and environment_of(ref) is Environment.PREVIEW:
        return False
    if wanted := known.wanted.get(ref):
        return not wanted.heading and commit not in wanted.commits
    left = known.left.get(ref)
    return left is None or not left.let_go or left.commit != commit


def _is_relabelled(pull: PullRequestChanged, known: Known) -> bool:
    """Return whether a label that approves came or went.

    For which commit it was set, nobody can tell by now: it approves of none.
    """
    wanted = known.wanted.get(pull.ref)
    if wanted is None or wanted.trusted or not known.previews:
        return False
    return wanted.labelled != (known.label in pull.labels)


def _pull(ref: Ref, commit: str, known: Known, repository: Repository) -> PullRequestChanged:
    """Return what a webhook would tell of a pull request, as far as its head alone shows it."""
    wanted = known.wanted[ref]
    return PullRequestChanged(
        repository=repository,
        ref=ref,
        commit=commit,
        trusted=wanted.trusted,
        labels=frozenset({known.label} if wanted.labelled else ()),
    )
