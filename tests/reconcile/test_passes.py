"""Passes: nothing is forgotten, nothing is tried too often, nobody holds up anybody."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from kennel.domain import Env, Ref, Secret, Tenant, Unit
from kennel.errors import Rejected, Unavailable
from kennel.reconcile.backoff import Backoff
from kennel.reconcile.reasons import MOST_REASON, told
from kennel.testing.memory_supervisor import Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Serving, Town

MAIN, PREVIEW = Ref.branch("main"), Ref.pull_request(42)
SHOP = Tenant("shop", MAIN)


async def deaf(_unit: Unit, _env: Env, _say: Say) -> None:
    await asyncio.sleep(3600)


async def in_force(town: "Town", number: int) -> None:
    """Run the loop until a build is live."""
    loop = asyncio.create_task(town.reconciler.run())
    try:
        async with asyncio.timeout(10):
            while (await town.build(number)).state != "done":
                await asyncio.sleep(0.02)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_a_build_does_not_wait_for_what_it_mends(town: "Town", serving: "Serving") -> None:
    good = town.supervisor._program
    await town.built(serving("api", timeout=30))
    await town.settle()
    town.supervisor._program = deaf
    [unit] = await town.units()
    await town.supervisor.remove(unit)
    await town.reconciler.run_pass()  # starts it again, and waits for 30 s
    await asyncio.sleep(0.1)
    town.supervisor._program = good
    number = await town.built(serving("api", timeout=30), version=2)
    await in_force(town, number)
    assert await town.units() != {unit}


async def test_what_is_asked_for_during_an_attempt_that_fails_is_not_forgotten(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    remove = town.provisioner.remove

    async def slow(tenant: Tenant) -> None:
        entered.set()
        await go.wait()
        monkeypatch.setattr(town.provisioner, "remove", remove)
        raise Unavailable("memory: the server went away")

    await town.built(serving("api", resources=("memory",)), ref=PREVIEW)
    await town.settle()
    monkeypatch.setattr(town.provisioner, "remove", slow)
    await town.gone(ref=PREVIEW)
    loop = asyncio.create_task(town.reconciler.run())
    await entered.wait()
    number = await town.built(serving("api"), ref=PREVIEW)
    town.reconciler.wake()
    await asyncio.sleep(0.2)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    go.set()
    await in_force(town, number)


async def test_many_that_are_slow_hold_up_nobody(
    town: "Town", serving: "Serving", eventually: "Eventually"
) -> None:
    town.parallel = 2
    town.restarted()
    good, town.supervisor._program = town.supervisor._program, deaf
    for number in range(4):
        await town.built(serving("api", timeout=60), project=f"slow-{number}")
    await town.reconciler.run_pass()

    async def run() -> bool:
        return len(await town.units()) == 4

    await eventually(run)
    town.supervisor._program = good
    quick = await town.built(serving("api"), project="quick")
    await in_force(town, quick)


async def test_what_cannot_be_reached_is_not_asked_with_every_pass(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def down(tenant: Tenant, options: Mapping[str, object]) -> Env:
        nonlocal tries
        tries += 1
        raise Unavailable("memory: the server is down")

    ensure = town.provisioner.ensure
    monkeypatch.setattr(town.provisioner, "ensure", down)
    number = await town.built(serving("api", resources=("memory",)))
    for _ in range(30):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.01)
    assert tries == 1
    plan = await town.reconciler.run_pass()
    assert plan.again_in is not None
    assert plan.again_in <= 1.0
    monkeypatch.setattr(town.provisioner, "ensure", ensure)
    await in_force(town, number)  # by a timer of its own: nobody wakes the loop


async def test_an_end_that_fails_is_not_tried_with_every_pass(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def refuse(tenant: Tenant) -> None:
        nonlocal tries
        tries += 1
        raise Rejected("memory: somebody else owns it")

    await town.built(serving("api", resources=("memory",)), ref=PREVIEW)
    await town.settle()
    monkeypatch.setattr(town.provisioner, "remove", refuse)
    await town.gone(ref=PREVIEW)
    for _ in range(30):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.01)
    assert tries == 1
    assert town.reconciler.troubles == {Tenant("shop", PREVIEW): "memory: somebody else owns it"}


async def test_a_new_build_never_waits(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(tenant: Tenant, options: Mapping[str, object]) -> Env:
        raise Unavailable("memory: the server is down")

    monkeypatch.setattr(town.provisioner, "ensure", down)
    await town.built(serving("api", resources=("memory",)))
    for _ in range(3):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.02)
    second = await town.built(serving("api"))
    await town.reconciler.run_pass()
    await asyncio.sleep(0.3)
    assert (await town.build(second)).state == "done"


async def test_what_went_wrong_and_is_over_is_not_told_any_more(
    town: "Town", serving: "Serving"
) -> None:
    good = town.supervisor._program
    await town.built(serving("api", timeout=0.3))
    await town.settle()
    [unit] = await town.units()
    await town.supervisor.remove(unit)
    town.supervisor._program = deaf
    await town.reconciler.run_pass()
    await asyncio.sleep(1.0)
    assert "not ready" in town.reconciler.troubles[SHOP]
    town.supervisor._program = good
    await town.reconciler.run_pass()  # it runs by now, whatever it does: nothing is left to do
    assert town.reconciler.troubles == {}


async def test_a_pass_that_fails_is_a_sign_of_life(town: "Town") -> None:
    town.supervisor.problem = Unavailable("no bus")
    loop = asyncio.create_task(town.reconciler.run())
    async with asyncio.timeout(5):
        while not town.reconciler.tries:
            await asyncio.sleep(0.01)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert town.reconciler.passes == 0
    town.supervisor.problem = None


async def test_what_a_service_said_is_kept_without_what_it_was_given(
    town: "Town", serving: "Serving"
) -> None:
    async def leaks(unit: Unit, env: Env, say: Say) -> None:
        say(f"cannot use {env['MEMORY_URL'].value}\0")

    town.supervisor._program = leaks
    number = await town.built(serving("api", resources=("memory",), timeout=2))
    await town.settle()
    reason = (await town.build(number)).reason
    assert "cannot use [secret]" in reason
    assert "\0" not in reason


def test_what_a_service_said_is_not_kept_without_end() -> None:
    text = told("api: not ready\n" + "x" * 100_000 + "the end", {"SHORT": Secret("x")})
    assert len(text) < MOST_REASON + 100
    assert text.startswith("api: not ready")
    assert text.endswith("the end")


def test_the_first_try_is_free_and_others_are_forgotten() -> None:
    backoff: Backoff[str] = Backoff()
    assert backoff.wait("a") == 0
    backoff.note("a")
    assert 0 < backoff.wait("a") <= 1
    backoff.note("a")
    assert 1 < backoff.wait("a") <= 2
    backoff.keep({"b"})
    assert backoff.wait("a") == 0
