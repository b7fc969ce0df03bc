"""From deliveries to builds and ends of refs."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from kennel.domain import Environment
from kennel.intake import is_allowed
from kennel.plugin import Delivery
from kennel.store import builds, inbox, projects

if TYPE_CHECKING:
    from tests.intake.conftest import Desk

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


async def test_a_push_is_a_build_and_registers_its_repository(desk: "Desk") -> None:
    assert desk.sender.full_name.startswith("acme/")
    assert await desk.take(desk.sender.pushed("main", ONE, TWO)) == "build 1 of shop/main"
    [build] = await desk.builds()
    assert (build.commit, build.state, build.trusted) == (TWO, "queued", True)
    assert (await desk.tenants())["shop/main"].environment is Environment.PROD
    assert desk.called == ["changed", "registered"]


async def test_the_same_push_again_changes_nothing(desk: "Desk") -> None:
    push = desk.sender.pushed("main", ONE, TWO)
    await desk.take(push)
    assert await desk.take(push) == "shop/main has 222222222222 already"
    assert len(await desk.builds()) == 1


async def test_a_repository_that_is_not_allowed_is_not_registered(desk: "Desk") -> None:
    desk.sender = replace(desk.sender, full_name="eve/shop")
    assert await desk.take(desk.sender.pushed("main", ONE, TWO)) == (
        "ignored: eve/shop is not registered"
    )
    assert await desk.store.read(projects.every) == []


async def test_one_that_cannot_be_handled_holds_up_nobody(
    desk: "Desk", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had begun to write is taken back; what came before and after it stays."""
    queue = builds.queue

    def breaks(db: sa.Connection, **values: Any) -> int | None:
        if values["commit"] == TWO:
            raise KeyError("a bug")
        return queue(db, **values)

    monkeypatch.setattr(builds, "queue", breaks)
    await desk.put(
        desk.sender.pushed("dev", THREE, ONE),
        desk.sender.pushed("main", ONE, TWO),
        desk.sender.pushed("staging", ONE, THREE),
    )
    assert await desk.intake.drain() == 3
    rows = await desk.store.read(partial(inbox.recent, limit=10))
    assert [row.outcome for row in reversed(rows)] == [
        "build 1 of shop/dev",
        "internal error: KeyError",
        "build 2 of shop/staging",
    ]
    assert set(await desk.tenants()) == {"shop/dev", "shop/staging"}


async def test_nonsense_is_said_to_be(desk: "Desk") -> None:
    push = desk.sender.pushed("main", ONE, TWO)
    said = await desk.take(Delivery(headers=push.headers, body=b"{"))
    assert said.startswith("ignored: ")
    assert await desk.builds() == []


async def test_a_branch_that_was_never_deployed_can_go(desk: "Desk") -> None:
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    said = await desk.take(*desk.sender.deleted("fix", ONE))
    assert said == "ignored: nothing was deployed for shop/fix"


async def test_a_branch_that_goes_takes_its_builds_with_it(desk: "Desk") -> None:
    await desk.take(*desk.sender.created("fix", ONE))
    await desk.is_built()
    await desk.take(desk.sender.pushed("fix", ONE, TWO))
    desk.called.clear()
    await desk.take(*desk.sender.deleted("fix", TWO))
    assert not (await desk.tenants())["shop/fix"].wanted
    assert [build.state for build in await desk.builds()] == ["cancelled", "done"]
    assert "gone" in desk.called


async def test_it_can_come_back_at_the_same_commit_while_it_is_taken_away(desk: "Desk") -> None:
    await desk.take(*desk.sender.created("fix", ONE))
    await desk.is_built()
    await desk.take(*desk.sender.deleted("fix", ONE))
    await desk.take(*desk.sender.created("fix", ONE))
    assert (await desk.tenants())["shop/fix"].wanted
    assert [build.state for build in await desk.builds()] == ["queued", "done"]


async def test_an_end_that_is_delivered_again_ends_nothing(desk: "Desk") -> None:
    """GitHub delivers again under the same number, and not always in order."""
    await desk.take(*desk.sender.created("fix", ONE))
    await desk.is_built()
    [*_, deleted] = desk.sender.deleted("fix", ONE)
    await desk.take(deleted, delivery_id="abc")
    await desk.take(*desk.sender.created("fix", TWO))
    said = await desk.take(deleted, delivery_id="abc")
    assert said == "ignored: that it is gone came in before"
    assert (await desk.tenants())["shop/fix"].wanted


async def test_a_branch_called_like_a_pull_request_is_another_thing(desk: "Desk") -> None:
    await desk.take(desk.sender.pull_request(5, "opened", ONE))
    await desk.take(*desk.sender.created("pr-5", TWO))
    await desk.is_built()
    await desk.take(*desk.sender.deleted("pr-5", TWO))
    found = await desk.tenants()
    assert (found["shop/pr-5"].wanted, found["shop/heads/pr-5"].wanted) == (True, False)


async def test_without_previews_only_long_lived_branches_are_built(desk: "Desk") -> None:
    await desk.store.write(
        partial(
            projects.register,
            now=1.0,
            forge="forgejo",
            full_name=desk.sender.full_name,
            clone_url="https://x",
            previews=False,
        )
    )
    assert await desk.take(*desk.sender.created("fix", ONE)) == "ignored: previews are off for shop"
    assert "previews are off" in await desk.take(desk.sender.pull_request(7, "opened", ONE))
    assert await desk.take(desk.sender.pushed("dev", ONE, TWO)) == "build 1 of shop/dev"


async def test_a_project_that_is_being_removed_takes_nothing(desk: "Desk") -> None:
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    await desk.store.write(partial(projects.remove, name="shop"))
    said = await desk.take(desk.sender.pushed("main", TWO, THREE))
    assert said == "ignored: the project is being removed"


async def test_nobody_takes_what_a_removed_project_left_by_its_name(desk: "Desk") -> None:
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    await desk.store.write(partial(projects.remove, name="shop"))
    desk.sender = replace(desk.sender, id=99)
    said = await desk.take(desk.sender.pushed("main", ONE, TWO))
    assert "add it by hand" in said
    assert len(await desk.builds()) == 1
    [project] = await desk.store.read(projects.every)
    assert project.removed


async def test_a_renamed_repository_stays_the_same_project(desk: "Desk") -> None:
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    desk.sender = replace(desk.sender, full_name="acme/till")
    await desk.take(desk.sender.pushed("main", TWO, THREE))
    [project] = await desk.store.read(projects.every)
    assert (project.name, project.full_name) == ("shop", "acme/till")


async def test_a_delivery_does_not_say_where_a_project_is_cloned_from(desk: "Desk") -> None:
    """Nor which branch is its default one: whoever can sign could name another repository."""
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    [before] = await desk.store.read(projects.every)
    elsewhere = "https://evil.example/acme/shop.git"
    desk.sender = replace(desk.sender, clone_url=elsewhere, default_branch="evil")
    await desk.take(desk.sender.pull_request(7, "opened", THREE))
    await desk.take(desk.sender.pushed("main", TWO, THREE))
    assert await desk.store.read(projects.every) == [before]


async def test_who_takes_its_old_name_is_another_project(desk: "Desk") -> None:
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    before = desk.sender.id
    desk.sender = replace(desk.sender, full_name="acme/till")
    await desk.take(desk.sender.pushed("main", TWO, THREE))
    desk.sender = replace(desk.sender, full_name="acme/shop", id=before + 1)
    await desk.take(desk.sender.pushed("main", TWO, ONE))
    names = {one.full_name: one.name for one in await desk.store.read(projects.every)}
    assert names == {"acme/till": "shop", "acme/shop": "acme-shop"}


async def test_it_goes_on_when_the_database_was_away(
    desk: "Desk", monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = desk.store.write, iter([1, 2])

    async def away(change: Any) -> Any:
        if next(failures, None):
            raise OSError("no space left on device")
        return await write(change)

    await desk.put(desk.sender.pushed("main", ONE, TWO))
    monkeypatch.setattr("kennel.intake.EVERY", 0.01)
    monkeypatch.setattr(desk.store, "write", away)
    running = asyncio.create_task(desk.intake.run())
    async with asyncio.timeout(10):
        while not await desk.builds():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_many_are_handled_at_once(desk: "Desk") -> None:
    await desk.put(*(desk.sender.pushed(f"b{n}", ONE, TWO) for n in range(250)))
    assert await desk.intake.drain() == 250
    assert len(await desk.store.read(partial(builds.recent, limit=1000))) == 250


@pytest.mark.parametrize(
    ("full_name", "allow", "allowed"),
    [
        ("acme/shop", ("acme/*",), True),
        ("ACME/Shop", ("acme/shop",), True),
        ("acme/shop", ("acme/till", "other/*"), False),
        ("evilacme/shop", ("acme/*",), False),
        ("acme/shop", (), False),
    ],
)
def test_who_may_register_itself(full_name: str, allow: tuple[str, ...], allowed: bool) -> None:
    assert is_allowed(full_name, allow) is allowed
