"""Webhooks that never came, of real repositories."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import structlog

from kennel.build.remote import Heads, Remote
from kennel.builtin.forgejo import Forgejo
from kennel.domain import Environment, PullRequestChanged, Ref, Repository, Secret
from kennel.domain.delivery import NewDelivery
from kennel.domain.record import Project
from kennel.errors import Conflict, NotFound
from kennel.plugin import Delivery
from kennel.store import builds, inbox, projects, tenants
from kennel.sweep import asking
from kennel.testing.deliveries import ForgejoSender
from kennel.testing.forge_api import GiteaApi, Reply

SENDER = ForgejoSender(secret="s")


async def deliver(yard: Any, *deliveries: Delivery) -> None:
    """Put deliveries into the inbox."""
    new = [
        NewDelivery(
            forge="forgejo",
            event="x",
            delivery_id="",
            project="shop",
            headers=one.headers,
            body=one.body,
            received_at=1.0,
        )
        for one in deliveries
    ]
    await yard.store.write(partial(inbox.add, new=new))


# Pushes.


async def test_a_new_project_gets_all_that_its_repository_has(yard: Any) -> None:
    repository = yard.repository()
    repository.push("HEAD:refs/heads/fix")
    await yard.project(repository.bare)
    assert await yard.told() == {"shop/main": "changed", "shop/fix": "changed"}
    head = repository.head("main")
    assert await yard.builds() == {"shop/main": head, "shop/fix": head}
    assert (yard.sweeper.repairs, yard.called) == (2, ["changed"])
    assert (await yard.tenants())["shop/main"].environment is Environment.PROD


async def test_a_lost_push_is_built(yard: Any) -> None:
    repository = yard.repository()
    await yard.project(repository.bare)
    await yard.told()
    await yard.all_are("done")
    commit = repository.commit({"a": "2"})
    repository.push()
    assert await yard.told() == {"shop/main": "changed"}
    assert await yard.builds() == {"shop/main": commit}


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
async def test_what_was_built_once_is_not_built_again(yard: Any, state: str) -> None:
    """Not even if it failed, or a person has cancelled it."""
    repository = yard.repository()
    await yard.project(repository.bare)
    await yard.told()
    await yard.all_are(state)
    changes = yard.store.changes
    assert await yard.told(3) == {}
    assert len(await yard.every_build()) == 1
    assert yard.store.changes == changes


async def test_a_build_of_the_head_whatever_it_is_is_enough(yard: Any) -> None:
    repository = yard.repository()
    project = await yard.project(repository.bare)
    queue = partial(
        builds.queue,
        project_id=project.id,
        ref=Ref.branch("main"),
        commit=builds.HEAD,
        trusted=True,
        now=1.0,
    )
    seen = partial(
        tenants.seen, project_id=project.id, ref=Ref.branch("main"), trusted=True, now=1.0
    )
    await yard.store.write(lambda db: (seen(db), queue(db)))
    assert await yard.told() == {}


async def test_without_previews_only_long_lived_branches_are_built(yard: Any) -> None:
    repository = yard.repository()
    repository.push("HEAD:refs/heads/fix")
    await yard.project(repository.bare, previews=False)
    assert await yard.told() == {"shop/main": "changed"}


async def test_a_project_added_by_hand_learns_no_id(yard: Any) -> None:
    repository = yard.repository()
    await yard.project(repository.bare)
    await yard.told()
    [project] = await yard.store.read(projects.every)
    assert (project.forge_id, project.full_name) == (None, "acme/shop")


async def test_what_waits_in_the_inbox_was_not_lost(yard: Any) -> None:
    repository = yard.repository()
    await yard.project(repository.bare)
    head = repository.head("main")
    await deliver(yard, *SENDER.created("main", head))
    assert await yard.told() == {}
    assert (yard.sweeper.repairs, await yard.builds()) == (0, {"shop/main": head})


# Ends.


async def known(yard: Any, *branches: str) -> Any:
    """Give a project whose branches, `main` too, are built."""
    repository = yard.repository()
    for branch in branches:
        repository.push(f"HEAD:refs/heads/{branch}")
    await yard.project(repository.bare)
    await yard.told()
    await yard.all_are("done")
    yard.called.clear()
    return repository


async def test_a_lost_deletion_is_found_by_the_second_list(yard: Any) -> None:
    repository = await known(yard, "fix")
    repository.push(":refs/heads/fix")
    assert await yard.told() == {}
    assert await yard.wanted() == {"shop/main", "shop/fix"}
    assert await yard.told() == {"shop/fix": "gone"}
    assert await yard.wanted() == {"shop/main"}
    assert yard.called == ["changed"]
    assert await yard.told(3) == {}


async def test_by_hand_the_second_list_comes_at_once(yard: Any) -> None:
    repository = await known(yard, "fix")
    repository.push(":refs/heads/fix")
    [found] = await yard.sweeper.sweep("shop")
    assert [(one.tenant.ref.short, one.kind) for one in found.repairs] == [("fix", "gone")]


async def test_production_is_kept_when_its_branch_is_gone(yard: Any) -> None:
    repository = await known(yard, "fix")
    repository.git("update-ref", "-d", "refs/heads/main", cwd=repository.bare)
    await yard.told(2)
    assert (await yard.tenants())["shop/main"].environment is Environment.PROD
    assert await yard.wanted() == {"shop/fix"}


async def test_a_list_that_lacks_something_once_takes_nothing_away(yard: Any) -> None:
    repository = await known(yard, "fix")
    for _ in range(3):
        repository.push(":refs/heads/fix")
        assert await yard.told() == {}
        repository.push("HEAD:refs/heads/fix")
        assert await yard.told() == {}
    assert await yard.wanted() == {"shop/main", "shop/fix"}


async def test_an_empty_repository_takes_nothing_away(yard: Any) -> None:
    repository = await known(yard, "fix")
    for branch in ("main", "fix"):
        repository.git("update-ref", "-d", f"refs/heads/{branch}", cwd=repository.bare)
    assert await yard.told(3) == {"shop/main": "held", "shop/fix": "held"}
    [found] = await yard.sweeper.sweep("shop", force=True)
    assert {one.kind for one in found.repairs} == {"held"}
    assert await yard.wanted() == {"shop/main", "shop/fix"}
    assert "shows no branch at all" in yard.sweeper.last["shop"]


async def test_more_than_a_quarter_goes_only_by_order(yard: Any) -> None:
    names = [f"b{number}" for number in range(11)]
    repository = await known(yard, *names)
    for name in names[:4]:
        repository.push(f":refs/heads/{name}")
    assert await yard.told(3) == {f"shop/{name}": "held" for name in names[:4]}
    [found] = await yard.sweeper.sweep("shop")
    assert {one.kind for one in found.repairs} == {"held"}
    assert "4 of 12 refs are missing at once" in found.problem
    assert "`kennel sweep shop --force`" in found.problem
    assert len(await yard.wanted()) == 12
    [found] = await yard.sweeper.sweep("shop", force=True)
    assert {str(one.tenant) for one in found.repairs} == {f"shop/{name}" for name in names[:4]}
    assert (found.problem, len(await yard.wanted())) == ("", 8)


async def test_what_goes_by_order_is_not_asked_for_again(yard: Any) -> None:
    repository = await known(yard, "b1", "b2", "b3", "b4")
    await yard.all_are("done")
    for name in ("b1", "b2", "b3", "b4"):
        repository.push(f":refs/heads/{name}")
    await yard.sweeper.sweep("shop", force=True)
    left = {str(one.tenant.ref): one.confirmed for one in (await yard.tenants()).values()}
    assert left == {"main": False, "b1": True, "b2": True, "b3": True, "b4": True}


async def test_what_expired_comes_back_with_the_next_push(yard: Any) -> None:
    repository = await known(yard, "fix")
    row = (await yard.tenants())["shop/fix"]
    await yard.store.write(
        partial(tenants.expire, tenant_id=row.id, active_at=row.active_at, now=9.0)
    )
    assert await yard.told(3) == {}
    commit = repository.commit({"a": "3"})
    repository.push("HEAD:refs/heads/fix")
    assert await yard.told() == {"shop/fix": "changed"}
    assert (await yard.builds())["shop/fix"] == commit


async def test_what_expired_stays_away_though_its_last_push_was_never_told_of(yard: Any) -> None:
    """A worker took it for the head all the same."""
    repository = await known(yard, "fix")
    commit = repository.commit({"a": "3"})
    repository.push("HEAD:refs/heads/fix")
    [project] = await yard.store.read(projects.every)
    build = partial(
        builds.queue,
        project_id=project.id,
        ref=Ref.branch("fix"),
        commit=commit,
        trusted=True,
        now=1.0,
    )
    await yard.store.write(build)
    await yard.all_are("done")
    before = (await yard.tenants())["shop/fix"]
    assert await yard.told() == {}
    row = (await yard.tenants())["shop/fix"]
    assert row == replace(before, head=commit)
    await yard.store.write(
        partial(tenants.expire, tenant_id=row.id, active_at=row.active_at, now=9.0)
    )
    assert await yard.told(2) == {}


async def test_a_branch_that_was_restored_comes_back_at_the_same_commit(yard: Any) -> None:
    repository = await known(yard, "fix")
    await deliver(yard, *SENDER.deleted("fix", repository.head("fix")))
    await yard.intake.drain()
    assert await yard.wanted() == {"shop/main"}
    assert await yard.told() == {"shop/fix": "changed"}
    assert await yard.wanted() == {"shop/main", "shop/fix"}


# What happens meanwhile.


class Interrupted(Remote):
    """A remote between whose answer and whose end something else happens."""

    async def heads(self, project: Project, *, pulls: bool) -> Heads:
        found = await super().heads(project, pulls=pulls)
        await self.meanwhile()
        return found

    async def meanwhile(self) -> None: ...


@pytest.fixture
def interrupted(yard: Any) -> Interrupted:
    remote = Interrupted(yard.sweeper._remote._places)
    yard.sweeper._asking._remote = remote
    return remote


async def test_a_list_from_before_a_push_does_not_take_it_back(yard: Any, interrupted: Any) -> None:
    """The build of what is newer would be cancelled for it."""
    repository = await known(yard)
    commit = repository.commit({"a": "2"})
    before = repository.head("main")

    async def pushed() -> None:
        await deliver(yard, SENDER.pushed("main", before, commit))

    interrupted.meanwhile = pushed
    assert await yard.told() == {}
    [newest, *_] = await yard.every_build()
    assert (newest.commit, newest.state) == (commit, "queued")


async def test_a_list_from_before_a_deletion_does_not_bring_a_branch_back(
    yard: Any, interrupted: Any
) -> None:
    await known(yard, "fix")

    async def deleted() -> None:
        await deliver(yard, *SENDER.deleted("fix", "1" * 40))

    interrupted.meanwhile = deleted
    assert await yard.told() == {}
    assert await yard.wanted() == {"shop/main"}


async def test_a_project_that_goes_meanwhile_is_left_alone(yard: Any, interrupted: Any) -> None:
    repository = await known(yard)
    repository.commit({"a": "2"})
    repository.push()

    async def removed() -> None:
        await yard.store.write(partial(projects.remove, name="shop"))

    interrupted.meanwhile = removed
    assert await yard.told() == {}
    assert len(await yard.every_build()) == 1
    assert (await yard.sweeps(), yard.sweeper.last) == ([], {})


async def test_several_are_asked_side_by_side_and_none_twice_at_a_time(
    yard: Any, interrupted: Any
) -> None:
    repository = yard.repository()
    for number in range(12):
        await yard.project(repository.bare, f"shop{number}")
    now: dict[str, int] = {"most": 0, "here": 0}

    async def count() -> None:
        now["here"] += 1
        now["most"] = max(now["most"], now["here"])
        await asyncio.sleep(0.05)
        now["here"] -= 1

    interrupted.meanwhile = count
    await yard.sweeper.round()
    assert now["most"] == 8
    now["most"] = 0
    await asyncio.gather(*(yard.sweeper.sweep("shop1") for _ in range(4)))
    assert now["most"] == 1


# Pull requests.


@pytest.fixture
def api() -> Iterator[GiteaApi]:
    with GiteaApi(SENDER) as api:
        yield api


@pytest.fixture
async def shop(yard: Any, api: GiteaApi, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a repository of a project with a token for the API beside it."""
    monkeypatch.setenv("SHOP_TOKEN", api.token)
    repository = yard.repository()
    await yard.project(repository.bare, token="env:SHOP_TOKEN")
    async with Forgejo(api.url) as forge:
        yard.forges["forgejo"] = forge
        yield repository


def opened(repository: Any, api: GiteaApi, number: int, **more: Any) -> str:
    """Open a pull request. Return its head."""
    commit: str = repository.commit({"a": f"of {number}"})
    repository.push(f"HEAD:refs/pull/{number}/head", "--force")
    api.pulls = [one for one in api.pulls if one["number"] != number]
    api.pulls.append(api.sender.pull(number, commit, **more))
    return commit


async def test_pull_requests_come_and_move_and_go(yard: Any, shop: Any, api: GiteaApi) -> None:
    commit = opened(shop, api, 7)
    assert await yard.told() == {"shop/main": "changed", "shop/pr-7": "changed"}
    assert (await yard.builds())["shop/pr-7"] == commit
    assert await yard.told() == {}
    commit = opened(shop, api, 7)
    assert await yard.told() == {"shop/pr-7": "changed"}
    assert (await yard.builds())["shop/pr-7"] == commit
    await yard.all_are("done")
    api.pulls.clear()
    assert await yard.told() == {}
    assert await yard.told() == {"shop/pr-7": "gone"}
    assert await yard.wanted() == {"shop/main"}
    assert await yard.told(3) == {}


async def test_a_pull_request_of_a_fork_is_not_built(yard: Any, shop: Any, api: GiteaApi) -> None:
    commit = opened(shop, api, 7, fork=True)
    assert await yard.told() == {"shop/main": "changed", "shop/pr-7": "changed"}
    assert set(await yard.builds()) == {"shop/main"}
    row = (await yard.tenants())["shop/pr-7"]
    assert (row.trusted, row.head, row.approved) == (False, commit, "")
    assert await yard.told(2) == {}
    commit = opened(shop, api, 7, fork=True)
    assert await yard.told() == {"shop/pr-7": "changed"}
    assert (await yard.tenants())["shop/pr-7"].head == commit
    assert set(await yard.builds()) == {"shop/main"}
    api.pulls.clear()
    assert await yard.told(2) == {"shop/pr-7": "gone"}


async def test_a_label_that_is_found_approves_of_nothing(
    yard: Any, shop: Any, api: GiteaApi
) -> None:
    """Between its being set and our look, another commit may have been pushed."""
    opened(shop, api, 7, fork=True, labels=["kennel: deploy"])
    await yard.told()
    opened(shop, api, 8, fork=True)
    await yard.told()
    api.pulls[-1]["labels"] = [{"id": 1, "name": "kennel: deploy"}]
    assert await yard.told() == {"shop/pr-8": "changed"}
    rows = await yard.tenants()
    assert [rows[f"shop/pr-{n}"].labelled for n in (7, 8)] == [True, True]
    assert [rows[f"shop/pr-{n}"].approved for n in (7, 8)] == ["", ""]
    assert set(await yard.builds()) == {"shop/main"}
    assert await yard.told(2) == {}


async def test_a_label_that_is_gone_withdraws_what_it_approved(
    yard: Any, shop: Any, api: GiteaApi
) -> None:
    commit = opened(shop, api, 7, fork=True)
    await yard.told()
    api.pulls[0]["labels"] = [{"id": 1, "name": "kennel: deploy"}]
    labelled = {"updated_at": "2026-01-03T00:00:00Z"}
    await deliver(
        yard,
        SENDER.pull_request(
            7, "labelled", commit, fork=True, labels=["kennel: deploy"], fields=labelled
        ),
    )
    await yard.intake.drain()
    assert (await yard.builds())["shop/pr-7"] == commit
    api.pulls[0] |= {"labels": [], "updated_at": "2026-01-04T00:00:00Z"}
    assert await yard.told() == {"shop/pr-7": "changed"}
    row = (await yard.tenants())["shop/pr-7"]
    assert (row.labelled, row.approved) == (False, "")
    assert set(await yard.builds()) == {"shop/main"}


async def test_a_closed_one_stays_away_and_a_reopened_one_comes_back(
    yard: Any, shop: Any, api: GiteaApi
) -> None:
    commit = opened(shop, api, 7)
    await yard.told()
    await yard.all_are("done")
    await deliver(yard, SENDER.pull_request(7, "closed", commit))
    pull = api.pulls.pop()
    assert await yard.told(3) == {}
    assert await yard.wanted() == {"shop/main"}
    api.pulls.append(pull)
    assert await yard.told() == {"shop/pr-7": "changed"}
    assert await yard.wanted() == {"shop/main", "shop/pr-7"}


async def test_without_a_token_pull_requests_are_known_by_their_heads(yard: Any) -> None:
    repository = yard.repository()
    await yard.project(repository.bare)
    commit = repository.commit({"a": "2"})
    repository.push("HEAD:refs/pull/7/head")
    repository.push("HEAD:refs/pull/8/head")
    await deliver(yard, SENDER.pull_request(7, "opened", commit))
    assert await yard.told() == {"shop/main": "changed"}
    commit = repository.commit({"a": "3"})
    for number in (7, 8):
        repository.push(f"HEAD:refs/pull/{number}/head")
    assert await yard.told() == {"shop/pr-7": "changed"}
    assert (await yard.builds())["shop/pr-7"] == commit
    repository.push(":refs/pull/7/head")
    assert await yard.told(2) == {"shop/pr-7": "gone"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply.of({"message": "no"}, 403), "give the project a token that may read"),
        (Reply.of({"message": "no"}, 500), "cannot answer now"),
        (Reply(body=b"["), "not JSON"),
    ],
)
async def test_an_api_that_does_not_tell_costs_its_own_answer_only(
    yard: Any, shop: Any, api: GiteaApi, reply: Reply, words: str
) -> None:
    commit = opened(shop, api, 7)
    await yard.told()
    api.replies[1] = reply
    api.pulls.clear()
    shop.push("HEAD:refs/heads/fix")
    assert await yard.told() == {"shop/fix": "changed"}
    assert await yard.told(5) == {}
    assert (await yard.builds())["shop/pr-7"] == commit
    assert yard.sweeper.last["shop"].startswith("pull requests cannot be listed: ")
    assert words in yard.sweeper.last["shop"]
    asked = len(api.asked)
    await yard.sweeps(16)
    assert len(api.asked) - asked <= 2
    api.replies.clear()
    [found] = await yard.sweeper.sweep()
    assert (found.problem, yard.sweeper.last) == ("", {"shop": ""})


async def test_a_fault_of_a_forge_costs_its_own_answer_only(yard: Any, shop: Any) -> None:
    class Broken(Forgejo):
        async def pull_requests(
            self, repository: Repository, token: Secret
        ) -> list[PullRequestChanged]:
            raise KeyError("head")

    yard.forges["forgejo"] = Broken()
    assert await yard.told() == {"shop/main": "changed"}
    assert "a fault of the plugin for forgejo (KeyError)" in yard.sweeper.last["shop"]


# What goes wrong.


async def test_one_that_cannot_be_reached_costs_the_others_nothing(yard: Any) -> None:
    repository = yard.repository()
    await yard.project(yard.folder / "nowhere", "lost")
    await yard.project(repository.bare, "shop")
    with structlog.testing.capture_logs() as logs:
        assert await yard.told() == {"shop/main": "changed"}
        await yard.sweeps(20)
    said = [one for one in logs if one.get("project") == "lost"]
    assert len(said) == 1
    assert "has no such repository" in said[0]["problem"]
    assert (yard.sweeper.last["shop"], "no such" in yard.sweeper.last["lost"]) == ("", True)


async def test_one_that_is_away_is_asked_less_and_less_and_comes_back(
    yard: Any, interrupted: Any
) -> None:
    repository = yard.repository()
    await yard.project(repository.bare)
    away = repository.bare.rename(repository.bare.with_suffix(".away"))
    rounds = [len(await yard.sweeps()) for _ in range(12)]
    assert rounds == [1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]
    away.rename(repository.bare)
    with structlog.testing.capture_logs() as logs:
        [found] = await yard.sweeper.sweep()
    assert [one.kind for one in found.repairs] == ["changed"]
    assert [one for one in logs if one["event"] == "a project is swept again"]
    assert await yard.sweeps() != []


async def test_one_that_never_answers_is_given_up(
    yard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/acme/shop.git"
        await yard.project(url)
        [found] = await yard.sweeper.sweep("shop")
    assert found.problem == "the repository of shop has not answered for 0.5 s"


async def test_one_ref_that_cannot_be_digested_holds_up_none(
    yard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = yard.repository()
    repository.push("HEAD:refs/heads/fix")
    await yard.project(repository.bare)
    queue = builds.queue

    def breaks(db: Any, **values: Any) -> int | None:
        if values["ref"] == Ref.branch("fix"):
            raise KeyError("a bug")
        return queue(db, **values)

    monkeypatch.setattr(builds, "queue", breaks)
    assert await yard.told() == {"shop/main": "changed"}
    assert await yard.wanted() == {"shop/main"}


async def test_an_unknown_project_is_told(yard: Any) -> None:
    with pytest.raises(NotFound, match="no project is called 'till'"):
        await yard.sweeper.sweep("till")


async def test_one_that_is_being_removed_is_not_looked_at(yard: Any) -> None:
    await yard.project("/nowhere/acme/shop.git")
    await yard.store.write(partial(projects.remove, name="shop"))
    with pytest.raises(Conflict, match="shop is being removed"):
        await yard.sweeper.sweep("shop")
    assert await yard.sweeper.sweep() == await yard.sweeper.round() == []


async def test_it_goes_on_when_the_database_was_away(
    yard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = yard.repository()
    await yard.project(repository.bare)
    read, failures = yard.store.read, iter([1, 2])

    async def away(question: Any) -> Any:
        if next(failures, None):
            raise OSError("no space left on device")
        return await read(question)

    monkeypatch.setattr(yard.store, "read", away)
    monkeypatch.setattr(yard.sweeper, "_every", 0.01)
    running = asyncio.create_task(yard.sweeper.run())
    async with asyncio.timeout(10):
        while not yard.sweeper.repairs:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await yard.builds() == {"shop/main": repository.head("main")}
