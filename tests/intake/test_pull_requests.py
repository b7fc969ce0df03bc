"""Pull requests of the repository itself: what comes in, and what comes in late."""

import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from kennel.domain import Environment, Ref, Tenant
from kennel.plugin import Delivery
from kennel.store import builds, projects, tenants
from kennel.testing.deliveries import GitHubSender

if TYPE_CHECKING:
    from tests.intake.conftest import Desk

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
PR = Ref.pull_request(7)


def at(seconds: int) -> dict[str, Any]:
    """Return fields of a pull request that was changed at a time of the same minute."""
    return {"updated_at": f"2026-01-02T03:04:{seconds:02}Z"}


def told(desk: "Desk", action: str, commit: str = ONE, *, when: int, **more: Any) -> Delivery:
    return desk.sender.pull_request(
        7, action, commit, fields=at(when) | more.pop("fields", {}), **more
    )


def stripped(delivery: Delivery) -> Delivery:
    """Return a delivery that does not tell when its pull request changed."""
    body = b"\n".join(line for line in delivery.body.split(b"\n") if b"updated_at" not in line)
    return Delivery(headers=delivery.headers, body=body)


async def is_forgotten(desk: "Desk") -> None:
    """Let everything that is gone be taken away, as the reconciler would."""

    def forget(db: sa.Connection) -> None:
        for one in tenants.every(db):
            tenants.forget(db, one.id)

    await desk.store.write(forget)


async def test_one_is_built_when_it_is_opened_and_when_it_is_pushed_to(desk: "Desk") -> None:
    assert await desk.take(told(desk, "opened", when=1)) == "build 1 of shop/pr-7"
    assert await desk.take(told(desk, "pushed", TWO, when=2)) == "build 2 of shop/pr-7"
    newest, oldest = await desk.builds()
    assert newest.tenant == Tenant("shop", PR)
    assert (newest.commit, newest.trusted, newest.state) == (TWO, True, "queued")
    assert (oldest.commit, oldest.state) == (ONE, "cancelled")
    record = (await desk.tenants())["shop/pr-7"]
    assert (record.environment, record.head) == (Environment.PREVIEW, TWO)


async def test_a_draft_is_built_like_any_other(desk: "Desk") -> None:
    desk.sender = GitHubSender(secret="s")
    await desk.take(told(desk, "opened", when=1, fields={"draft": True}))
    assert await desk.states() == ["queued"]
    said = await desk.take(told(desk, "ready_for_review", when=2))
    assert said.startswith("ignored: pr-7: nothing follows from")


@pytest.mark.parametrize("merged", [False, True], ids=["dropped", "merged"])
async def test_one_that_is_closed_is_gone(desk: "Desk", merged: bool) -> None:
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    await desk.take(told(desk, "pushed", TWO, when=2))
    desk.called.clear()
    said = await desk.take(told(desk, "closed", TWO, when=3, fields={"merged": merged}))
    assert said == "shop/pr-7 is gone"
    assert not (await desk.tenants())["shop/pr-7"].wanted
    assert await desk.states() == ["cancelled", "done"]
    assert "gone" in desk.called


@pytest.mark.parametrize("forgotten", [False, True], ids=["while-it-goes", "after-it-went"])
async def test_one_that_is_reopened_at_the_same_commit_is_deployed_again(
    desk: "Desk", forgotten: bool
) -> None:
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    await desk.take(told(desk, "closed", when=2))
    if forgotten:
        await is_forgotten(desk)
        assert await desk.tenants() == {}
    assert await desk.take(told(desk, "reopened", when=3)) == "build 2 of shop/pr-7"
    assert (await desk.tenants())["shop/pr-7"].wanted
    assert await desk.states() == ["queued", "done"]


async def test_one_that_expired_and_is_reopened_at_the_same_commit_is_deployed_again(
    desk: "Desk",
) -> None:
    """Its build is done all the time: that says nothing of what is there now."""
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    [record] = (await desk.tenants()).values()
    await desk.store.write(
        lambda db: tenants.expire(db, record.id, active_at=record.active_at, now=time.time())
    )
    await is_forgotten(desk)
    await desk.take(told(desk, "closed", when=2))
    assert await desk.take(told(desk, "reopened", when=3)) == "build 2 of shop/pr-7"


async def test_one_that_expired_is_built_again_when_it_is_pushed_to(desk: "Desk") -> None:
    """Some forges tell of a push with the time before it, and no clock is another's."""
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    [record] = (await desk.tenants()).values()
    await desk.store.write(
        lambda db: tenants.expire(db, record.id, active_at=record.active_at, now=time.time())
    )
    said = await desk.take(told(desk, "pushed", ONE, when=1))
    assert said == "ignored: it is older than the end of pr-7"
    assert await desk.take(told(desk, "pushed", TWO, when=1)) == "build 2 of shop/pr-7"


@pytest.mark.parametrize("when", [1, 2], ids=["before", "in-the-same-second"])
@pytest.mark.parametrize("action", ["opened", "pushed", "labelled"])
@pytest.mark.parametrize("forgotten", [False, True], ids=["while-it-goes", "after-it-went"])
@pytest.mark.parametrize("fork", [False, True], ids=["own", "fork"])
async def test_what_comes_in_after_the_end_and_is_older_does_not_bring_it_back(
    desk: "Desk", when: int, action: str, forgotten: bool, fork: bool
) -> None:
    await desk.take(told(desk, "opened", when=0))
    await desk.is_built()
    await desk.take(told(desk, "closed", when=2))
    if forgotten:
        await is_forgotten(desk)
    before = await desk.tenants()
    said = await desk.take(told(desk, action, TWO, when=when, fork=fork, labels=["kennel: deploy"]))
    assert said == "ignored: it is older than the end of pr-7"
    assert await desk.tenants() == before
    assert await desk.states() == ["done"]


async def test_an_end_that_comes_in_before_the_beginning_is_the_end(desk: "Desk") -> None:
    said = await desk.take(told(desk, "closed", when=2))
    assert said == "ignored: nothing was deployed for shop/pr-7"
    said = await desk.take(told(desk, "opened", when=1))
    assert said == "ignored: it is older than the end of pr-7"
    assert await desk.builds() == []


async def test_one_that_is_reopened_in_the_second_it_was_closed_in_is_there(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    await desk.take(told(desk, "closed", when=2))
    assert await desk.take(told(desk, "reopened", when=2)) == "build 2 of shop/pr-7"


@pytest.mark.parametrize("number", ["", "abc"], ids=["with-a-new-number", "with-its-number"])
async def test_an_end_that_is_replayed_does_not_end_what_is_open_again(
    desk: "Desk", number: str
) -> None:
    closed = told(desk, "closed", when=2)
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    await desk.take(closed, delivery_id=number)
    await desk.take(told(desk, "reopened", when=3))
    said = await desk.take(closed, delivery_id=number)
    assert said.startswith("ignored: ")
    assert (await desk.tenants())["shop/pr-7"].wanted
    assert await desk.states() == ["queued", "done"]


async def test_an_end_that_is_replayed_does_not_let_older_news_in(desk: "Desk") -> None:
    """What counts is the newest end."""
    first = told(desk, "closed", when=2)
    await desk.take(told(desk, "opened", when=1))
    await desk.take(first)
    await desk.take(told(desk, "reopened", when=3))
    await desk.take(told(desk, "closed", when=5))
    assert await desk.take(first) == "ignored: that it is gone came in before"
    said = await desk.take(told(desk, "pushed", TWO, when=4))
    assert said == "ignored: it is older than the end of pr-7"


async def test_a_push_that_comes_in_late_does_not_take_it_back(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", ONE, when=1))
    await desk.take(told(desk, "pushed", THREE, when=3))
    said = await desk.take(told(desk, "pushed", TWO, when=2))
    assert said == "ignored: it is older than what is known of pr-7"
    assert (await desk.tenants())["shop/pr-7"].head == THREE
    assert [(b.commit, b.state) for b in await desk.builds()] == [
        (THREE, "queued"),
        (ONE, "cancelled"),
    ]


async def test_two_pushes_in_a_second_count_as_they_come_in(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", ONE, when=1))
    assert await desk.take(told(desk, "pushed", TWO, when=1)) == "build 2 of shop/pr-7"


async def test_a_forge_that_tells_no_times_is_believed(desk: "Desk") -> None:
    """What is built is what its repository has, whatever came in."""
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    await desk.take(stripped(told(desk, "closed", when=0)))
    assert not (await desk.tenants())["shop/pr-7"].wanted
    assert await desk.take(stripped(told(desk, "pushed", when=0))) == "build 2 of shop/pr-7"


async def test_a_revert_to_an_old_commit_is_built(desk: "Desk") -> None:
    """One that was built, and is the head of main besides."""
    await desk.take(desk.sender.pushed("main", TWO, ONE))
    await desk.take(told(desk, "opened", ONE, when=1))
    await desk.is_built()
    await desk.take(told(desk, "pushed", TWO, when=2))
    await desk.is_built()
    assert await desk.take(told(desk, "pushed", ONE, when=3)) == "build 4 of shop/pr-7"
    assert await desk.take(desk.sender.pushed("main", ONE, TWO)) == "build 5 of shop/main"


async def test_another_base_builds_nothing_and_counts_as_activity(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", when=1))
    await desk.store.write(lambda db: builds.failed(db, 1, reason="no", now=2.0))
    before = (await desk.tenants())["shop/pr-7"]
    changes = {"ref": {"from": "main"}}
    said = await desk.take(told(desk, "edited", when=2, changes=changes))
    assert said == "shop/pr-7 has another base: there is nothing to build"
    after = (await desk.tenants())["shop/pr-7"]
    assert after.active_at > before.active_at
    assert await desk.states() == ["failed"]


async def test_another_base_of_one_whose_push_was_never_told_of_is_a_push(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", ONE, when=1))
    said = await desk.take(told(desk, "edited", TWO, when=2, changes={"ref": {"from": "main"}}))
    assert said == "build 2 of shop/pr-7"


async def test_labels_build_nothing(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", when=1))
    said = await desk.take(told(desk, "labelled", TWO, when=2, labels=["kennel: deploy"]))
    assert said == "ignored: only labels changed"
    said = await desk.take(desk.sender.pull_request(8, "labelled", ONE, labels=["kennel: deploy"]))
    assert said == "ignored: only labels changed"
    assert len(await desk.builds()) == 1
    assert set(await desk.tenants()) == {"shop/pr-7"}


async def test_what_was_decided_of_one_does_not_hold_when_it_is_back(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", when=1))
    await desk.is_built()
    [record] = (await desk.tenants()).values()
    await desk.store.write(lambda db: tenants.change(db, record.id, stopped=True, approved="*"))
    await desk.take(told(desk, "closed", when=2))
    await desk.take(told(desk, "reopened", when=3))
    back = (await desk.tenants())["shop/pr-7"]
    assert (back.stopped, back.approved) == (False, "")


async def test_the_end_of_a_branch_called_like_one_does_not_end_it(desk: "Desk") -> None:
    await desk.take(told(desk, "opened", when=1))
    await desk.take(*desk.sender.created("pr-7", TWO))
    await desk.is_built()
    await desk.take(*desk.sender.deleted("pr-7", TWO))
    found = await desk.tenants()
    assert (found["shop/pr-7"].wanted, found["shop/heads/pr-7"].wanted) == (True, False)
    await desk.take(*desk.sender.created("pr-7", TWO))
    await desk.take(told(desk, "closed", when=2))
    found = await desk.tenants()
    assert (found["shop/pr-7"].wanted, found["shop/heads/pr-7"].wanted) == (False, True)


async def test_a_push_of_its_ref_by_name_is_no_event_of_it(desk: "Desk") -> None:
    """A tag or a branch cannot be pushed so that it passes for a pull request."""
    for ref in ("refs/pull/7/head", "refs/tags/pr-7"):
        said = await desk.take(desk.sender.push(ref, ONE, TWO))
        assert said.startswith("ignored: ")
    assert await desk.tenants() == {}


async def test_nothing_is_done_where_previews_are_off(desk: "Desk") -> None:
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    [project] = await desk.store.read(projects.every)
    await desk.store.write(lambda db: projects.configure(db, project, previews=False))
    for action in ("opened", "pushed", "reopened", "labelled"):
        said = await desk.take(told(desk, action, when=1, fork=True, labels=["kennel: deploy"]))
        assert said == "ignored: previews are off for shop"
    assert set(await desk.tenants()) == {"shop/main"}
