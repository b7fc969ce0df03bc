"""What the reconciler makes of the world."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from kennel.domain import Env, Key, Ref, Target, Tenant, Unit
from kennel.domain.route import Files, Upstream, digest_of
from kennel.errors import Rejected, Unavailable
from kennel.plugin import RouterState
from kennel.testing.memory_supervisor import Program, Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Serving, Town

MAIN, PREVIEW = Ref.branch("main"), Ref.pull_request(42)
SHOP = Tenant("shop", MAIN)


async def test_what_is_built_becomes_live(town: "Town", serving: "Serving") -> None:
    number = await town.built(serving("api", site=True))
    await town.settle()
    build = await town.build(number)
    assert build.state == "done"
    state = await town.router.observe()
    live = await town.live()
    assert live["docs"] == "/nix/store/docs-1"
    port = int(live["api"].rpartition(":")[2])
    targets: Mapping[str, Target] = {
        "api": Upstream(port=port),
        "docs": Files(root="/nix/store/docs-1"),
    }
    assert state.live == {SHOP: digest_of(targets)}
    assert state.routes is not None
    assert {(r.key.name, r.hosts, r.site) for r in state.routes} == {
        ("api", ("shop-main.example.net",), False),
        ("docs", ("shop-docs-main.example.net",), True),
    }


async def test_a_settled_world_is_left_alone(town: "Town", serving: "Serving") -> None:
    await town.built(serving("api", site=True))
    await town.settle()
    writes, units = town.store.changes, await town.units()
    for _ in range(3):
        assert (await town.reconciler.run_pass()).is_empty
    assert town.store.changes == writes
    assert await town.units() == units


async def test_a_service_that_did_not_change_is_not_restarted(
    town: "Town", serving: "Serving"
) -> None:
    await town.built(serving("api", "web"))
    await town.settle()
    before = await town.live()
    units = await town.units()
    second = await town.built(serving("api", "web"))
    await town.settle()
    assert (await town.build(second)).state == "done"
    assert await town.live() == before
    assert await town.units() == units


async def test_a_service_that_changed_is_replaced_and_then_stopped(
    town: "Town", serving: "Serving"
) -> None:
    await town.built(serving("api"))
    await town.settle()
    before, units = await town.live(), await town.units()
    await town.built(serving("api"), version=2)
    await town.settle()
    assert await town.live() != before
    assert not units & await town.units()
    assert len(await town.units()) == 1


async def test_an_old_generation_drains_before_it_is_stopped(
    town: "Town", serving: "Serving"
) -> None:
    town.drain = 0.6
    town.restarted()
    await town.built(serving("api"))
    await town.settle()
    old = await town.units()
    await town.built(serving("api"), version=2)
    await town.reconciler.run_pass()
    await asyncio.sleep(0.3)
    assert old < await town.units()
    await town.settle()
    assert not old & await town.units()


async def test_a_revert_within_the_drain_takes_the_old_generation_up_again(
    town: "Town", serving: "Serving"
) -> None:
    town.drain = 1.0
    town.restarted()
    await town.built(serving("api"))
    await town.settle()
    before, units = await town.live(), await town.units()
    await town.built(serving("api"), version=2)
    await town.reconciler.run_pass()
    await asyncio.sleep(0.2)
    await town.built(serving("api"), version=1)
    await town.settle()
    assert await town.live() == before
    assert await town.units() == units


async def test_a_service_that_never_listens_changes_nothing(
    town: "Town", serving: "Serving"
) -> None:
    await town.built(serving("api"))
    await town.settle()
    before, units = await town.live(), await town.units()

    async def deaf(_unit: Unit, _env: Env, _say: Say) -> None:
        await asyncio.sleep(3600)

    town.supervisor._program = deaf
    number = await town.built(serving("api", timeout=0.3), version=2)
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert "api: not ready after 0.3 s" in build.reason
    assert "$PORT" in build.reason
    assert await town.live() == before
    assert await town.units() == units
    assert (await town.router.observe()).live[SHOP]


async def test_a_service_that_ends_at_once_is_not_waited_for(
    town: "Town", serving: "Serving"
) -> None:
    async def fleeting(_unit: Unit, _env: Env, _say: Say) -> None:
        return

    town.supervisor._program = fleeting
    number = await town.built(serving("api", timeout=60))
    await town.settle()
    assert (await town.build(number)).state == "failed"
    assert await town.units() == set()


async def test_services_of_one_commit_go_live_together_or_not_at_all(
    town: "Town", serving: "Serving"
) -> None:
    town.supervisor._program, good = half_deaf(town.supervisor._program), town.supervisor._program
    number = await town.built(serving("api", "web", site=True, timeout=0.3))
    await town.settle()
    assert (await town.build(number)).state == "failed"
    assert await town.live() == {}
    assert await town.units() == set()
    town.supervisor._program = good


def half_deaf(program: Program) -> Program:
    async def run(unit: Unit, env: Env, say: Say) -> None:
        if unit.key.name == "web":
            await asyncio.sleep(3600)
        await program(unit, env, say)

    return run


async def test_a_unit_that_is_gone_is_started_again(town: "Town", serving: "Serving") -> None:
    await town.built(serving("api"))
    await town.settle()
    [unit] = await town.units()
    await town.supervisor.remove(unit)
    await town.settle()
    assert await town.units() == {unit}


async def test_after_a_reboot_everything_comes_back(town: "Town", serving: "Serving") -> None:
    await town.built(serving("api", site=True))
    await town.settle()
    [unit] = await town.units()
    before = await town.router.observe()
    await town.supervisor.remove(unit)
    await town.router.publish([])
    await town.router.remove(SHOP)
    town.restarted()
    await town.settle()
    assert await town.units() == {unit}
    assert await town.router.observe() == before


async def test_requests_that_went_astray_are_switched_back(
    town: "Town", serving: "Serving"
) -> None:
    await town.built(serving("api"))
    await town.settle()
    right = (await town.router.observe()).live
    await town.router.switch(SHOP, {"api": Upstream(port=1)})
    await town.settle()
    assert (await town.router.observe()).live == right


async def test_a_preview_whose_ref_is_gone_leaves_nothing(town: "Town", serving: "Serving") -> None:
    await town.built(serving("api", resources=("memory",)), ref=PREVIEW)
    await town.settle()
    assert await town.provisioner.observe() == {Tenant("shop", PREVIEW)}
    await town.gone(ref=PREVIEW)
    await town.settle()
    assert await town.units() == set()
    assert await town.provisioner.observe() == set()
    state = await town.router.observe()
    assert (state.live, state.routes) == ({}, frozenset())
    assert await town.reconciler.wanted() == []


async def test_deleting_main_never_drops_production_data(town: "Town", serving: "Serving") -> None:
    await town.built(serving("api", resources=("memory",)))
    await town.settle()
    await town.gone()
    await town.settle()
    assert await town.units() == set()
    assert await town.provisioner.observe() == {SHOP}
    [kept] = await town.reconciler.wanted()
    assert kept.record.tenant == SHOP


async def test_a_service_that_was_renamed_touches_no_resource(
    town: "Town", serving: "Serving"
) -> None:
    await town.built(serving("api", resources=("memory",)))
    await town.settle()
    await town.built(serving("server", resources=("memory",)), version=2)
    await town.settle()
    assert await town.provisioner.observe() == {SHOP}
    assert set(await town.live()) == {"server"}
    assert len(await town.units()) == 1


async def test_a_resource_that_is_out_of_reach_is_waited_for(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(tenant: Tenant, options: Mapping[str, object]) -> Env:
        raise Unavailable("memory: the server is down")

    ensure = town.provisioner.ensure
    monkeypatch.setattr(town.provisioner, "ensure", down)
    number = await town.built(serving("api", resources=("memory",)))
    other = await town.built(serving("api"), project="other")
    await town.reconciler.run_pass()
    await asyncio.sleep(0.5)
    assert (await town.build(number)).state == "built"
    assert town.reconciler.troubles == {SHOP: "memory: the server is down"}
    assert (await town.build(other)).state == "done"
    monkeypatch.setattr(town.provisioner, "ensure", ensure)
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert town.reconciler.troubles == {}


async def test_a_resource_that_is_not_on_fails_the_build_and_says_so(
    town: "Town", serving: "Serving"
) -> None:
    number = await town.built(serving("api", resources=("postgres",)))
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert "'postgres' is not to be had here; there is: memory" in build.reason


async def test_a_bug_in_a_plugin_costs_one_tenant_only(
    town: "Town",
    serving: "Serving",
    eventually: "Eventually",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(tenant: Tenant, options: Mapping[str, object]) -> Env:
        raise KeyError(tenant)

    monkeypatch.setattr(town.provisioner, "ensure", broken)
    await town.built(serving("api", resources=("memory",)))
    other = await town.built(serving("api"), project="other")
    await town.reconciler.run_pass()

    async def is_live() -> bool:
        return (await town.build(other)).state == "done" and bool(town.reconciler.troubles)

    await eventually(is_live)
    assert town.reconciler.troubles == {SHOP: "internal error: KeyError"}


async def test_a_slow_service_holds_up_nobody(
    town: "Town", serving: "Serving", eventually: "Eventually"
) -> None:
    good = town.supervisor._program
    town.supervisor._program = half_deaf(good)
    slow = await town.built(serving("web", timeout=30), project="slow")
    await town.reconciler.run_pass()
    quick = await town.built(serving("api"), project="quick")
    await town.reconciler.run_pass()

    async def is_live() -> bool:
        return (await town.build(quick)).state == "done"

    await eventually(is_live)
    assert (await town.build(slow)).state == "built"
    town.supervisor._program = good


async def test_a_newer_build_overtakes_one_that_is_being_deployed(
    town: "Town", serving: "Serving"
) -> None:
    good = town.supervisor._program
    town.supervisor._program = half_deaf(good)
    slow = await town.built(serving("web", timeout=30))
    await town.reconciler.run_pass()
    await asyncio.sleep(0.1)
    quick = await town.built(serving("api"))
    await town.settle()
    assert (await town.build(slow)).state == "cancelled"
    assert (await town.build(quick)).state == "done"
    assert set(await town.live()) == {"api"}
    assert len(await town.units()) == 1
    town.supervisor._program = good


async def test_a_delete_during_a_deployment_wins(town: "Town", serving: "Serving") -> None:
    good = town.supervisor._program
    town.supervisor._program = half_deaf(good)
    slow = await town.built(serving("web", timeout=30), ref=PREVIEW)
    await town.reconciler.run_pass()
    await asyncio.sleep(0.1)
    await town.gone(ref=PREVIEW)
    await town.settle()
    assert (await town.build(slow)).state == "cancelled"
    assert await town.units() == set()
    assert await town.reconciler.wanted() == []
    town.supervisor._program = good


async def test_an_empty_state_database_destroys_nothing(town: "Town", serving: "Serving") -> None:
    foreign = Tenant("elsewhere", MAIN)
    await town.provisioner.ensure(foreign, {})
    await town.router.switch(foreign, {"api": Upstream(port=1)})
    await town.settle()
    assert await town.provisioner.observe() == {foreign}
    assert foreign in (await town.router.observe()).live


async def test_nothing_is_done_blindly(town: "Town", serving: "Serving") -> None:
    await town.built(serving("api"))
    await town.settle()
    town.supervisor.problem = Unavailable("no bus")
    with pytest.raises(Unavailable):
        await town.reconciler.run_pass()
    town.supervisor.problem = None
    assert (await town.reconciler.run_pass()).is_empty


async def test_a_proxy_that_is_down_stops_no_deployment(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down() -> RouterState:
        raise Unavailable("caddy: connection refused")

    await town.built(serving("api"))
    await town.settle()
    monkeypatch.setattr(town.router, "observe", down)
    number = await town.built(serving("api"), version=2)
    await town.settle()
    assert (await town.build(number)).state == "done"


async def test_a_program_that_cannot_be_executed_fails_the_build(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(unit: Unit, env: Env) -> None:
        raise Rejected(f"{unit.command[0]}: not executable")

    monkeypatch.setattr(town.supervisor, "ensure", refuse)
    number = await town.built(serving("api"))
    await town.settle()
    build = await town.build(number)
    assert (build.state, build.reason) == ("failed", "/nix/store/api-1/bin/x: not executable")


async def test_services_are_told_where_they_are(town: "Town", serving: "Serving") -> None:
    told: dict[Key, dict[str, str]] = {}
    good = town.supervisor._program

    async def listening(unit: Unit, env: Env, say: Say) -> None:
        told[unit.key] = {name: secret.value for name, secret in env.items()}
        await good(unit, env, say)

    town.supervisor._program = listening
    await town.built(serving("api", resources=("memory",)), ref=PREVIEW)
    await town.settle()
    env = told[Key(Tenant("shop", PREVIEW), "api")]
    assert env.pop("PORT").isdigit()
    assert env.pop("MEMORY_URL")
    assert env == {
        "HOST": "127.0.0.1",
        "KENNEL_PROJECT": "shop",
        "KENNEL_REF": "pr-42",
        "KENNEL_ENVIRONMENT": "preview",
        "KENNEL_URL": town.router.url("shop-pr-42.example.net"),
    }
    town.supervisor._program = good


async def test_the_operators_time_holds_where_the_manifest_says_nothing(
    town: "Town", serving: "Serving"
) -> None:
    async def deaf(_unit: Unit, _env: Env, _say: Say) -> None:
        await asyncio.sleep(3600)

    town.supervisor._program = deaf
    town.ready_timeout = 0.4
    town.restarted()
    number = await town.built(serving("api", timeout=None))
    await town.settle()
    assert "not ready after 0.4 s" in (await town.build(number)).reason
