"""What becomes of a build once the head of its ref is known."""

from functools import partial

import pytest

from kennel.build.aim import aim
from kennel.domain import Ref, Tenant
from kennel.domain.record import EVERY_COMMIT, Build, Project, TenantRecord
from kennel.store import Store, builds, projects, tenants

MAIN, FORK = Ref.branch("main"), Ref.pull_request(42)
ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture
async def shop(sqlite_store: Store) -> Project:
    values = {"forge": "forgejo", "full_name": "acme/shop", "clone_url": "https://x", "now": 1.0}
    return await sqlite_store.write(partial(projects.register, **values))  # type: ignore[arg-type]


async def claimed(store: Store, shop: Project, ref: Ref, commit: str, approved: str = "") -> Build:
    """Return a build that has just been claimed. The pull request is nobody's we trust."""
    trusted = ref != FORK

    def change(db: object) -> None:
        about = {"project_id": shop.id, "ref": ref, "trusted": trusted, "now": 2.0}
        tenants.seen(db, **about)  # type: ignore[arg-type]
        if not trusted:
            found = tenants.known(db, Tenant("shop", ref))  # type: ignore[arg-type]
            tenants.change(db, found.id, approved=approved)  # type: ignore[arg-type]
        builds.queue(db, **about, commit=commit)  # type: ignore[arg-type]

    await store.write(change)
    found = await store.write(partial(builds.claim, now=3.0))
    assert found is not None
    return found.build


async def aimed(store: Store, shop: Project, build: Build, head: str) -> str | None:
    return await store.write(partial(aim, build=build, project_id=shop.id, head=head, now=4.0))


async def tenant(store: Store, ref: Ref) -> TenantRecord:
    return await store.read(partial(tenants.known, tenant=Tenant("shop", ref)))


async def history(store: Store) -> list[tuple[str, str, str]]:
    return [(b.commit, b.state, b.reason) for b in await store.read(builds.recent)]


async def test_the_head_of_a_trusted_ref_is_built(sqlite_store: Store, shop: Project) -> None:
    build = await claimed(sqlite_store, shop, MAIN, ONE)
    assert await aimed(sqlite_store, shop, build, ONE) is None
    assert await history(sqlite_store) == [(ONE, "building", "")]
    assert (await tenant(sqlite_store, MAIN)).head == ONE


async def test_another_head_is_queued_instead(sqlite_store: Store, shop: Project) -> None:
    build = await claimed(sqlite_store, shop, MAIN, ONE)
    reason = f"superseded by {TWO[:12]}"
    assert await aimed(sqlite_store, shop, build, TWO) == reason
    assert await history(sqlite_store) == [(TWO, "queued", ""), (ONE, "cancelled", reason)]
    assert (await tenant(sqlite_store, MAIN)).head == TWO


@pytest.mark.parametrize("commit", [ONE, TWO])
async def test_nothing_of_a_fork_is_built_or_queued_without_approval(
    sqlite_store: Store, shop: Project, commit: str
) -> None:
    """Also where the head has moved on from what was approved, or the approval was withdrawn."""
    build = await claimed(sqlite_store, shop, FORK, commit, approved=ONE if commit == ONE else "")
    reason = f"waits for approval of {TWO[:12]}"
    assert await aimed(sqlite_store, shop, build, TWO) == reason
    assert await history(sqlite_store) == [(commit, "cancelled", reason)]
    assert (await tenant(sqlite_store, FORK)).head == TWO


@pytest.mark.parametrize("approved", [TWO, EVERY_COMMIT])
async def test_an_approved_head_of_a_fork_is_built_and_stays_untrusted(
    sqlite_store: Store, shop: Project, approved: str
) -> None:
    late = await claimed(sqlite_store, shop, FORK, ONE, approved=approved)
    await aimed(sqlite_store, shop, late, TWO)
    found = await sqlite_store.write(partial(builds.claim, now=5.0))
    assert found is not None
    assert (found.build.commit, found.build.trusted) == (TWO, False)
    assert await aimed(sqlite_store, shop, found.build, TWO) is None


async def test_what_a_person_orders_is_built_and_thereby_approved(
    sqlite_store: Store, shop: Project
) -> None:
    build = await claimed(sqlite_store, shop, FORK, builds.HEAD)
    assert await aimed(sqlite_store, shop, build, ONE) is None
    assert await history(sqlite_store) == [(ONE, "building", "")]
    assert (await tenant(sqlite_store, FORK)).approved == ONE


async def test_an_order_takes_no_approval_back(sqlite_store: Store, shop: Project) -> None:
    build = await claimed(sqlite_store, shop, FORK, builds.HEAD, approved=EVERY_COMMIT)
    await aimed(sqlite_store, shop, build, ONE)
    assert (await tenant(sqlite_store, FORK)).approved == EVERY_COMMIT


async def test_an_order_outlives_a_restart(sqlite_store: Store, shop: Project) -> None:
    build = await claimed(sqlite_store, shop, FORK, builds.HEAD)
    await aimed(sqlite_store, shop, build, ONE)
    await sqlite_store.write(builds.recover)
    again = await sqlite_store.write(partial(builds.claim, now=5.0))
    assert again is not None
    assert await aimed(sqlite_store, shop, again.build, ONE) is None


async def test_an_order_that_was_cancelled_approves_of_nothing(
    sqlite_store: Store, shop: Project
) -> None:
    build = await claimed(sqlite_store, shop, FORK, builds.HEAD)
    await sqlite_store.write(partial(builds.cancelled, build_id=build.id, reason="", now=3.0))
    assert await aimed(sqlite_store, shop, build, ONE) == "cancelled"
    assert (await tenant(sqlite_store, FORK)).approved == ""


async def test_a_commit_that_turns_out_to_be_built_already_is_waited_for(
    sqlite_store: Store, shop: Project
) -> None:
    order = await claimed(sqlite_store, shop, MAIN, builds.HEAD)
    other = await claimed(sqlite_store, shop, Ref.branch("change"), ONE)
    assert await aimed(sqlite_store, shop, order, ONE) is None
    reason = f"waits for build {order.id} of the same commit"
    assert await aimed(sqlite_store, shop, other, ONE) == reason
    assert await history(sqlite_store) == [(ONE, "queued", ""), (ONE, "building", "")]
    assert await sqlite_store.write(partial(builds.claim, now=5.0)) is None


async def test_the_build_of_a_ref_that_was_forgotten_ends(
    sqlite_store: Store, shop: Project
) -> None:
    build = await claimed(sqlite_store, shop, MAIN, ONE)
    await sqlite_store.write(partial(tenants.gone, project_id=shop.id, ref=MAIN, now=3.0))
    assert await aimed(sqlite_store, shop, build, TWO) == "cancelled"
    assert await history(sqlite_store) == [(ONE, "cancelled", "main is gone")]
