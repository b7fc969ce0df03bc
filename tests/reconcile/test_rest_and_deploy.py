"""What is deployed to a ref that sleeps or is stopped."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kennel import status
from kennel.domain import Env, Ref, Socket, Tenant, Unit
from kennel.domain.route import digest_of
from kennel.errors import Unavailable
from kennel.lifecycle import Fate, Terms
from kennel.store import builds, tenants
from kennel.testing.memory_supervisor import Say

if TYPE_CHECKING:
    from collections.abc import Collection

    from kennel.domain import Route
    from tests.reconcile.conftest import Serving, Town

PULL = Ref.pull_request(42)
SHOP = Tenant("shop", PULL)
ASLEEP = {"api": Socket(path="/run/kennel/wake.sock")}


@pytest.fixture
async def sleeping(town: "Town", serving: "Serving") -> "Town":
    """Give a town with a preview of two good versions that sleeps; the second is live."""
    town.terms = Terms(sleep_after=60.0)
    town.restarted()
    for version in (1, 2):
        await town.built(serving("api"), ref=PULL, version=version)
        await passes(town)
    await change(town, active_at=time.time() - 61)
    await passes(town)
    assert await town.units() == set()
    assert await requests(town) == digest_of(ASLEEP)
    return town


async def passes(town: "Town", count: int = 6) -> None:
    """Run passes: `settled` would wait until the preview sleeps."""
    for _ in range(count):
        await town.reconciler.run_pass()
        while town.reconciler._settling:
            await asyncio.sleep(0.01)


async def change(town: "Town", **values: object) -> None:
    known = await town.store.read(partial(tenants.known, tenant=SHOP))
    await town.store.write(lambda db: tenants.change(db, known.id, **values))


async def requests(town: "Town") -> str | None:
    return (await town.router.observe()).live.get(SHOP)


async def versions(town: "Town") -> list[str]:
    """Return the programs that run."""
    return sorted(one.unit.command[0] for one in town.supervisor.host.units.values())


async def test_a_rollback_of_who_sleeps_wakes_it_with_the_old_version(sleeping: "Town") -> None:
    again = partial(builds.again, build_id=1, now=time.time())
    assert await sleeping.store.write(again)
    await change(sleeping, active_at=time.time())
    await passes(sleeping)
    assert (await sleeping.build(1)).state == "done"
    assert await versions(sleeping) == ["/nix/store/api-1/bin/x"]
    assert await requests(sleeping) != digest_of(ASLEEP)
    assert (await sleeping.reconciler.look()).plan.is_empty


async def test_a_bad_push_to_who_sleeps_wakes_what_was_live(
    sleeping: "Town", serving: "Serving"
) -> None:
    good = sleeping.supervisor._program

    async def mixed(unit: Unit, env: Env, say: Say) -> None:
        if "api-3" not in unit.command[0]:
            await good(unit, env, say)

    sleeping.supervisor._program = mixed
    number = await sleeping.built(serving("api"), ref=PULL, version=3)
    await passes(sleeping, 8)
    assert (await sleeping.build(number)).state == "failed"
    assert await versions(sleeping) == ["/nix/store/api-2/bin/x"]
    assert await requests(sleeping) != digest_of(ASLEEP)


async def test_requests_stay_with_the_waker_while_a_new_version_cannot_be_published(
    sleeping: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(routes: "Collection[Route]") -> None:
        raise Unavailable("caddy: connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(sleeping.router, "publish", down)
        number = await sleeping.built(serving("api", "web"), ref=PULL, version=3)
        await passes(sleeping, 2)
        assert (await sleeping.build(number)).state == "built"
        assert await requests(sleeping) == digest_of(ASLEEP)


async def test_a_build_that_took_longer_than_one_may_be_idle_is_deployed_and_then_sleeps(
    town: "Town", serving: "Serving"
) -> None:
    town.terms = Terms(sleep_after=60.0)
    town.restarted()
    number = await town.built(serving("api"), ref=PULL)
    await change(town, active_at=time.time() - 61)
    await passes(town)
    assert (await town.build(number)).state == "done"
    assert await town.units() == set()
    world = await town.reconciler.look()
    assert world.plan.fates[SHOP] is Fate.ASLEEP
    assert world.plan.is_empty


async def test_a_build_of_a_stopped_ref_waits_and_status_says_for_what(
    sleeping: "Town", serving: "Serving"
) -> None:
    await change(sleeping, stopped=True)
    number = await sleeping.built(serving("api"), ref=PULL, version=3)
    await passes(sleeping)
    assert (await sleeping.build(number)).state == "built"
    assert await sleeping.units() == set()
    world = await sleeping.reconciler.look()
    [line] = status.deployments(
        world.wanted,
        plan=world.plan,
        builds={SHOP: await sleeping.build(number)},
        units=world.actual.units,
        troubles=sleeping.reconciler.troubles,
        url=sleeping.router.url,
    )
    assert (line.state, line.next_state) == ("stopped", "waiting")
    assert line.why == f"build {number} waits for `kennel start`: the ref is stopped"
    await change(sleeping, stopped=False, active_at=time.time())
    await passes(sleeping)
    assert await versions(sleeping) == ["/nix/store/api-3/bin/x"]


async def test_a_ref_that_is_stopped_while_it_is_deployed_has_nothing_running(
    town: "Town", serving: "Serving"
) -> None:
    async def deaf(_unit: Unit, _env: Env, _say: Say) -> None:
        await asyncio.sleep(3600)

    good, town.supervisor._program = town.supervisor._program, deaf
    number = await town.built(serving("api", timeout=60), ref=PULL)
    await town.reconciler.run_pass()
    while not await town.units():
        await asyncio.sleep(0.01)
    await change(town, stopped=True)
    await passes(town)
    assert await town.units() == set()
    assert (await town.build(number)).state == "built"
    town.supervisor._program = good
    await change(town, stopped=False)
    await passes(town)
    assert (await town.build(number)).state == "done"


async def test_nothing_is_started_without_what_it_is_given(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a reboot, when the server of the secrets is not up yet."""
    manifest = serving("api", "web", resources=("memory",))
    await town.built(manifest)
    await town.settle()
    units = await town.units()
    for unit in units:
        await town.supervisor.remove(unit)
    started: list[Env] = []
    ensure = town.supervisor.ensure

    async def noted(unit: Unit, env: Env) -> None:
        started.append(env)
        await ensure(unit, env)

    async def down(*_: object) -> Env:
        raise Unavailable("memory: sealed")

    monkeypatch.setattr(town.supervisor, "ensure", noted)
    with monkeypatch.context() as patch:
        patch.setattr(town.provisioner, "ensure", down)
        await passes(town, 3)
        assert started == []
        assert town.reconciler.troubles == {Tenant("shop", Ref.branch("main")): "memory: sealed"}
    await town.settle()
    assert await town.units() == units
    assert ["MEMORY_URL" in env for env in started] == [True, True]
