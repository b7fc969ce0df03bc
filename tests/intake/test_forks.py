"""Pull requests from forks: nothing is built unless somebody who may write has approved it."""

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from kennel import approval
from kennel.domain import PullRequestChanged, Ref, Repository, Tenant
from kennel.domain.record import TenantRecord
from kennel.intake import apply_to
from kennel.plugin import Delivery
from kennel.store import builds, projects, tenants
from kennel.testing.deliveries import ForgejoSender, GitHubSender

if TYPE_CHECKING:
    from tests.intake.conftest import Desk

LABEL = "kennel: deploy"
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
PR = Ref.pull_request(7)
SHOP = Tenant("shop", PR)


def fork(
    desk: "Desk", action: str, commit: str = ONE, *labels: str, when: int = 1, **more: Any
) -> Delivery:
    """Return an event of a pull request from a fork, changed at a second of the same minute."""
    fields = {"updated_at": f"2026-01-02T03:04:{when:02}Z"} | more.pop("fields", {})
    more = {"fork": True} | more
    return desk.sender.pull_request(7, action, commit, labels=labels, fields=fields, **more)


async def record(desk: "Desk") -> TenantRecord:
    return (await desk.tenants())["shop/pr-7"]


async def approve(desk: "Desk", commit: str, *, every: bool = False) -> int | None:
    """Approve as `kennel approve` does."""

    def change(db: sa.Connection) -> int | None:
        project, known = projects.by_name(db, "shop"), tenants.known(db, SHOP)
        return approval.approve(db, known, project.id, commit=commit, every=every, now=5.0)

    return await desk.store.write(change)


async def withdraw(desk: "Desk") -> None:
    """Withdraw as `kennel approve --withdraw` does."""
    await desk.store.write(
        lambda db: approval.withdraw(db, tenants.known(db, SHOP), now=6.0),
    )


async def goes_live(desk: "Desk") -> None:
    """Let what is queued be built and live: a service has a generation and a deployment."""
    await desk.is_built()
    newest, *_ = await desk.builds()
    known = await record(desk)

    def change(db: sa.Connection) -> None:
        db.execute(
            sa.text(
                "INSERT INTO deployments (tenant_id, name, build_id, root, spa, host, deployed_at)"
                " VALUES (:tenant, 'docs', :build, '/nix/store/x', false, 'here', 2.0)"
            ),
            {"tenant": known.id, "build": newest.id},
        )

    await desk.store.write(change)


async def is_forgotten(desk: "Desk") -> None:
    known = await record(desk)
    await desk.store.write(partial(tenants.forget, tenant_id=known.id))


@pytest.mark.parametrize("action", ["opened", "pushed", "reopened"])
async def test_nothing_of_one_is_built_that_nobody_approved(desk: "Desk", action: str) -> None:
    said = await desk.take(fork(desk, action))
    assert said == "shop/pr-7 waits for approval of 111111111111: its head is not in the repository"
    assert await desk.builds() == []
    known = await record(desk)
    assert (known.trusted, known.head, known.approved) == (False, ONE, "")
    assert not known.may_build(ONE)


HEADS = {
    "a-fork-that-is-gone": {"label": "fix", "ref": "fix", "sha": ONE, "repo": None},
    "a-branch-that-is-gone": {"label": "fix", "ref": "refs/pull/7/head", "sha": ONE, "repo": None},
    "agit": {"label": "", "ref": "refs/pull/7/head", "sha": ONE, "repo": {"id": 7}},
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_a_head_that_only_looks_like_ours_waits_too(
    desk: "Desk", head: dict[str, Any]
) -> None:
    await desk.take(fork(desk, "opened", fork=False, fields={"head": head}))
    assert await desk.builds() == []
    assert not (await record(desk)).trusted


class TestTheLabel:
    async def test_it_approves_of_one_commit_and_of_no_later_one(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened"))
        assert await desk.take(fork(desk, "labelled", ONE, LABEL, when=2)) == "build 1 of shop/pr-7"
        [build] = await desk.builds()
        assert (build.commit, build.trusted) == (ONE, False)
        await goes_live(desk)
        said = await desk.take(fork(desk, "pushed", TWO, LABEL, when=3))
        assert said.startswith("shop/pr-7 waits for approval of 222222222222")
        assert await desk.states() == ["done"]
        known = await record(desk)
        assert (known.head, known.may_build(TWO), known.labelled) == (TWO, False, True)
        assert approval.waits_for(known, LABEL) == (
            "waits for approval of 222222222222: take the label 'kennel: deploy' off and set it"
            " again, or `kennel approve shop pr-7`"
        )

    async def test_another_label_says_nothing_while_it_is_there(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened"))
        await desk.take(fork(desk, "labelled", ONE, LABEL, when=2))
        await desk.take(fork(desk, "pushed", TWO, LABEL, when=3))
        await desk.take(fork(desk, "labelled", TWO, LABEL, "bug", when=4))
        await desk.take(fork(desk, "labelled", TWO, LABEL, when=5))
        assert not (await record(desk)).may_build(TWO)
        assert [build.commit for build in await desk.builds()] == [ONE]

    async def test_it_approves_again_when_it_was_off_meanwhile(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened"))
        await desk.take(fork(desk, "labelled", ONE, LABEL, when=2))
        await desk.take(fork(desk, "pushed", TWO, LABEL, when=3))
        await desk.take(fork(desk, "label_cleared", TWO, when=4))
        assert await desk.take(fork(desk, "labelled", TWO, LABEL, when=5)) == "build 2 of shop/pr-7"

    async def test_a_push_that_comes_with_it_is_not_approved(self, desk: "Desk") -> None:
        """That it was set was never told: it was set of another commit."""
        await desk.take(fork(desk, "opened", ONE))
        await desk.take(fork(desk, "pushed", TWO, LABEL, when=3))
        await desk.take(fork(desk, "edited", TWO, LABEL, when=4, changes={"ref": {"from": "x"}}))
        assert await desk.builds() == []

    async def test_other_labels_do_not_approve(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE, "Kennel: deploy", "kennel"))
        await desk.take(fork(desk, "labelled", ONE, "kennel: deploy?", "deploy", when=2))
        assert await desk.builds() == []

    async def test_none_approves_where_the_operator_names_none(self, desk: "Desk") -> None:
        """Whatever labels a pull request has, and whatever its commits say."""

        def change(db: sa.Connection) -> str:
            project = projects.register(
                db, now=1.0, forge="forgejo", full_name="acme/shop", clone_url="https://x"
            )
            event = PullRequestChanged(
                repository=Repository(
                    forge="forgejo", id="7", full_name="acme/shop", clone_url="https://x"
                ),
                ref=PR,
                commit=ONE,
                trusted=False,
                labels=frozenset({LABEL, ""}),
                opened=True,
                added=frozenset({LABEL, ""}),
            )
            return apply_to(db, project, event, now=1.0, label="")

        assert "waits for approval" in await desk.store.write(change)
        known = await record(desk)
        assert approval.waits_for(known, "") == (
            "waits for approval of 111111111111: `kennel approve shop pr-7`"
        )

    async def test_one_that_is_opened_with_it_is_approved(self, desk: "Desk") -> None:
        """Only who may set labels can open one with it."""
        assert await desk.take(fork(desk, "opened", ONE, LABEL)) == "build 1 of shop/pr-7"
        await desk.take(fork(desk, "pushed", TWO, LABEL, when=2))
        assert not (await record(desk)).may_build(TWO)

    async def test_that_it_was_opened_is_news_once(self, desk: "Desk") -> None:
        """Delivered again, it does not take back what was approved since."""
        opened = fork(desk, "opened", ONE, LABEL)
        await desk.take(opened)
        await approve(desk, TWO)
        await desk.take(opened)
        assert (await record(desk)).approved == TWO

    async def test_that_it_was_opened_once_lets_none_in_that_expired(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE))
        await desk.take(fork(desk, "pushed", TWO, when=2))
        row = await record(desk)
        expire = partial(tenants.expire, tenant_id=row.id, active_at=row.active_at, now=9.0)
        await desk.store.write(expire)
        await desk.take(fork(desk, "opened", ONE, LABEL))
        assert await desk.builds() == []

    @pytest.mark.parametrize("forgotten", [False, True], ids=["while-it-goes", "after-it-went"])
    async def test_one_that_is_reopened_with_it_is_not_approved(
        self, desk: "Desk", forgotten: bool
    ) -> None:
        """Its author pushes, closes and reopens; the label stays where it is."""
        await desk.take(fork(desk, "opened", ONE, LABEL))
        await goes_live(desk)
        await desk.take(fork(desk, "closed", ONE, LABEL, when=2))
        if forgotten:
            await is_forgotten(desk)
        for commit in (ONE, TWO):
            await desk.take(fork(desk, "reopened", commit, LABEL, when=3))
            assert not (await record(desk)).may_build(commit)
        await desk.take(fork(desk, "labelled", TWO, LABEL, "bug", when=4))
        assert not (await record(desk)).may_build(TWO)
        assert await desk.states() == ["done"]

    async def test_one_that_is_open_again_is_built_when_it_is_approved_again(
        self, desk: "Desk"
    ) -> None:
        """What was built of that commit before is not live any more."""
        await desk.take(fork(desk, "opened", ONE, LABEL))
        await goes_live(desk)
        await desk.take(fork(desk, "closed", ONE, when=2))
        await is_forgotten(desk)
        await desk.take(fork(desk, "reopened", ONE, when=3))
        assert await desk.take(fork(desk, "labelled", ONE, LABEL, when=4)) == "build 2 of shop/pr-7"

    async def test_it_is_known_to_be_set_only_if_it_was_not_there_before(
        self, desk: "Desk"
    ) -> None:
        """Nothing was heard of it, so anything may have been pushed since the label was set."""
        said = await desk.take(fork(desk, "labelled", ONE, LABEL, "bug"))
        assert said.startswith("shop/pr-7 waits for approval")
        assert await desk.builds() == []

    @pytest.mark.parametrize(
        ("action", "label", "approved"),
        [("labelled", LABEL, True), ("labelled", "bug", False), ("unlabeled", "bug", False)],
    )
    async def test_what_the_forge_says_of_it_counts(
        self, desk: "Desk", action: str, label: str, approved: bool
    ) -> None:
        """GitHub names the label that was set."""
        desk.sender = GitHubSender(secret="s")
        await desk.take(fork(desk, action, ONE, LABEL, "bug", label=label))
        assert (await record(desk)).may_build(ONE) is approved
        assert len(await desk.builds()) == approved

    async def test_it_approves_of_the_commit_that_the_forge_names(self, desk: "Desk") -> None:
        """Somebody pushed while somebody else set it."""
        await desk.take(fork(desk, "opened", ONE))
        await desk.take(fork(desk, "pushed", TWO, when=2))
        await desk.take(fork(desk, "labelled", ONE, LABEL, when=2))
        known = await record(desk)
        assert (known.may_build(ONE), known.may_build(TWO)) == (True, False)

    async def test_it_approves_of_nothing_when_it_comes_in_late(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE))
        await desk.take(fork(desk, "label_cleared", ONE, when=3))
        said = await desk.take(fork(desk, "labelled", ONE, LABEL, when=2))
        assert said == "ignored: it is older than what is known of pr-7"
        assert await desk.builds() == []


class TestWithdrawal:
    async def test_what_is_not_live_yet_is_not_built_when_the_label_is_taken_off(
        self, desk: "Desk"
    ) -> None:
        await desk.take(fork(desk, "opened", ONE, LABEL))
        await goes_live(desk)
        await desk.take(fork(desk, "label_cleared", ONE, when=2))
        await desk.take(fork(desk, "pushed", TWO, when=3))
        await desk.take(fork(desk, "labelled", TWO, LABEL, when=4))
        assert await desk.states() == ["queued", "done"]
        desk.called.clear()
        said = await desk.take(fork(desk, "label_cleared", TWO, when=5))
        assert said.startswith("shop/pr-7 waits for approval")
        newest, live = await desk.builds()
        assert (newest.state, newest.reason) == ("cancelled", "its approval was withdrawn")
        assert live.state == "done", "what is live stays"
        assert (await record(desk)).approved == ""
        assert {"changed", "gone"} <= set(desk.called), "who builds and who deploys are told"

    async def test_what_is_built_and_waits_is_not_deployed(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE, LABEL))
        await desk.store.write(
            lambda db: db.execute(sa.text("UPDATE builds SET state = 'built', built_at = 2.0"))
        )
        await desk.take(fork(desk, "label_cleared", ONE, when=2))
        assert await desk.states() == ["cancelled"]

    async def test_it_counts_when_a_push_tells_of_it_first(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE, LABEL))
        await desk.take(fork(desk, "pushed", ONE, when=2))
        assert not (await record(desk)).may_build(ONE)

    async def test_it_counts_when_another_base_is_told_of_first(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE, LABEL))
        await desk.take(fork(desk, "edited", ONE, when=2, changes={"ref": {"from": "x"}}))
        assert await desk.states() == ["cancelled"]
        assert not (await record(desk)).may_build(ONE)

    async def test_another_label_that_goes_withdraws_nothing(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE, "bug"))
        assert await approve(desk, ONE) == 1
        await desk.take(fork(desk, "label_cleared", ONE, when=2))
        assert (await record(desk)).may_build(ONE)
        assert await desk.states() == ["queued"]

    async def test_what_is_approved_for_ever_stays_until_it_is_withdrawn_by_hand(
        self, desk: "Desk"
    ) -> None:
        await desk.take(fork(desk, "opened", ONE, LABEL))
        await approve(desk, ONE, every=True)
        await desk.take(fork(desk, "label_cleared", ONE, when=2))
        await desk.take(fork(desk, "labelled", ONE, LABEL, when=3))
        assert await desk.take(fork(desk, "pushed", TWO, LABEL, when=4)) == "build 2 of shop/pr-7"
        await withdraw(desk)
        assert await desk.states() == ["cancelled", "cancelled"]
        await desk.take(fork(desk, "pushed", THREE, LABEL, when=5))
        assert await desk.states() == ["cancelled", "cancelled"]


class TestByHand:
    async def test_one_commit_is_approved_and_stays_untrusted(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened"))
        assert await approve(desk, ONE) == 1
        [build] = await desk.builds()
        assert (build.commit, build.trusted) == (ONE, False)
        await desk.take(fork(desk, "pushed", TWO, when=2))
        assert not (await record(desk)).may_build(TWO)

    async def test_what_is_on_its_way_or_live_is_not_built_again(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened"))
        assert await approve(desk, ONE) == 1
        assert await approve(desk, ONE) is None
        await goes_live(desk)
        assert await approve(desk, ONE) is None

    async def test_what_failed_is_built_again(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened"))
        await approve(desk, ONE)
        await desk.store.write(partial(builds.failed, build_id=1, reason="no", now=3.0))
        assert await approve(desk, ONE) == 2

    async def test_a_commit_that_was_approved_is_so_when_it_is_back(self, desk: "Desk") -> None:
        """A force-push back to it, with another one between."""
        await desk.take(fork(desk, "opened"))
        await approve(desk, ONE)
        await goes_live(desk)
        await desk.take(fork(desk, "pushed", TWO, when=2))
        assert (
            await desk.take(fork(desk, "pushed", ONE, when=3))
            == "shop/pr-7 has 111111111111 already"
        )


class TestTrust:
    async def test_the_newest_news_of_it_hold(self, desk: "Desk") -> None:
        """Its branch is deleted, and made again."""
        await desk.take(fork(desk, "opened", ONE, fork=False))
        await goes_live(desk)
        await desk.take(fork(desk, "pushed", TWO, when=2))
        known = await record(desk)
        assert (known.trusted, known.wanted, known.may_build(TWO)) == (False, True, False)
        assert await desk.states() == ["done"], "what is live stays"
        await desk.take(fork(desk, "pushed", THREE, when=3, fork=False))
        [newest, _] = await desk.builds()
        assert (newest.commit, newest.trusted) == (THREE, True)

    async def test_older_news_of_it_do_not(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE, when=1))
        await desk.take(fork(desk, "pushed", TWO, when=3))
        said = await desk.take(fork(desk, "pushed", TWO, when=2, fork=False))
        assert said == "ignored: it is older than what is known of pr-7"
        assert not (await record(desk)).trusted
        assert await desk.builds() == []

    async def test_one_that_becomes_trusted_is_built(self, desk: "Desk") -> None:
        await desk.take(fork(desk, "opened", ONE))
        await desk.take(fork(desk, "labelled", ONE, when=2, fork=False))
        [build] = await desk.builds()
        assert (build.commit, build.trusted) == (ONE, True)

    async def test_a_branch_cannot_make_one_trusted(self, desk: "Desk") -> None:
        """A branch of that name, or at that commit, is another ref."""
        await desk.take(fork(desk, "opened", ONE))
        await desk.take(*desk.sender.created("pr-7", ONE))
        assert not (await record(desk)).trusted
        assert {str(build.tenant) for build in await desk.builds()} == {"shop/heads/pr-7"}


async def test_one_that_closes_while_it_waits_leaves_nothing(desk: "Desk") -> None:
    await desk.take(fork(desk, "opened"))
    assert await desk.take(fork(desk, "closed", when=2)) == "shop/pr-7 is gone"
    assert await desk.tenants() == {}


async def test_a_repository_of_the_same_name_elsewhere_has_nothing_to_say(desk: "Desk") -> None:
    """Who forks acme/shop can have a hook of his own, signed with a secret of his own."""
    await desk.take(desk.sender.pushed("main", ONE, TWO))
    theirs = ForgejoSender(secret="theirs", id=9, full_name="eve/shop")
    delivery = theirs.pull_request(7, "opened", ONE, labels=[LABEL])
    assert await desk.take(delivery) == "ignored: eve/shop is not registered"
    assert set(await desk.tenants()) == {"shop/main"}
