"""A seed command runs once for each ref, when its resources are there for the first time."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from kennel.domain import Env, Manifest, Ready, Ref, Release, Seed, Service, Tenant, Unit
from kennel.errors import Unavailable
from kennel.store import tenants
from kennel.testing.memory_supervisor import Exit, Program, Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Town

MAIN, PULL, DEV = Ref.branch("main"), Ref.pull_request(42), Ref.branch("dev")
SHOP = Tenant("shop", PULL)


class Script:
    """What commands do, and a note of what happened when."""

    def __init__(self, inner: Program) -> None:
        self.events: list[str] = []
        self.envs: list[dict[str, str]] = []
        self.units: list[Unit] = []
        self.end = asyncio.Event()
        self.end.set()
        self.fails = False
        self._inner = inner

    async def __call__(self, unit: Unit, env: Env, say: Say) -> None:
        name = unit.key.name
        self.events.append(name)
        if name not in {"seed", "release"}:
            await self._inner(unit, env, say)
        if name == "seed":
            self.units.append(unit)
            self.envs.append({name: secret.value for name, secret in env.items()})
            say(f"seeding {env['MEMORY_URL'].value}")
            await self.end.wait()
            if self.fails:
                raise Exit(1)
            self.events.append("seeded")


@pytest.fixture
def script(town: "Town") -> Script:
    script = Script(town.supervisor._program)
    town.supervisor._program = script
    return script


def manifest(*, seed: bool = True, timeout: float = 60.0, **more: Any) -> Manifest:
    api = Service(
        name="api",
        package="api",
        environment={"LEVEL": "info"},
        ready=Ready(timeout=timeout),
    )
    one = Seed(service="api", package="api", args=("seed",), **more)
    return Manifest(services={"api": api}, seed=one if seed else None, resources={"memory": {}})


async def seeded(town: "Town", ref: Ref = PULL) -> bool:
    record = await town.store.read(partial(tenants.known, tenant=Tenant("shop", ref)))
    return record.seeded_at is not None


async def begun(town: "Town", script: Script, eventually: "Eventually", runs: int = 1) -> None:
    async def is_so() -> bool:
        await town.reconciler.run_pass()
        return len(script.units) == runs

    await eventually(is_so)


async def test_it_runs_before_the_release_command_and_before_anything_starts(
    town: "Town", script: Script
) -> None:
    both = Manifest(
        services=manifest().services,
        seed=manifest().seed,
        release=Release(service="api", package="api"),
        resources={"memory": {}},
    )
    number = await town.built(both, ref=PULL)
    await town.settle()
    assert script.events == ["seed", "seeded", "release", "api"]
    assert (await town.build(number)).state == "done"
    [env], [unit] = script.envs, script.units
    assert env["MEMORY_URL"].startswith("memory:///")
    assert (env["LEVEL"], env["KENNEL_ENVIRONMENT"]) == ("info", "preview")
    assert unit.command == ("/nix/store/seed/bin/x", "seed")
    assert unit.name not in town.supervisor.host.units, "nothing of it is left"


async def test_it_is_not_run_for_the_next_build(town: "Town", script: Script) -> None:
    for version in (1, 2):
        await town.built(manifest(), ref=PULL, version=version)
        await town.settle()
    assert script.events == ["seed", "seeded", "api", "api"]


async def test_each_ref_has_its_own(town: "Town", script: Script) -> None:
    for ref in (PULL, DEV):
        await town.built(manifest(), ref=ref)
        await town.settle()
    assert len({env["MEMORY_URL"] for env in script.envs}) == 2


@pytest.mark.parametrize(("production", "runs"), [(False, 0), (True, 1)])
async def test_production_has_none_unless_that_is_said(
    town: "Town", script: Script, production: bool, runs: int
) -> None:
    await town.built(manifest(production=production))
    await town.settle()
    assert script.events.count("seed") == runs
    assert "api" in script.events


async def test_who_was_live_without_is_not_seeded_later(town: "Town", script: Script) -> None:
    await town.built(manifest(seed=False), ref=PULL)
    await town.settle()
    await town.built(manifest(), ref=PULL, version=2)
    await town.settle()
    assert script.events == ["api", "api"]


async def test_one_that_fails_fails_the_build_and_is_run_for_the_next(
    town: "Town", script: Script
) -> None:
    script.fails = True
    number = await town.built(manifest(), ref=PULL)
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert build.reason.splitlines()[:2] == ["seed: exited with status 1", "its last lines:"]
    assert "seeding [secret]" in build.reason
    assert not await seeded(town)
    script.fails = False
    await town.built(manifest(), ref=PULL, version=2)
    await town.settle()
    assert script.events == ["seed", "seed", "seeded", "api"]


async def test_it_is_not_run_again_after_a_start_that_failed(town: "Town", script: Script) -> None:
    good = script._inner

    async def crash(*_: object) -> None:
        raise Exit(1)

    script._inner = crash
    number = await town.built(manifest(timeout=0.3), ref=PULL)
    await town.settle()
    assert (await town.build(number)).state == "failed"
    assert await seeded(town)
    script._inner = good
    await town.built(manifest(), ref=PULL, version=2)
    await town.settle()
    assert script.events.count("seed") == 1


async def test_a_new_start_of_kennel_waits_for_its_end_and_does_not_run_it_again(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    number = await town.built(manifest(), ref=PULL)
    await begun(town, script, eventually)
    await town.reconciler.stop()
    town.restarted()
    await town.reconciler.run_pass()
    await asyncio.sleep(0.1)
    script.end.set()
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert script.events == ["seed", "seeded", "api"]


async def test_an_end_that_could_not_be_recorded_is_known_by_the_next_start(
    town: "Town", script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the database is away")

    number = await town.built(manifest(), ref=PULL)
    with monkeypatch.context() as patch:
        patch.setattr("kennel.reconcile.errands.tenants.change", fail)
        await town.reconciler.run_pass()
        while town.reconciler._settling:
            await asyncio.sleep(0.01)
    assert script.events == ["seed", "seeded"]
    town.restarted()
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert script.events == ["seed", "seeded", "api"]


async def test_a_newer_push_waits_for_it_and_does_not_run_it_again(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    first = await town.built(manifest(), ref=PULL)
    await begun(town, script, eventually)
    second = await town.built(manifest(), ref=PULL, version=2)
    for _ in range(5):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.05)
    assert len(script.units) == 1
    script.end.set()
    await town.settle()
    assert script.events == ["seed", "seeded", "api"]
    assert (await town.build(first)).state == "cancelled"
    assert (await town.build(second)).state == "done"


async def test_a_newer_push_runs_its_own_if_it_failed(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    script.fails = True
    await town.built(manifest(), ref=PULL)
    await begun(town, script, eventually)
    second = await town.built(manifest(), ref=PULL, version=2)
    await town.reconciler.run_pass()
    await asyncio.sleep(0.1)
    script.end.set()
    await town.settle()
    assert len(script.units) == 2
    assert (await town.build(second)).reason.startswith("seed: exited with status 1")


async def test_what_comes_back_after_its_data_went_is_seeded_anew(
    town: "Town", script: Script
) -> None:
    for _ in range(2):
        await town.built(manifest(), ref=PULL)
        await town.settle()
        assert town.provisioner.tenants == {SHOP}
        await town.gone(ref=PULL)
        await town.settle()
        assert town.provisioner.tenants == set()
    assert script.events == ["seed", "seeded", "api"] * 2


async def test_a_delete_while_it_runs_wins(
    town: "Town", script: Script, eventually: "Eventually"
) -> None:
    script.end.clear()
    await town.built(manifest(), ref=PULL)
    await begun(town, script, eventually)
    await town.gone(ref=PULL)
    await town.settle()
    assert town.provisioner.tenants == set()
    assert await town.units() == set()
    assert "seeded" not in script.events
