"""What does not listen is ready when it has run for a while, and is sent no request."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from kennel.domain import (
    Env,
    Manifest,
    Ready,
    Ref,
    Service,
    Site,
    Tenant,
    Unit,
    UnitState,
    UnitStatus,
)
from kennel.domain.route import digest_of
from kennel.lifecycle import Terms
from kennel.reconcile.ready import NotReady, runs
from kennel.store import tenants
from kennel.testing.memory_supervisor import Exit, Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Town

MAIN, PULL = Ref.branch("main"), Ref.pull_request(42)
SHOP = Tenant("shop", MAIN)


def worker(name: str = "bot", **more: Any) -> Service:
    return Service(name=name, package=name, port=False, **more)


def timed(name: str = "nightly", schedule: str = "daily", **more: Any) -> Service:
    return Service(name=name, package=name, schedule=schedule, **more)


def listening(name: str = "api", **more: Any) -> Service:
    return Service(name=name, package=name, ready=Ready(timeout=5), **more)


def manifest(*services: Service, site: bool = False) -> Manifest:
    sites = {"docs": Site(name="docs", package="docs")} if site else {}
    return Manifest(services={one.name: one for one in services}, sites=sites)


class Notes:
    """Notes what units find, and what runs when."""

    def __init__(self, town: "Town") -> None:
        self.envs: dict[str, dict[str, str]] = {}
        self.units: dict[str, Unit] = {}
        self.inner = town.supervisor._program
        town.supervisor._program = self

    async def __call__(self, unit: Unit, env: Env, say: Say) -> None:
        self.envs[unit.key.name] = {name: secret.value for name, secret in env.items()}
        self.units[unit.key.name] = unit
        await self.inner(unit, env, say)


def names(town: "Town") -> list[str]:
    """Return the names of the services that have a unit, sorted."""
    return sorted(one.unit.key.name for one in town.supervisor.host.units.values())


# Going live.


async def test_a_worker_alone_goes_live_and_nobody_is_sent_to_it(town: "Town") -> None:
    notes = Notes(town)
    number = await town.built(manifest(worker()))
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert names(town) == ["bot"]
    assert notes.envs["bot"] == {
        "KENNEL_PROJECT": "shop",
        "KENNEL_REF": "main",
        "KENNEL_ENVIRONMENT": "prod",
    }
    assert notes.units["bot"].port is None
    state = await town.router.observe()
    assert (state.live, state.routes) == ({}, frozenset())
    [one] = await town.reconciler.wanted()
    assert one.hosts == {}
    writes = town.store.changes
    assert (await town.reconciler.run_pass()).is_empty
    assert town.store.changes == writes


async def test_it_knows_where_people_reach_its_tenant(town: "Town") -> None:
    notes = Notes(town)
    await town.built(manifest(worker("a"), listening(), listening("web"), timed("b")))
    await town.settle()
    url = town.router.url("shop-main.example.net")
    assert notes.envs["a"]["KENNEL_URL"] == notes.envs["api"]["KENNEL_URL"] == url
    assert "PORT" not in notes.envs["a"]
    assert "HOST" not in notes.envs["a"]
    assert "PORT" in notes.envs["api"]
    assert notes.envs["web"]["KENNEL_URL"] == town.router.url("shop-web-main.example.net")
    [there] = [u for u in town.supervisor.host.units.values() if u.unit.key.name == "b"]
    assert there.env["KENNEL_URL"].value == url


async def test_it_knows_the_same_when_it_is_started_again(town: "Town") -> None:
    notes = Notes(town)
    await town.built(manifest(worker(), listening()))
    await town.settle()
    before = dict(notes.envs["bot"])
    units = await town.units()
    for unit in units:
        await town.supervisor.remove(unit)
    notes.envs.clear()
    await town.settle()
    assert notes.envs["bot"] == before
    assert await town.units() == units


async def test_it_has_to_run_for_a_while_before_it_counts(town: "Town") -> None:
    town.settle_time = 0.5
    town.restarted()
    number = await town.built(manifest(worker()))
    begun = time.monotonic()
    await town.reconciler.run_pass()
    await asyncio.sleep(0.3)
    assert (await town.build(number)).state == "built"
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert time.monotonic() - begun >= 0.5


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (0, "bot: it ended before it had run for 0.3 s"),
        (3, "bot: it failed (exited with status 3) before it had run for 0.3 s"),
    ],
)
async def test_one_that_ends_at_once_changes_nothing_and_says_why(
    town: "Town", status: int, why: str
) -> None:
    town.settle_time = 0.3
    town.restarted()
    await town.built(manifest(worker(), listening()))
    await town.settle()
    before, units = await town.live(), await town.units()

    async def ends(unit: Unit, env: Env, say: Say) -> None:
        say("no token")
        if status:
            raise Exit(status)

    inner = town.supervisor._program

    async def mixed(unit: Unit, env: Env, say: Say) -> None:
        await (ends if unit.key.name == "bot" else inner)(unit, env, say)

    town.supervisor._program = mixed
    number = await town.built(manifest(worker(), listening()), version=2)
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert build.reason.splitlines()[:2] == [why, "its last lines:"]
    assert "no token" in build.reason
    assert (await town.live(), await town.units()) == (before, units)


async def test_one_that_crashes_now_and_then_is_not_ready_in_between() -> None:
    times = iter(range(100))

    async def life() -> UnitStatus:
        return UnitStatus(state=UnitState.RUNNING, restarts=next(times))

    with pytest.raises(NotReady, match="started again 3 times"):
        await runs(life, within=5, settle=0.4)


async def test_what_has_a_schedule_is_ready_as_soon_as_it_is_understood(town: "Town") -> None:
    town.settle_time = 60.0
    town.restarted()
    number = await town.built(manifest(timed()))
    await town.settle()
    assert (await town.build(number)).state == "done"
    [there] = town.supervisor.host.units.values()
    assert there.status.state is UnitState.SCHEDULED
    assert there.starts == 0


async def test_times_that_cannot_be_read_change_nothing_and_say_so(town: "Town") -> None:
    await town.built(manifest(timed(), listening()))
    await town.settle()
    before, units = await town.live(), await town.units()
    number = await town.built(manifest(timed(schedule="whenever"), listening()), version=2)
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert "'whenever'" in build.reason
    assert "OnCalendar" in build.reason
    assert (await town.live(), await town.units()) == (before, units)


# Being replaced.


async def test_a_worker_that_was_replaced_does_not_go_on_while_others_drain(
    town: "Town",
) -> None:
    town.drain = 60.0
    town.restarted()
    await town.built(manifest(worker(), timed(), listening()))
    await town.settle()
    old = {one.unit.key.name: name for name, one in town.supervisor.host.units.items()}
    number = await town.built(manifest(worker(), timed(), listening()), version=2)
    async with asyncio.timeout(10):
        while len(names(town)) != 4 or (await town.build(number)).state != "done":
            await town.reconciler.run_pass()
            await asyncio.sleep(0.02)
    assert names(town) == ["api", "api", "bot", "nightly"]
    assert old["api"] in town.supervisor.host.units
    assert old["bot"] not in town.supervisor.host.units
    assert old["nightly"] not in town.supervisor.host.units


async def test_nobody_waits_for_the_drain_of_what_does_not_listen(town: "Town") -> None:
    town.drain = 60.0
    town.restarted()
    for version in (1, 2):
        await town.built(manifest(worker()), version=version)
        await town.settle()  # would wait for the drain
    assert names(town) == ["bot"]


async def test_the_old_times_hold_until_all_of_the_new_version_is_ready(
    town: "Town", eventually: "Eventually"
) -> None:
    await town.built(manifest(timed(), listening()))
    await town.settle()
    opened, inner = asyncio.Event(), town.supervisor._program

    async def slow(unit: Unit, env: Env, say: Say) -> None:
        await opened.wait()
        await inner(unit, env, say)

    town.supervisor._program = slow
    number = await town.built(manifest(timed(), listening()), version=2)
    await town.reconciler.run_pass()

    async def started() -> bool:
        return names(town).count("api") == 2

    await eventually(started)
    await asyncio.sleep(0.1)
    assert names(town) == ["api", "api", "nightly"], "two timers would do everything twice"
    opened.set()
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert names(town) == ["api", "nightly"]


async def test_a_worker_that_did_not_change_is_left_alone(town: "Town") -> None:
    await town.built(manifest(worker(), timed()))
    await town.settle()
    before = dict(town.supervisor.host.units)
    await town.built(manifest(worker(), timed()))
    await town.settle()
    assert town.supervisor.host.units == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (manifest(listening("a")), manifest(worker("a"))),
        (manifest(worker("a")), manifest(listening("a"))),
        (manifest(listening("a"), site=True), manifest(worker("a"))),
        (manifest(worker("a")), manifest(timed("a"))),
        (manifest(timed("a")), manifest(timed("a", schedule="hourly"))),
    ],
)
async def test_what_listens_may_stop_listening_and_begin_again(
    town: "Town", first: Manifest, second: Manifest
) -> None:
    for one in (first, second, first):
        number = await town.built(one)
        await town.settle()
        assert (await town.build(number)).state == "done"
        assert names(town) == ["a"]
        state = await town.router.observe()
        [wanted] = await town.reconciler.wanted()
        targets = wanted.targets
        assert state.live == ({SHOP: digest_of(targets)} if targets else {})
        assert (await town.reconciler.run_pass()).is_empty


# Previews.


async def test_a_preview_goes_without_what_says_so(town: "Town") -> None:
    number = await town.built(
        manifest(worker(previews=False), listening("shop", previews=False), listening("web")),
        ref=PULL,
    )
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert names(town) == ["web"]
    [one] = await town.reconciler.wanted()
    assert one.hosts == {"web": ("shop-pr-42.example.net",)}, "it is the only service here"


async def test_who_sleeps_has_no_worker_and_no_timer_and_gets_both_back(town: "Town") -> None:
    town.terms = Terms(sleep_after=3600.0)
    town.drain = 0.0
    town.restarted()
    await town.built(manifest(worker(), timed(), listening()), ref=PULL)
    await passes(town)
    assert names(town) == ["api", "bot", "nightly"]
    before = set(town.supervisor.host.units)
    [one] = await town.reconciler.wanted()
    for idle, there in ((3601, set[str]()), (0, before)):
        changed = partial(tenants.change, tenant_id=one.record.id, active_at=time.time() - idle)
        await town.store.write(changed)
        await passes(town)
        assert set(town.supervisor.host.units) == there
        assert (await town.reconciler.look()).plan.is_empty


async def test_who_wakes_is_not_kept_waiting_by_a_worker(town: "Town") -> None:
    town.terms = Terms(sleep_after=3600.0)
    town.restarted()
    await town.built(manifest(worker(), listening()), ref=PULL)
    await passes(town)
    [one] = await town.reconciler.wanted()
    for idle in (3601, 0):
        changed = partial(tenants.change, tenant_id=one.record.id, active_at=time.time() - idle)
        await town.store.write(changed)
        if not idle:
            town.settle_time = 60.0
            await town.reconciler.stop()
            town.restarted()
        async with asyncio.timeout(10):
            await passes(town)
    assert names(town) == ["api", "bot"]
    [one] = await town.reconciler.wanted()
    assert all(g.retired_at is None for g in one.generations)


async def passes(town: "Town", count: int = 6) -> None:
    """Run passes: `settled` would wait until the preview sleeps."""
    for _ in range(count):
        await town.reconciler.run_pass()
        while town.reconciler._settling:
            await asyncio.sleep(0.01)
