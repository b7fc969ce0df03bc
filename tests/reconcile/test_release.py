"""A release command runs once for each build, and before anything of it starts."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from kennel.domain import Env, Manifest, Ready, Ref, Release, Service, Unit
from kennel.errors import Unavailable
from kennel.store import builds
from kennel.testing.memory_supervisor import Exit, Program, Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Town

MAIN, PULL = Ref.branch("main"), Ref.pull_request(42)


class Script:
    """What a release command does, and a note of what happened when."""

    def __init__(self, inner: Program) -> None:
        self.events: list[str] = []
        self.envs: list[dict[str, str]] = []
        self.units: list[Unit] = []
        self.end = asyncio.Event()
        self.end.set()
        self.fails = False
        self._inner = inner

    @property
    def runs(self) -> int:
        return len(self.units)

    async def __call__(self, unit: Unit, env: Env, say: Say) -> None:
        if unit.key.name != "release":
            self.events.append("start")
            await self._inner(unit, env, say)
            return
        self.events.append("release")
        self.units.append(unit)
        self.envs.append({name: secret.value for name, secret in env.items()})
        for line in range(30):
            say(f"step {line:02}")
        await self.end.wait()
        if self.fails:
            raise Exit(1)
        self.events.append("released")


@pytest.fixture
def script(town: "Town") -> Script:
    script = Script(town.supervisor._program)
    town.supervisor._program = script
    return script


def manifest(*, previews: bool = True, timeout: float = 60.0, **more: Any) -> Manifest:
    ready = Ready(timeout=5)
    api = Service(
        name="api",
        package="api",
        args=("serve",),
        environment={"LEVEL": "info"},
        ready=ready,
        previews=previews,
    )
    release = Release(service="api", package="api", args=("migrate", "--now"), timeout=timeout)
    web = Service(name="web", package="web", ready=ready)
    return Manifest(services={"api": api, "web": web}, release=release, **more)


async def begun(town: "Town", script: Script, eventually: "Eventually", runs: int = 1) -> None:
    """Run passes until the command runs."""

    async def is_so() -> bool:
        await town.reconciler.run_pass()
        return script.runs == runs

    await eventually(is_so)


async def rows(town: "Town") -> set[str]:
    """Return the names of the generations that are known."""
    return {g.key.name for one in await town.reconciler.wanted() for g in one.generations}


async def test_it_runs_before_anything_starts_and_finds_what_its_service_finds(
    town: "Town", script: Script
) -> None:
    number = await town.built(manifest(resources={"memory": {}}))
    await town.settle()
    assert script.events == ["release", "released", "start", "start"]
    [env], [unit] = script.envs, script.units
    assert env.pop("MEMORY_URL")
    assert env == {
        "LEVEL": "info",
        "KENNEL_PROJECT": "shop",
        "KENNEL_REF": "main",
        "KENNEL_ENVIRONMENT": "prod",
        "KENNEL_URL": town.router.url("shop-main.example.net"),
    }
    assert unit.command == ("/nix/store/release/bin/x", "migrate", "--now")
    assert (unit.port, unit.schedule) == (None, None)
    assert unit.limits.memory_max == 1 << 30
    build = await town.build(number)
    assert build.state == "done"
    assert build.released_at is not None


async def test_nothing_of_it_is_left(town: "Town", script: Script) -> None:
    await town.built(manifest())
    await town.settle()
    assert await rows(town) == {"api", "web"}
    assert len(await town.units()) == 2
    assert script.units[0].name not in town.supervisor.host.units


async def test_what_was_live_serves_while_it_runs(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    await town.built(manifest())
    await town.settle()
    before, requests = await town.units(), (await town.router.observe()).live
    script.end.clear()
    await town.built(manifest(), version=2)
    await begun(town, script, eventually, 2)
    assert await town.units() == {*before, script.units[1].name}
    assert (await town.router.observe()).live == requests
    script.end.set()
    await town.settle()
    assert script.events[4:] == ["release", "released", "start", "start"]


async def test_each_build_has_its_own_though_nothing_else_changed(
    town: "Town", script: Script
) -> None:
    for _ in range(2):
        await town.built(manifest())
        await town.settle()
    assert script.events == ["release", "released", "start", "start", "release", "released"]


async def test_one_that_fails_changes_nothing_and_says_why(town: "Town", script: Script) -> None:
    await town.built(manifest())
    await town.settle()
    before, units = await town.live(), await town.units()
    script.fails = True
    number = await town.built(manifest(), version=2)
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    lines = build.reason.splitlines()
    assert lines[:2] == ["release: exited with status 1", "its last lines:"]
    assert len(lines) == 2 + 20
    assert "  step 29" in lines
    assert "  step 10" not in lines
    assert (await town.live(), await town.units()) == (before, units)
    assert script.events.count("start") == 2
    assert await rows(town) == {"api", "web"}
    assert build.released_at is None


async def test_one_that_takes_too_long_changes_nothing(town: "Town", script: Script) -> None:
    script.end.clear()
    number = await town.built(manifest(timeout=0.3))
    await town.settle()
    build = await town.build(number)
    assert (build.state, build.reason.partition("\n")[0]) == (
        "failed",
        "release: it took longer than 0.3 s",
    )
    assert "start" not in script.events
    assert await town.units() == set()


async def test_what_it_writes_is_kept_without_what_it_was_given(
    town: "Town", script: Script
) -> None:
    async def leaks(unit: Unit, env: Env, say: Say) -> None:
        say(f"cannot use {env['MEMORY_URL'].value}")
        raise Exit(2)

    town.supervisor._program = leaks
    number = await town.built(manifest(resources={"memory": {}}))
    await town.settle()
    assert "cannot use [secret]" in (await town.build(number)).reason


async def test_it_is_not_run_again_for_what_is_deployed_again(town: "Town", script: Script) -> None:
    first = await town.built(manifest())
    await town.settle()
    second = await town.built(manifest(), version=2)
    await town.settle()
    for number in (second, first):  # redeployed, rolled back
        assert await town.store.write(partial(builds.again, build_id=number, now=time.time()))
        await town.settle()
        assert (await town.build(number)).state == "done"
    assert script.runs == 2


async def test_a_new_start_of_kennel_waits_for_its_end_and_does_not_run_it_again(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    number = await town.built(manifest())
    await begun(town, script, eventually)
    await town.reconciler.stop()
    town.restarted()
    await town.reconciler.run_pass()
    await asyncio.sleep(0.2)
    assert (await town.build(number)).state == "built"
    script.end.set()
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert script.runs == 1
    assert await rows(town) == {"api", "web"}


async def test_an_end_that_could_not_be_recorded_is_known_by_the_next_start(
    town: "Town", script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the database is away")

    number = await town.built(manifest())
    with monkeypatch.context() as patch:
        patch.setattr("kennel.reconcile.errands.builds.released", fail)
        await town.reconciler.run_pass()
        while town.reconciler._settling:
            await asyncio.sleep(0.01)
    assert script.events == ["release", "released"]
    town.restarted()
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert script.runs == 1


async def test_a_delete_while_it_runs_wins(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    number = await town.built(manifest(resources={"memory": {}}), ref=PULL)
    await begun(town, script, eventually)
    await town.gone(ref=PULL)
    await town.settle()
    assert (await town.build(number)).state == "cancelled"
    assert await town.units() == set()
    assert await town.provisioner.observe() == set()
    assert await town.reconciler.wanted() == []
    assert "released" not in script.events


async def test_a_build_that_is_cancelled_by_hand_is_cut_off(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    await town.built(manifest())
    await town.settle()
    units = await town.units()
    script.end.clear()
    number = await town.built(manifest(), version=2)
    await begun(town, script, eventually, 2)
    cancel = partial(builds.cancelled, build_id=number, reason="cancelled by hand", now=1.0)
    assert await town.store.write(cancel)
    await town.settle()
    assert await town.units() == units
    assert await rows(town) == {"api", "web"}
    assert script.events.count("released") == 1


async def test_a_newer_push_does_not_cut_it_off_and_waits(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    first = await town.built(manifest())
    await begun(town, script, eventually)
    second = await town.built(manifest(), version=2)
    for _ in range(5):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.05)
    assert script.runs == 1
    assert script.units[0].name in await town.units()
    script.end.set()
    await town.settle()
    assert script.events == ["release", "released", "release", "released", "start", "start"]
    assert (await town.build(first)).state == "cancelled"
    assert (await town.build(second)).state == "done"
    assert await rows(town) == {"api", "web"}


async def test_one_that_somebody_stopped_is_run_again(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    number = await town.built(manifest())
    await begun(town, script, eventually)
    await town.supervisor.remove(script.units[0].name)
    script.end.set()
    async with asyncio.timeout(10):
        while (await town.build(number)).state != "done":
            plan = await town.reconciler.run_pass()
            await asyncio.sleep(min(plan.again_in or 0.05, 1.0))
    assert script.runs == 2


async def test_a_preview_without_its_service_has_it_all_the_same(
    town: "Town", script: Script
) -> None:
    """It makes the database that the others find."""
    await town.built(manifest(previews=False), ref=PULL)
    await town.settle()
    assert set(await town.live(PULL)) == {"web"}
    assert script.events == ["release", "released", "start"]
    assert script.envs[0]["LEVEL"] == "info"
    assert script.envs[0]["KENNEL_URL"] == town.router.url("shop-pr-42.example.net")


async def test_what_is_live_and_ends_meanwhile_is_started_again(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    await town.built(manifest())
    await town.settle()
    units = await town.units()
    script.end.clear()
    await town.built(manifest(), version=2)
    await begun(town, script, eventually, 2)
    for _ in range(2):
        await town.supervisor.remove(min(units))

        async def is_back() -> bool:
            await town.reconciler.run_pass()
            return units <= await town.units()

        await eventually(is_back)
    assert script.runs == 2, "the command is waited for, and not run again"
    script.end.set()
    await town.settle()
    assert not units & await town.units()


async def test_that_it_is_over_begins_nothing_anew(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    opened = asyncio.Event()

    async def slow(unit: Unit, env: Env, say: Say) -> None:
        if unit.key.name != "release":
            await opened.wait()
        await script(unit, env, say)

    town.supervisor._program = slow
    number = await town.built(manifest())
    await town.reconciler.run_pass()
    [settling] = town.reconciler._settling.values()

    async def released() -> bool:
        return (await town.build(number)).released_at is not None

    await eventually(released)
    for _ in range(3):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.02)
    assert not settling.task.cancelling()
    opened.set()
    await town.settle()
    assert (await town.build(number)).state == "done"


async def test_a_long_one_holds_up_nobody_else(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    town.parallel = 1
    town.restarted()
    script.end.clear()
    slow = await town.built(manifest())
    await begun(town, script, eventually)
    quick = await town.built(
        Manifest(services={"api": Service(name="api", package="api")}), project="quick"
    )

    async def is_live() -> bool:
        await town.reconciler.run_pass()
        return (await town.build(quick)).state == "done"

    await eventually(is_live)
    assert (await town.build(slow)).state == "built"
    script.end.set()
    await town.settle()
