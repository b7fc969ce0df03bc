"""What people order to be done with a ref."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from kennel import views
from kennel.domain import Ref, Tenant
from kennel.errors import Conflict, NotFound
from kennel.orders import Orders
from kennel.store import builds, projects, tenants
from kennel.store.tables import builds as build_rows

if TYPE_CHECKING:
    from tests.control.conftest import Office

MAIN = views.Order(project="shop", ref="main")
PULL = Tenant("shop", Ref.pull_request(5))


def back(to: int | None = None) -> views.RollbackOrder:
    return views.RollbackOrder(project="shop", ref="main", to=to)


@pytest.fixture
def orders(office: "Office") -> Orders:
    return Orders(
        settings=office.control.settings,
        store=office.store,
        reconciler=office.reconciler,
        changed=lambda: office.woken.append("changed"),
    )


async def keep_outputs(office: "Office", tmp_path: Path, number: int) -> None:
    """Let a build's outputs be on the disk, and kept from the garbage, as after a real one."""
    kept, given = tmp_path / "roots" / str(number), tmp_path / f"given-{number}"
    kept.mkdir(parents=True)
    given.mkdir()
    (kept / "result").symlink_to(given)

    def change(db: sa.Connection) -> None:
        chosen = build_rows.c.id == number
        row = db.execute(sa.select(build_rows).where(chosen)).one()
        outputs = {**row.outputs, "paths": dict.fromkeys(row.outputs["paths"], str(given))}
        db.execute(sa.update(build_rows).where(chosen).values(outputs=outputs))

    await office.store.write(change)


async def state(office: "Office", number: int) -> str:
    return (await office.store.read(partial(builds.get, build_id=number))).state


async def fork(office: "Office", head: str = "a" * 40) -> None:
    def change(db: sa.Connection) -> None:
        project = projects.by_name(db, "shop")
        tenants.seen(db, project_id=project.id, ref=PULL.ref, trusted=False, now=1.0, head=head)

    await office.store.write(change)


async def test_a_rollback_goes_to_the_good_build_before(
    office: "Office", orders: Orders, tmp_path: Path
) -> None:
    await office.add()
    numbers = [await office.live(version=version) for version in (1, 2, 3)]
    for number in numbers:
        await keep_outputs(office, tmp_path, number)
    assert await orders.rollback(back()) == numbers[1]
    await office.reconciler.settled()
    assert await state(office, numbers[1]) == "done"
    assert await orders.rollback(back()) == numbers[0]
    await office.reconciler.settled()
    assert await orders.rollback(back(numbers[2])) == numbers[2]
    assert office.woken


async def test_a_rollback_to_what_is_gone_from_the_store_says_so_before_it_is_tried(
    office: "Office", orders: Orders
) -> None:
    await office.add()
    first = await office.live(version=1)
    await office.live(version=2)
    with pytest.raises(Conflict, match=rf"build {first} gave is not in the store any more"):
        await orders.rollback(back())
    assert await state(office, first) == "done"


async def test_a_redelivery_does_not_undo_a_rollback(
    office: "Office", orders: Orders, tmp_path: Path
) -> None:
    await office.add()
    first, second = await office.live(version=1), await office.live(version=2)
    await keep_outputs(office, tmp_path, first)
    await orders.rollback(back())
    await office.reconciler.settled()

    def redelivered(db: sa.Connection) -> int | None:
        project = projects.by_name(db, "shop")
        head = builds.get(db, second).commit
        ref = Ref.branch("main")
        return builds.queue(db, project_id=project.id, ref=ref, commit=head, trusted=True, now=9.0)

    assert await office.store.write(redelivered) is None


async def test_a_restart_replaces_the_processes_of_what_is_live(
    office: "Office", orders: Orders
) -> None:
    await office.add()
    number = await office.live()
    before = set(await office.supervisor.observe())
    assert await orders.restart(MAIN) == number
    await office.reconciler.settled()
    after = set(await office.supervisor.observe())
    assert len(after) == 1
    assert not after & before
    assert await orders.redeploy(MAIN) == number
    await office.reconciler.settled()
    assert set(await office.supervisor.observe()) == after


Ordered = Callable[[Orders], Awaitable[object]]


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        (lambda o: o.rollback(back()), NotFound, "no earlier build"),
        (lambda o: o.restart(MAIN), NotFound, "kennel deploy shop main"),
        (lambda o: o.stop(views.Order(project="shop", ref="x")), NotFound, "nothing is known"),
        (lambda o: o.stop(views.Order(project="no", ref="main")), NotFound, "no project"),
        (lambda o: o.purge(MAIN), Conflict, "delete the branch"),
        (
            lambda o: o.approve(views.ApproveOrder(project="shop", ref="main")),
            Conflict,
            "needs no approval",
        ),
        (lambda o: o.stop(views.Order(project="shop", ref="a..b")), ValueError, "no name of a ref"),
    ],
)
async def test_what_cannot_be_done_says_why_and_what_can(
    office: "Office", orders: Orders, order: Ordered, error: type[Exception], words: str
) -> None:
    await office.add()
    await office.deploy()
    with pytest.raises(error, match=words):
        await order(orders)


async def test_what_is_stopped_is_started_before_it_is_restarted(
    office: "Office", orders: Orders
) -> None:
    await office.add()
    await office.live()
    assert "kennel start" in await orders.stop(MAIN)
    await office.reconciler.settled()
    assert set(await office.supervisor.observe()) == set()
    with pytest.raises(Conflict, match="is stopped"):
        await orders.restart(MAIN)
    await orders.start(MAIN)
    await office.reconciler.settled()
    assert len(await office.supervisor.observe()) == 1


async def test_an_approval_is_for_the_head_and_no_other_commit(
    office: "Office", orders: Orders
) -> None:
    await office.add()
    await fork(office)
    order = views.ApproveOrder(project="shop", ref="pr-5")
    other = views.ApproveOrder(project="shop", ref="pr-5", commit="bbbb")
    with pytest.raises(Conflict, match=f"is {'a' * 40} by now, not bbbb"):
        await orders.approve(other)
    assert "commit aaaaaaaaaaaa of shop/pr-5 is approved: build" in await orders.approve(order)
    record = await office.store.read(partial(tenants.known, tenant=PULL))
    assert record.may_build("a" * 40)
    assert not record.may_build("b" * 40)


async def test_an_approval_of_every_commit_holds_until_it_is_withdrawn(
    office: "Office", orders: Orders
) -> None:
    await office.add()
    await fork(office)
    await orders.approve(views.ApproveOrder(project="shop", ref="pr-5", every=True))
    record = await office.store.read(partial(tenants.known, tenant=PULL))
    assert record.may_build("b" * 40)
    await orders.approve(views.ApproveOrder(project="shop", ref="pr-5", withdraw=True))
    record = await office.store.read(partial(tenants.known, tenant=PULL))
    assert not record.may_build("b" * 40)


async def test_nothing_is_held_back_where_little_goes(office: "Office", orders: Orders) -> None:
    await office.add()
    await office.live()
    assert await orders.removals() == []
    assert await orders.allow_removals() == []


async def test_nobody_deploys_a_fork_or_what_is_closed_without_meaning_to(
    office: "Office",
) -> None:
    await office.add()
    await fork(office)
    with pytest.raises(Conflict, match="nobody approved of: `kennel approve shop pr-5`"):
        await office.deploy("pr-5")

    def close(db: sa.Connection) -> None:
        project = projects.by_name(db, "shop")
        tenants.gone(db, project_id=project.id, ref=PULL.ref, now=2.0)

    await office.store.write(close)
    with pytest.raises(Conflict, match="shop/pr-5 is closed: reopen it at the forge"):
        await office.deploy("pr-5")


async def test_what_is_used_again_does_not_go_with_what_was_allowed_to_go(
    office: "Office",
) -> None:
    await office.add()
    await fork(office)
    record = await office.store.read(partial(tenants.known, tenant=PULL))
    await office.store.write(lambda db: tenants.change(db, record.id, confirmed=True))
    await office.store.write(partial(tenants.active, tenant_ids=[record.id], now=3.0))
    assert not (await office.store.read(partial(tenants.known, tenant=PULL))).confirmed
