"""How tenants sleep, wake, are stopped, expire and go."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import Connection

from kennel.domain import Ref, Socket, Tenant, UnitStatus
from kennel.domain.record import TenantRecord
from kennel.domain.route import digest_of
from kennel.errors import Unavailable
from kennel.lifecycle import Fate, Terms
from kennel.plan import Policy
from kennel.residents import KnownResidents
from kennel.store import builds, departures, tenants
from kennel.testing import MemorySupervisor
from kennel.waker import NotWoken

if TYPE_CHECKING:
    from tests.reconcile.conftest import Serving, Town

MAIN, PULL = Ref.branch("main"), Ref.pull_request(42)
SHOP = Tenant("shop", PULL)
WAKER = Socket(path="/run/kennel/wake.sock")
HOST = "shop-docs-pr-42.example.net"
DAY = 86400.0


async def record(town: "Town", ref: Ref = PULL) -> TenantRecord:
    return await town.store.read(partial(tenants.known, tenant=Tenant("shop", ref)))


async def change(town: "Town", ref: Ref = PULL, **values: object) -> None:
    number = (await record(town, ref)).id
    await town.store.write(lambda db: tenants.change(db, number, **values))


def residents_of(town: "Town") -> KnownResidents:
    policy = Policy(drain=0.0, terms_of=lambda _: town.terms)
    return KnownResidents(town.store, town.reconciler, policy)


async def idle(town: "Town", seconds: float, ref: Ref = PULL) -> None:
    await change(town, ref, active_at=time.time() - seconds)


async def live_at(town: "Town", ref: Ref = PULL) -> str | None:
    return (await town.router.observe()).live.get(Tenant("shop", ref))


@pytest.fixture
async def napping(town: "Town", serving: "Serving") -> "Town":
    """Give a town with a preview that sleeps after a minute and expires after a day."""
    town.terms = Terms(sleep_after=60.0, expire_after=DAY)
    town.restarted()
    await town.built(serving("api", site=True), ref=PULL)
    await idle(town, 0)
    await passes(town)
    return town


async def passes(town: "Town", count: int = 6) -> None:
    """Run passes: `settled` would wait until the preview sleeps."""
    for _ in range(count):
        await town.reconciler.run_pass()
        while town.reconciler._settling:
            await asyncio.sleep(0.01)


async def test_an_idle_preview_sleeps_and_keeps_its_data_and_routes(napping: "Town") -> None:
    before = await napping.reconciler.look()
    await idle(napping, 61)
    await passes(napping)
    assert await napping.units() == set()
    assert await live_at(napping) == digest_of(
        {"api": WAKER, "docs": before.wanted[0].targets["docs"]}
    )
    state = await napping.router.observe()
    assert state.routes == before.actual.routes
    after = await napping.reconciler.look()
    assert after.plan.is_empty
    assert after.plan.fates[SHOP] is Fate.ASLEEP


async def test_who_is_asked_for_wakes_with_the_same_port(napping: "Town") -> None:
    before = await napping.live(PULL)
    await idle(napping, 61)
    await passes(napping)
    residents = residents_of(napping)
    found = residents.find("shop-pr-42.example.net")
    assert found is not None
    assert (str(found.key), found.stopped) == ("shop/pr-42:api", False)
    waiting = asyncio.create_task(residents.awake(SHOP, "api"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    writes = napping.store.changes
    crowd = [asyncio.create_task(residents.awake(SHOP, "api")) for _ in range(100)]
    await asyncio.sleep(0.1)
    assert napping.store.changes == writes, "one of them was enough"
    await passes(napping)
    everybody = await asyncio.wait_for(asyncio.gather(waiting, *crowd), 5)
    assert {str(upstream) for upstream in everybody} == {before["api"]}
    assert len(await napping.units()) == 1
    assert (await napping.reconciler.look()).plan.is_empty


async def test_requests_stay_with_the_waker_until_the_service_is_ready(
    napping: "Town", serving: "Serving"
) -> None:
    await idle(napping, 61)
    await passes(napping)
    asleep = await live_at(napping)
    napping.supervisor.problem = Unavailable("no bus")
    await idle(napping, 0)
    with pytest.raises(Unavailable):
        await napping.reconciler.run_pass()
    assert await live_at(napping) == asleep
    napping.supervisor.problem = None
    await passes(napping)
    assert await live_at(napping) != asleep


async def test_who_sleeps_and_wakes_often_is_not_kept_waiting_like_what_fails(
    napping: "Town",
) -> None:
    for _ in range(4):
        await idle(napping, 61)
        await passes(napping)
        assert await napping.units() == set()
        await idle(napping, 0)
        begun = time.monotonic()
        await passes(napping, 3)
        assert len(await napping.units()) == 1
        assert time.monotonic() - begun < 1


async def test_who_is_visited_does_not_sleep(napping: "Town") -> None:
    await idle(napping, 59)
    await napping.router.observe()
    napping.router.visit(HOST)
    await passes(napping)
    assert time.time() - (await record(napping)).active_at < 30
    assert len(await napping.units()) == 1


async def test_a_visit_is_not_written_down_each_time(napping: "Town") -> None:
    await passes(napping)
    writes = napping.store.changes
    for _ in range(3):
        napping.router.visit(HOST)
        await napping.reconciler.run_pass()
    assert napping.store.changes == writes


async def test_what_visits_who_sleeps_does_not_wake_it_by_itself(napping: "Town") -> None:
    """A crawler is sent to the waker, which decides that it wakes nobody."""
    await idle(napping, 61)
    await passes(napping)
    napping.router.visit(HOST)
    await passes(napping)
    assert await napping.units() == set()


async def test_a_pinned_preview_neither_sleeps_nor_expires(napping: "Town") -> None:
    await change(napping, pinned=True)
    await idle(napping, 9 * DAY)
    await passes(napping)
    assert len(await napping.units()) == 1


async def test_a_push_wakes_who_sleeps(napping: "Town", serving: "Serving") -> None:
    await idle(napping, 61)
    await passes(napping)
    number = await napping.built(serving("api"), ref=PULL, version=2)
    await idle(napping, 0)
    await passes(napping)
    assert (await napping.build(number)).state == "done"
    assert len(await napping.units()) == 1
    assert (await napping.reconciler.look()).plan.is_empty


async def test_a_stopped_preview_is_not_woken_by_a_visitor_and_starts_by_hand(
    napping: "Town",
) -> None:
    await change(napping, stopped=True)
    await passes(napping)
    assert await napping.units() == set()
    residents = residents_of(napping)
    found = residents.find("shop-pr-42.example.net")
    assert found is not None
    assert found.stopped
    with pytest.raises(NotWoken, match="stopped"):
        await residents.awake(SHOP, "api")
    await change(napping, stopped=False)
    await passes(napping)
    assert len(await napping.units()) == 1


async def test_a_build_of_a_stopped_ref_waits_and_is_not_started(
    napping: "Town", serving: "Serving"
) -> None:
    await change(napping, stopped=True)
    await passes(napping)
    number = await napping.built(serving("api"), ref=PULL, version=2)
    await passes(napping)
    assert (await napping.build(number)).state == "built"
    assert await napping.units() == set()
    await change(napping, stopped=False)
    await passes(napping)
    assert (await napping.build(number)).state == "done"


async def test_an_expired_preview_goes_with_everything_and_is_remembered(napping: "Town") -> None:
    await idle(napping, DAY + 1)
    await passes(napping)
    assert await napping.units() == set()
    assert await live_at(napping) is None
    assert await napping.store.read(tenants.every) == []
    project = await napping.project()
    left = await napping.store.read(partial(departures.of_project, project_id=project))
    assert left[PULL].commit == f"{1:040x}"
    assert "expired" in left[PULL].reason


async def test_production_never_expires(town: "Town", serving: "Serving") -> None:
    await town.built(serving("api"))
    await idle(town, 9999 * DAY, MAIN)
    await town.settle()
    assert len(await town.units()) == 1


async def test_a_sleeping_preview_survives_a_restart_of_kennel(napping: "Town") -> None:
    await idle(napping, 61)
    await passes(napping)
    asleep = await live_at(napping)
    napping.restarted()
    await passes(napping)
    assert await napping.units() == set()
    assert await live_at(napping) == asleep


async def test_what_was_cut_off_while_it_fell_asleep_is_put_to_rest_by_the_next_pass(
    napping: "Town", monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the database is away")

    await idle(napping, 61)
    with monkeypatch.context() as patch:
        patch.setattr("kennel.reconcile.settle.releases.lay_to_rest", fail)
        await passes(napping, 1)
    napping.restarted()
    await passes(napping)
    assert await napping.units() == set()


# Going, and how many at a time.


async def many(town: "Town", serving: Callable[..., object], count: int) -> list[Ref]:
    refs = [Ref.pull_request(number) for number in range(1, count + 1)]
    for ref in refs:
        await town.built(serving("api", resources=(town.provisioner.name,)), ref=ref)  # type: ignore[arg-type]
    await town.settle()
    return refs


async def test_many_refs_that_go_at_once_keep_their_data_until_somebody_says_so(
    town: "Town", serving: "Serving"
) -> None:
    refs = await many(town, serving, 8)
    for ref in refs[:4]:
        await town.gone(ref=ref)
    await town.settle()
    plan = (await town.reconciler.look()).plan
    assert plan.held == {Tenant("shop", ref) for ref in refs[:4]}
    assert len(await town.provisioner.observe()) == 8
    assert len(await town.units()) == 4
    for ref in refs[:4]:
        await change(town, ref, confirmed=True)
    await town.settle()
    assert await town.provisioner.observe() == {Tenant("shop", ref) for ref in refs[4:]}


async def test_three_refs_go_without_a_question(town: "Town", serving: "Serving") -> None:
    refs = await many(town, serving, 4)
    for ref in refs[:3]:
        await town.gone(ref=ref)
    await town.settle()
    assert await town.provisioner.observe() == {Tenant("shop", refs[3])}


async def test_a_clock_that_jumps_ahead_removes_nothing_of_a_whole_host(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    town.terms = Terms(expire_after=DAY)
    town.restarted()
    refs = [Ref.pull_request(number) for number in range(1, 6)]
    for ref in refs:
        await town.built(serving("api", resources=(town.provisioner.name,)), ref=ref)
        await idle(town, 0, ref)
    await passes(town)
    for ref in refs:
        await idle(town, 100 * DAY, ref)
    await passes(town)
    assert len(await town.provisioner.observe()) == 5
    assert len(await town.units()) == 5
    assert len((await town.reconciler.look()).plan.held) == 5


async def test_deleting_main_keeps_the_data_of_production_until_it_is_purged(
    town: "Town", serving: "Serving"
) -> None:
    await town.built(serving("api", resources=(town.provisioner.name,)))
    await town.settle()
    await town.gone()
    await town.settle()
    assert await town.units() == set()
    assert await town.provisioner.observe() == {Tenant("shop", MAIN)}
    await change(town, MAIN, purged=True, confirmed=True)
    await town.settle()
    assert await town.provisioner.observe() == set()
    assert await town.store.read(tenants.every) == []


async def test_renaming_a_service_does_not_touch_the_data_of_its_ref(
    town: "Town", serving: "Serving"
) -> None:
    resource = town.provisioner.name
    await town.built(serving("api", resources=(resource,)))
    await town.settle()
    [before] = [unit.env["MEMORY_URL"] for unit in town.supervisor.host.units.values()]
    await town.built(serving("server", resources=(resource,)), version=2)
    await town.settle()
    [after] = [unit.env["MEMORY_URL"] for unit in town.supervisor.host.units.values()]
    assert after == before
    assert await town.provisioner.observe() == {Tenant("shop", MAIN)}


# Room.


async def test_previews_that_do_not_fit_sleep_longest_idle_first(
    town: "Town", serving: "Serving"
) -> None:
    town.memory_max = 2 << 30
    town.restarted()
    for number, seconds in ((1, 900.0), (2, 300.0), (3, 0.0)):
        ref = Ref.pull_request(number)
        await town.built(serving("api"), ref=ref)
        await idle(town, seconds, ref)
        await passes(town)
    fates = (await town.reconciler.look()).plan.fates
    asleep = {str(tenant.ref) for tenant, fate in fates.items() if fate is Fate.ASLEEP}
    assert asleep == {"pr-1"}
    assert len(await town.units()) == 2


async def test_who_comes_while_all_are_busy_waits_and_says_so(
    town: "Town", serving: "Serving"
) -> None:
    town.memory_max = 1 << 30
    town.restarted()
    for number in (1, 2):
        await town.built(serving("api"), ref=Ref.pull_request(number))
        await idle(town, 0, Ref.pull_request(number))
        await passes(town)
    plan = (await town.reconciler.look()).plan
    assert plan.waiting == {Tenant("shop", Ref.pull_request(2))}
    await idle(town, 61, Ref.pull_request(1))
    await passes(town)
    assert set(await town.live(Ref.pull_request(2))) == {"api"}


async def test_production_does_not_count_as_a_preview(town: "Town", serving: "Serving") -> None:
    town.memory_max = 1
    town.restarted()
    await town.built(serving("api"))
    await town.settle()
    assert len(await town.units()) == 1


# What changes between the moment at which a pass looks and that at which it acts.


def while_looking(town: "Town", act: Callable[[], Awaitable[object]]) -> None:
    """Do something once, after a pass has read what should be, before it has seen what is."""
    observe, left = town.supervisor.observe, [act]

    async def look() -> Mapping[str, UnitStatus]:
        while left:
            await left.pop()()
        return await observe()

    town.supervisor.observe = look  # type: ignore[method-assign]


async def pushed(town: "Town", ref: Ref = PULL) -> int:
    """Note a push, as the intake does. Return its build."""
    project = await town.project()

    def push(db: Connection) -> int | None:
        commit, now = "f" * 40, time.time()
        tenants.seen(db, project_id=project, ref=ref, trusted=True, now=now, head=commit)
        return builds.queue(
            db, project_id=project, ref=ref, commit=commit, trusted=True, now=now, again=True
        )

    number = await town.store.write(push)
    assert number is not None
    return number


async def test_a_push_at_the_last_moment_keeps_a_preview_from_expiring(napping: "Town") -> None:
    numbers: list[int] = []

    async def push() -> None:
        numbers.append(await pushed(napping))

    await idle(napping, DAY + 1)
    while_looking(napping, push)
    await passes(napping)
    assert (await napping.build(numbers[0])).state == "queued"
    assert (await record(napping)).wanted


async def test_who_is_pinned_at_the_last_moment_does_not_expire(napping: "Town") -> None:
    await idle(napping, DAY + 1)
    while_looking(napping, partial(change, napping, pinned=True, active_at=time.time()))
    await passes(napping)
    assert (await record(napping)).wanted
    assert len(await napping.units()) == 1


@pytest.mark.parametrize("ref", [PULL, MAIN], ids=["preview", "production"])
async def test_nothing_is_removed_of_a_ref_that_is_back_while_it_is_taken_away(
    town: "Town", serving: "Serving", ref: Ref
) -> None:
    await town.built(serving("api", resources=(town.provisioner.name,)), ref=ref)
    await town.settle()
    await town.gone(ref=ref)
    await change(town, ref, purged=True, confirmed=True)
    while_looking(town, partial(pushed, town, ref))
    await passes(town)
    assert await town.provisioner.observe() == {Tenant("shop", ref)}


async def test_a_first_deployment_keeps_its_room_until_it_is_over(
    town: "Town", serving: "Serving"
) -> None:
    town.memory_max = 1 << 30
    town.supervisor = MemorySupervisor(lambda *_: asyncio.sleep(3600))
    town.restarted()
    for number in (1, 2):
        await town.built(serving("api", timeout=600.0), ref=Ref.pull_request(number))
        for _ in range(3):
            await town.reconciler.run_pass()
            await asyncio.sleep(0.1)
    assert len(await town.units()) == 1
    plan = (await town.reconciler.look()).plan
    assert plan.waiting == {Tenant("shop", Ref.pull_request(2))}


async def test_who_sleeps_is_not_awake_before_what_is_deployed_to_it_is_ready(
    napping: "Town", serving: "Serving"
) -> None:
    await idle(napping, 61)
    await passes(napping)
    napping.supervisor = MemorySupervisor(lambda *_: asyncio.sleep(3600), napping.supervisor.host)
    napping.restarted()
    await napping.built(serving("api", site=True, timeout=5.0), ref=PULL, version=1)
    for _ in range(3):
        await napping.reconciler.run_pass()
        await asyncio.sleep(0.1)
    assert len(await napping.units()) == 1
    waiting = asyncio.create_task(residents_of(napping).awake(SHOP, "api"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    waiting.cancel()
