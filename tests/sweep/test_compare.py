"""What follows from what a repository has, and from what Kennel knows of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kennel.domain import PullRequestChanged, Ref, RefChanged, RefDeleted, Repository
from kennel.sweep.compare import (
    A_FEW,
    MANY,
    NOTHING,
    SHARE,
    Known,
    Left,
    Repairs,
    Seen,
    Wanted,
    compare,
    missing,
    moved,
)

ONE, TWO = "1" * 40, "2" * 40
MAIN, FIX, PR = Ref.branch("main"), Ref.branch("fix"), Ref.pull_request(7)
SHOP = Repository(forge="f", id="7", full_name="acme/shop", clone_url="https://git.example/s.git")
AT_ONE = Wanted(newest=1, head=ONE, commits=frozenset({ONE}))


def wanted(commits: Mapping[Ref, str], **more: Any) -> Known:
    return Known(
        wanted={
            ref: Wanted(newest=1, head=at, commits=frozenset({at})) for ref, at in commits.items()
        },
        **more,
    )


def pull(
    ref: Ref, commit: str, *, trusted: bool = True, labels: tuple[str, ...] = ()
) -> PullRequestChanged:
    return PullRequestChanged(
        repository=SHOP, ref=ref, commit=commit, trusted=trusted, labels=frozenset(labels)
    )


def changed(ref: Ref, commit: str) -> RefChanged:
    return RefChanged(repository=SHOP, ref=ref, commit=commit)


def gone(*refs: Ref) -> tuple[RefDeleted, ...]:
    return tuple(RefDeleted(repository=SHOP, ref=ref) for ref in refs)


def branches(count: int) -> dict[Ref, str]:
    return {Ref.branch(f"b{number}"): ONE for number in range(count)}


def test_nothing_follows_where_nothing_differs() -> None:
    assert compare(Seen(heads={MAIN: ONE}), wanted({MAIN: ONE}), SHOP) == Repairs()
    assert compare(Seen(heads={}), Known(), SHOP) == Repairs()


def test_a_branch_that_nobody_told_of_is_built() -> None:
    repairs = compare(Seen(heads={MAIN: ONE, FIX: TWO}), Known(), SHOP)
    assert repairs.changed == (changed(MAIN, ONE), changed(FIX, TWO))


def test_a_branch_at_another_commit_is_built() -> None:
    repairs = compare(Seen(heads={MAIN: TWO}), wanted({MAIN: ONE}), SHOP)
    assert repairs == Repairs(changed=(changed(MAIN, TWO),))


def test_a_build_of_whatever_the_head_will_be_is_enough() -> None:
    known = Known(wanted={MAIN: Wanted(newest=2, commits=frozenset({ONE}), heading=True)})
    assert compare(Seen(heads={MAIN: TWO}), known, SHOP).changed == ()


def test_where_a_ref_is_is_noted_where_nothing_is_to_be_built() -> None:
    """A build took the head, and the push was told of never."""
    row = Wanted(newest=2, head=ONE, commits=frozenset({TWO}))
    known = Known(wanted={MAIN: row, PR: row, FIX: AT_ONE})
    seen = Seen(heads={MAIN: TWO, FIX: ONE, PR: ONE}, pulls=[pull(PR, TWO)])
    assert compare(seen, known, SHOP) == Repairs(heads=((MAIN, TWO), (PR, TWO)))
    assert compare(seen, known, SHOP, moved=[MAIN]).heads == ((PR, TWO),)


def test_without_previews_only_long_lived_branches_are_built() -> None:
    seen = Seen(heads={MAIN: ONE, FIX: ONE}, pulls=[pull(PR, ONE)])
    repairs = compare(seen, Known(previews=False), SHOP)
    assert repairs.changed == (changed(MAIN, ONE),)
    known = wanted({FIX: ONE}, previews=False)
    assert compare(Seen(heads={MAIN: ONE, FIX: TWO}), known, SHOP).changed == (changed(MAIN, ONE),)


@pytest.mark.parametrize(
    ("left", "comes_back"),
    [
        (Left(commit=ONE, let_go=True, at=1.0), False),
        (Left(commit=TWO, let_go=True, at=1.0), True),
        (Left(commit="", let_go=True, at=1.0), True),
        (Left(commit=ONE, let_go=False, at=1.0), True),
    ],
    ids=["expired", "expired before a push", "expired, nobody knows where", "restored"],
)
def test_what_expired_comes_back_with_another_commit_only(left: Left, comes_back: bool) -> None:
    seen = Seen(heads={MAIN: ONE, FIX: ONE}, pulls=[pull(PR, ONE)])
    known = wanted({MAIN: ONE}, left={FIX: left, PR: left})
    expected = (changed(FIX, ONE), pull(PR, ONE)) if comes_back else ()
    assert compare(seen, known, SHOP).changed == expected


def test_what_two_lists_in_a_row_lack_is_gone() -> None:
    seen, known = Seen(heads={MAIN: ONE}), wanted({MAIN: ONE, FIX: ONE})
    first = compare(seen, known, SHOP)
    assert first == Repairs(absent=frozenset({FIX}))
    second = compare(seen, known, SHOP, absent=first.absent)
    assert second == Repairs(gone=gone(FIX))


def test_what_was_away_for_one_list_is_not_gone() -> None:
    known = wanted({MAIN: ONE, FIX: ONE})
    first = compare(Seen(heads={MAIN: ONE}), known, SHOP)
    back = compare(Seen(heads={MAIN: ONE, FIX: ONE}), known, SHOP, absent=first.absent)
    again = compare(Seen(heads={MAIN: ONE}), known, SHOP, absent=back.absent)
    assert (back, again.gone) == (Repairs(), ())


@pytest.mark.parametrize("force", [False, True])
def test_an_empty_answer_takes_nothing_away(force: bool) -> None:
    known = wanted({MAIN: ONE, PR: ONE})
    for pulls in (None, [], [pull(FIX, ONE)]):
        seen = Seen(heads={}, pulls=pulls)
        repairs = compare(seen, known, SHOP, absent=[MAIN, PR], force=force)
        assert repairs == Repairs(held=(MAIN, PR), why=NOTHING)
        assert missing(seen, known) == frozenset()


@pytest.mark.parametrize(
    ("there", "lost", "goes"),
    [(4, 3, True), (16, 4, True), (15, 4, False), (100, 25, True), (100, 26, False)],
)
def test_more_than_three_and_a_quarter_are_held(there: int, lost: int, goes: bool) -> None:
    refs = branches(there)
    seen = Seen(heads={MAIN: ONE} | dict([*refs.items()][lost:]))
    known = wanted({**refs})
    repairs = compare(seen, known, SHOP, absent=refs)
    expected = sorted(refs, key=[*refs].index)[:lost]
    assert {one.ref for one in repairs.gone} == (set(expected) if goes else set())
    assert set(repairs.held) == (set() if goes else set(expected))
    assert repairs.why == ("" if goes else MANY.format(lost, there))
    forced = compare(seen, known, SHOP, absent=refs, force=True)
    assert {one.ref for one in forced.gone} == set(expected)


def test_what_is_held_is_not_let_go_bit_by_bit() -> None:
    """How much is missing counts, and not how much of it two lists lack."""
    refs = branches(8)
    seen = Seen(heads={MAIN: ONE})
    repairs = compare(seen, wanted(refs), SHOP, absent=[*refs][:2])
    assert (repairs.gone, len(repairs.held)) == ((), 8)


def test_what_is_new_is_built_even_while_something_is_held() -> None:
    repairs = compare(Seen(heads={MAIN: ONE}), wanted(branches(8)), SHOP)
    assert (repairs.changed, len(repairs.held)) == ((changed(MAIN, ONE),), 8)


def test_what_was_heard_of_meanwhile_is_left_alone() -> None:
    before = wanted({MAIN: ONE, FIX: ONE})
    after = wanted({MAIN: TWO, PR: ONE}, left={FIX: Left(commit=ONE, let_go=False, at=2.0)})
    assert moved(before, after) == {MAIN, FIX, PR}
    seen = Seen(heads={MAIN: ONE, FIX: ONE})
    repairs = compare(seen, after, SHOP, moved=moved(before, after), absent=[PR])
    assert repairs == Repairs()


def test_a_branch_that_was_deleted_and_made_anew_has_moved() -> None:
    before = Known(wanted={FIX: Wanted(newest=1, commits=frozenset({ONE}))})
    after = Known(wanted={FIX: Wanted(newest=2, commits=frozenset({ONE}))})
    assert moved(before, after) == {FIX}
    assert moved(before, before) == frozenset()


def test_open_pull_requests_are_as_their_webhooks() -> None:
    fork = pull(Ref.pull_request(8), ONE, trusted=False, labels=("x",))
    seen = Seen(heads={MAIN: ONE}, pulls=[pull(PR, TWO), fork])
    known = wanted({MAIN: ONE, PR: ONE})
    assert compare(seen, known, SHOP).changed == (pull(PR, TWO), fork)


def test_closed_pull_requests_are_gone_whatever_git_has() -> None:
    """No forge takes `refs/pull/N/head` away."""
    seen = Seen(heads={MAIN: ONE, PR: ONE}, pulls=[])
    repairs = compare(seen, wanted({MAIN: ONE, PR: ONE}), SHOP, absent=[PR])
    assert repairs.gone == gone(PR)


def test_without_an_api_only_known_pull_requests_are_compared_by_their_heads() -> None:
    other = Ref.pull_request(8)
    known = Known(wanted={MAIN: AT_ONE, PR: Wanted(newest=1, trusted=False, labelled=True)})
    known = Known(wanted=known.wanted, label="go")
    seen = Seen(heads={MAIN: ONE, PR: TWO, other: ONE})
    assert compare(seen, known, SHOP).changed == (pull(PR, TWO, trusted=False, labels=("go",)),)
    seen = Seen(heads={MAIN: ONE, other: ONE})
    assert compare(seen, known, SHOP, absent=[PR]).gone == gone(PR)


@pytest.mark.parametrize(
    ("trusted", "labelled", "labels", "follows"),
    [
        (False, False, ("go", "x"), True),
        (False, True, ("x",), True),
        (False, True, ("go",), False),
        (False, False, ("x",), False),
        (True, False, ("go",), False),
    ],
)
def test_a_label_that_came_or_went_is_told_where_it_matters(
    trusted: bool, labelled: bool, labels: tuple[str, ...], follows: bool
) -> None:
    row = Wanted(newest=1, commits=frozenset({ONE}), trusted=trusted, labelled=labelled)
    known = Known(wanted={MAIN: AT_ONE, PR: row}, label="go")
    told = pull(PR, ONE, trusted=trusted, labels=labels)
    found = compare(Seen(heads={MAIN: ONE}, pulls=[told]), known, SHOP).changed
    assert found == ((told,) if follows else ())


REFS = st.sampled_from([*branches(20), MAIN, PR, Ref.pull_request(8)])


@given(
    heads=st.dictionaries(REFS, st.sampled_from([ONE, TWO])),
    there=st.dictionaries(REFS, st.sampled_from([ONE, TWO])),
    absent=st.frozensets(REFS),
    pulls=st.none() | st.lists(REFS, unique=True),
)
def test_nothing_goes_that_is_there_or_was_there_or_is_too_much(
    heads: dict[Ref, str],
    there: dict[Ref, str],
    absent: frozenset[Ref],
    pulls: list[Ref] | None,
) -> None:
    listed = None if pulls is None else [pull(r, ONE) for r in pulls if r.name.startswith("refs/p")]
    seen, known = Seen(heads=heads, pulls=listed), wanted(there)
    repairs = compare(seen, known, SHOP, absent=absent)
    left = {one.ref for one in repairs.gone}
    assert left <= set(there) & absent
    assert not any(ref in heads for ref in left if ref.name.startswith("refs/heads/"))
    assert not left & {one.ref for one in listed or ()}
    assert not left & {one.ref for one in repairs.changed}
    assert not left or heads
    assert len(left) <= max(A_FEW, len(there) // SHARE)


def test_a_pull_request_that_is_back_does_not_come_late() -> None:
    """It ended by another clock, if a list showed it."""
    again = replace(pull(PR, ONE), updated_at=5.0)
    seen = Seen(heads={MAIN: ONE}, pulls=[again])
    assert compare(seen, wanted({MAIN: ONE}), SHOP).changed == (again,)
    left = wanted({MAIN: ONE}, left={PR: Left(commit=ONE, let_go=False, at=9.0)})
    assert compare(seen, left, SHOP).changed == (replace(again, updated_at=None),)
