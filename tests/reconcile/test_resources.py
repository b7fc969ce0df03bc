"""What tenants are provided with: made before anything finds it, made again, and taken away."""

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kennel import crashpoint
from kennel.domain import Env, Manifest, Ref, Secret, Tenant
from kennel.errors import Rejected, Unavailable
from kennel.inventory import Inventory
from kennel.plan import Wanted
from kennel.settings import Settings
from kennel.store import Store, provisions, tenants
from kennel.terms import policy
from kennel.testing import MemoryProvisioner
from kennel.testing.provisioner import Box

if TYPE_CHECKING:
    from tests.reconcile.conftest import Serving, Town

MAIN, PULL = Ref.branch("main"), Ref.pull_request(42)
SHOP, PREVIEW = Tenant("shop", MAIN), Tenant("shop", PULL)


class Server(MemoryProvisioner):
    """A provisioner whose address can change, and that notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 1
        self.calls: list[str] = []

    async def lacking(self, tenants: Collection[Tenant]) -> set[Tenant]:
        self.calls.append("lacking")
        return await super().lacking(tenants)

    async def observe(self) -> set[Tenant]:
        self.calls.append("observe")
        return await super().observe()

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        self.calls.append("ensure")
        found = await super().ensure(tenant, options)
        return {name: Secret(f"{secret.value}:{self.port}") for name, secret in found.items()}

    async def remove(self, tenant: Tenant) -> None:
        self.calls.append("remove")
        await super().remove(tenant)


class Second(Server):
    name = "second"
    variables = frozenset({"SECOND_URL"})

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        [value] = (await super().ensure(tenant, options)).values()
        return {"SECOND_URL": value}


class Killed(BaseException):
    """Kennel was killed here."""


@pytest.fixture
def server(town: "Town") -> Server:
    town.provisioner = server = Server()
    town.restarted()
    return server


def with_second(town: "Town") -> Second:
    """Let the town have a second provisioner."""
    second = Second()
    town.others = (second,)
    town.restarted()
    return second


async def recorded(town: "Town") -> dict[Tenant, set[str]]:
    """Return what is recorded of each tenant."""
    wanted = await town.reconciler.wanted()
    return {one.record.tenant: {p.resource for p in one.provisions} for one in wanted}


def found_in(town: "Town", name: str = "MEMORY_URL") -> list[str]:
    """Return how each unit reaches its resource."""
    return [unit.env[name].value for unit in town.supervisor.host.units.values()]


async def passes(town: "Town", count: int = 3) -> None:
    """Run passes: `settled` would wait for what cannot be settled."""
    for _ in range(count):
        await town.reconciler.run_pass()
        while town.reconciler._settling:
            await asyncio.sleep(0.01)


class TestLacking:
    async def test_an_idle_pass_asks_each_provisioner_once_however_many_tenants(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        for number in range(12):
            ref = Ref.branch(f"b{number}")
            await town.built(serving("api", resources=("memory",)), ref=ref)
        await town.settle()
        server.calls.clear()
        plan = await town.reconciler.run_pass()
        assert plan.is_empty
        assert server.calls == ["lacking", "observe"]  # which is how this one answers

    async def test_nobody_is_asked_for_nothing(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        await town.built(serving("api"))
        await town.settle()
        assert server.calls == []

    async def test_what_is_lacking_of_what_is_live_is_made_again(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        units = await town.units()
        server.server.clear()
        await town.settle()
        assert server.tenants == {SHOP}
        assert await town.units() == units, "it is reached as before: nothing is restarted"

    async def test_what_is_reached_otherwise_then_gets_a_new_generation_beside_the_old(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = await town.built(serving("api", "web", resources=("memory",)))
        await town.settle()
        before = await town.units()
        removed: list[set[str]] = []
        remove = town.supervisor.remove

        async def noted(unit: str) -> None:
            removed.append(await town.units())
            await remove(unit)

        monkeypatch.setattr(town.supervisor, "remove", noted)
        server.port = 2
        server.server.clear()
        await town.settle()
        after = await town.units()
        assert not after & before
        assert len(after) == 2
        assert removed[0] == before | after, "nothing was stopped before its successor was there"
        assert all(value.endswith(":2") for value in found_in(town))
        assert (await town.build(number)).state == "done"
        writes = town.store.changes
        await passes(town)
        assert town.store.changes == writes

    async def test_a_renewal_takes_no_newer_build_back(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await town.built(serving("api", resources=("memory",)))
        await town.settle()
        second = 0
        renew = town.reconciler._settler._provisioning.renew

        async def late(wanted: Wanted) -> None:
            nonlocal second
            second = second or await town.built(serving("api", resources=("memory",)), version=2)
            await renew(wanted)

        monkeypatch.setattr(town.reconciler._settler._provisioning, "renew", late)
        server.port = 2
        server.server.clear()
        await town.settle()
        assert second > first
        assert (await town.build(second)).state == "done"
        [url] = found_in(town)
        assert url.endswith(":2")

    async def test_a_renewal_that_fails_is_not_tried_again_and_again(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        number = await town.built(serving("api", timeout=0.3, resources=("memory",)))
        await town.settle()
        before, good = await town.units(), town.supervisor._program

        async def deaf(*_: object) -> None:
            await asyncio.sleep(3600)

        town.supervisor._program = deaf
        server.port = 2
        server.server.clear()
        await passes(town, 6)
        assert (await town.build(number)).state == "failed"
        assert await town.units() == before, "what was live goes on"
        assert server.tenants == {SHOP}
        writes = town.store.changes
        await passes(town)
        assert town.store.changes == writes
        town.supervisor._program = good

    async def test_only_what_is_lacking_is_made(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        second = with_second(town)
        await town.built(serving("api", resources=("memory", "second")))
        await town.settle()
        server.calls.clear()
        second.calls.clear()
        second.server.clear()
        await town.settle()
        assert "ensure" not in server.calls
        assert second.calls.count("ensure") == 1

    async def test_who_sleeps_is_provided_when_it_wakes(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        [one] = await town.reconciler.wanted()
        await town.store.write(partial(tenants.change, tenant_id=one.record.id, stopped=True))
        await town.settle()
        server.server.clear()
        await town.settle()
        assert server.tenants == set()
        await town.store.write(partial(tenants.change, tenant_id=one.record.id, stopped=False))
        await town.settle()
        assert server.tenants == {SHOP}
        assert len(await town.units()) == 1

    async def test_a_provisioner_that_is_away_costs_nobody_anything_who_is_live(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        units = await town.units()
        server.problem = Unavailable("memory: the server is down")
        other = await town.built(serving("api"), project="other")
        await town.settle()
        assert (await town.build(other)).state == "done"
        assert await town.units() > units
        assert town.reconciler.troubles == {}
        assert town.reconciler._resources.problems == {"memory": "memory: the server is down"}

    async def test_one_that_cannot_be_made_is_tried_less_and_less_and_told(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        server.server.clear()
        tries = 0

        async def refuse(tenant: Tenant, options: Mapping[str, object]) -> Env:
            nonlocal tries
            tries += 1
            raise Rejected("memory: there is no room left: delete something")

        monkeypatch.setattr(server, "ensure", refuse)
        await passes(town, 20)
        assert 1 <= tries <= 3
        assert town.reconciler.troubles == {SHOP: "memory: there is no room left: delete something"}
        assert len(await town.units()) == 1

    async def test_one_that_does_not_answer_holds_up_a_pass_once_and_briefly(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        answer = asyncio.Event()

        async def slow(tenants: Collection[Tenant]) -> set[Tenant]:
            await answer.wait()
            return set(tenants)

        monkeypatch.setattr(server, "lacking", slow)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await town.reconciler.run_pass()
        first = loop.time() - begun
        for _ in range(10):
            await town.reconciler.run_pass()
        assert 0.4 < first < 2
        assert loop.time() - begun - first < 0.4
        town.reconciler._wake.clear()
        server.server.clear()
        answer.set()
        async with asyncio.timeout(5):
            await town.reconciler._wake.wait()  # a late answer is news
        assert (await town.reconciler.look()).plan.steps[SHOP].provide == ("memory",)

    async def test_a_fault_of_a_plugin_is_told_and_costs_no_pass(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()

        async def broken(tenants: Collection[Tenant]) -> set[Tenant]:
            raise KeyError(tenants)

        monkeypatch.setattr(server, "lacking", broken)
        await town.settle()
        [why] = town.reconciler._resources.problems.values()
        assert "a fault of the plugin (KeyError)" in why


class TestRecords:
    async def test_what_a_manifest_does_not_list_any_more_stays_until_its_tenant_goes(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        second = with_second(town)
        await town.built(serving("api", resources=("memory", "second")), ref=PULL)
        await town.settle()
        await town.built(serving("api", resources=("memory",)), ref=PULL, version=2)
        await town.settle()
        assert (server.tenants, second.tenants) == ({PREVIEW}, {PREVIEW})
        second.server.clear()
        await town.settle()
        assert second.tenants == set(), "nothing that is live asks for it"
        await second.ensure(PREVIEW, {})
        await town.gone(ref=PULL)
        await town.settle()
        assert (server.tenants, second.tenants) == (set(), set())
        assert await recorded(town) == {}

    async def test_a_tenant_is_removed_only_from_where_it_may_have_something(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        second = with_second(town)
        await town.built(serving("api", resources=("memory",)), ref=PULL)
        await town.settle()
        await town.gone(ref=PULL)
        await town.settle()
        assert "remove" in server.calls
        assert "remove" not in second.calls

    async def test_one_that_never_went_live_leaves_nothing(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        good = town.supervisor._program

        async def deaf(*_: object) -> None:
            await asyncio.sleep(3600)

        town.supervisor._program = deaf
        await town.built(serving("api", timeout=0.2, resources=("memory",)), ref=PULL)
        await town.settle()
        assert server.tenants == {PREVIEW}
        await town.gone(ref=PULL)
        await town.settle()
        assert server.tenants == set()
        assert await recorded(town) == {}
        town.supervisor._program = good

    async def test_what_nobody_here_can_remove_is_kept_in_mind_and_told(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        second = with_second(town)
        await town.built(serving("api", resources=("memory", "second")), ref=PULL)
        await town.settle()
        town.others = ()
        town.restarted()
        await town.gone(ref=PULL)
        await passes(town)
        assert (server.tenants, second.tenants) == (set(), {PREVIEW})
        assert await recorded(town) == {PREVIEW: {"second"}}
        assert "[plugins.second]" in town.reconciler.troubles[PREVIEW]
        await town.reconciler.stop()
        town.others = (second,)
        town.restarted()
        await town.settle()
        assert second.tenants == set()
        assert await recorded(town) == {}

    async def test_what_a_database_from_before_knew_nothing_of_is_recorded(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        units = await town.units()
        [one] = await town.reconciler.wanted()
        await town.store.write(partial(provisions.drop, tenant_id=one.record.id, resource="memory"))
        await town.settle()
        assert await recorded(town) == {SHOP: {"memory"}}
        assert await town.units() == units

    async def test_no_secret_is_recorded(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        [url] = found_in(town)
        held = b"".join(file.read_bytes() for file in town.folder.glob("kennel.db*"))
        assert url.encode() not in held


def killed_at(place: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let Kennel be killed at a place, once. Return where the note is made that it was."""
    notes: list[str] = []

    def die(_pid: int, _signal: int) -> None:
        notes.append(place)
        monkeypatch.setattr(crashpoint, "_CHOSEN", "")
        raise Killed

    monkeypatch.setattr(crashpoint, "os", SimpleNamespace(kill=die, getpid=int))
    monkeypatch.setattr(crashpoint, "_left", iter(()))
    monkeypatch.setattr(crashpoint, "_CHOSEN", place)
    return notes


async def dies(town: "Town", notes: list[str]) -> None:
    """Run passes until Kennel is killed; start it anew."""
    async with asyncio.timeout(10):
        while not notes:
            await town.reconciler.run_pass()
            await asyncio.sleep(0.01)
    await town.reconciler.stop()
    town.restarted()


class TestCrashes:
    @pytest.mark.parametrize("place", ["resources-noted", "resources-ensured"])
    async def test_who_is_removed_before_it_was_ever_live_leaves_nothing(
        self,
        town: "Town",
        server: Server,
        serving: "Serving",
        place: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await town.built(serving("api", resources=("memory",)), ref=PULL)
        await dies(town, killed_at(place, monkeypatch))
        assert await recorded(town) == {PREVIEW: {"memory"}}
        assert (server.tenants == {PREVIEW}) is (place == "resources-ensured")
        await town.gone(ref=PULL)
        await town.settle()
        assert server.tenants == set()
        assert await recorded(town) == {}

    @pytest.mark.parametrize("place", ["resources-noted", "resources-ensured"])
    async def test_a_deployment_goes_on(
        self,
        town: "Town",
        server: Server,
        serving: "Serving",
        place: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        number = await town.built(serving("api", resources=("memory",)))
        await dies(town, killed_at(place, monkeypatch))
        await town.settle()
        assert (await town.build(number)).state == "done"
        assert server.tenants == {SHOP}

    @pytest.mark.parametrize(
        "place", ["resources-doubted", "resources-provided", "renewal-recorded"]
    )
    async def test_what_is_live_finds_what_it_was_given_instead(
        self,
        town: "Town",
        server: Server,
        serving: "Serving",
        place: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        server.port = 2
        server.server.clear()
        await dies(town, killed_at(place, monkeypatch))
        await town.settle()
        assert server.tenants == {SHOP}
        [url] = found_in(town)
        assert url.endswith(":2")

    async def test_one_that_was_made_and_not_recorded_is_not_taken_for_what_it_was(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await town.built(serving("api", resources=("memory",)))
        await town.settle()
        server.port = 2
        server.server.clear()
        await dies(town, killed_at("resources-doubted", monkeypatch))
        server.server["elsewhere"] = Box(SHOP)  # it had been made: nothing is lacking any more
        await town.settle()
        [url] = found_in(town)
        assert url.endswith(":2")

    @pytest.mark.parametrize("place", ["resource-removed", "resources-removed", "tenant-forgotten"])
    async def test_a_removal_goes_on(
        self,
        town: "Town",
        server: Server,
        serving: "Serving",
        place: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        second = with_second(town)
        await town.built(serving("api", resources=("memory", "second")), ref=PULL)
        await town.settle()
        await town.gone(ref=PULL)
        await dies(town, killed_at(place, monkeypatch))
        await town.settle()
        assert (server.tenants, second.tenants) == (set(), set())
        assert await recorded(town) == {}

    async def test_who_comes_back_between_is_whole_again(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        second = with_second(town)
        manifest: Manifest = serving("api", resources=("memory", "second"))
        await town.built(manifest, ref=PULL)
        await town.settle()
        await town.gone(ref=PULL)
        await dies(town, killed_at("resource-removed", monkeypatch))
        assert (server.tenants, second.tenants) == (set(), {PREVIEW})
        number = await town.built(manifest, ref=PULL)
        await town.settle()
        assert (await town.build(number)).state == "done"
        assert (server.tenants, second.tenants) == ({PREVIEW}, {PREVIEW})


class TestData:
    """What is in a resource is never lost by what happens elsewhere."""

    async def test_every_name_in_a_manifest_may_change_and_the_data_is_the_same(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        await town.built(serving("api", "web", site=True, resources=("memory",)))
        await town.settle()
        [box] = server.server.values()
        box.text = "orders"
        later = (serving("server"), serving("api", resources=("memory",)), serving(site=True))
        for version, manifest in enumerate(later, 2):
            await town.built(manifest, version=version)
            await town.settle()
            assert [one.text for one in server.server.values()] == ["orders"]
        assert "remove" not in server.calls

    async def test_a_main_that_is_deleted_and_pushed_again_finds_its_data(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        manifest = serving("api", resources=("memory",))
        await town.built(manifest)
        await town.settle()
        [box] = server.server.values()
        box.text = "orders"
        await town.gone()
        await town.settle()
        assert await recorded(town) == {SHOP: {"memory"}}
        await town.built(manifest, version=2)
        await town.settle()
        assert [one.text for one in server.server.values()] == ["orders"]
        assert "remove" not in server.calls

    @pytest.mark.parametrize("name", ["main", "staging", "dev"])
    async def test_what_is_meant_to_last_keeps_its_data_however_long_it_is_idle(
        self, town: "Town", server: Server, serving: "Serving", name: str
    ) -> None:
        ref = Ref.branch(name)
        town.terms_of = policy(Settings()).terms_of
        town.restarted()
        await town.built(serving("api", resources=("memory",)), ref=ref)
        await town.built(serving("api", resources=("memory",)), ref=PULL)
        await town.settle()
        for one in await town.reconciler.wanted():
            change = partial(tenants.change, tenant_id=one.record.id, active_at=1.0)
            await town.store.write(change)
        await town.settle()
        assert server.tenants == {Tenant("shop", ref)}, "the preview expired, and nothing else"

    async def test_a_new_state_database_takes_nothing_away_and_the_data_is_found_again(
        self, town: "Town", server: Server, serving: "Serving"
    ) -> None:
        refs = [Ref.branch(f"b{number}") for number in range(6)]
        manifest = serving("api", resources=("memory",))
        for ref in refs:
            await town.built(manifest, ref=ref)
        await town.settle()
        for box in server.server.values():
            box.text = str(box.tenant)
        await town.reconciler.stop()
        old, town.store = town.store, Store(f"sqlite:///{town.folder}/new.db")
        await town.store.open()
        try:
            town.restarted()
            await passes(town)
            there = Inventory(store=town.store, provisioners={"memory": server})
            found = (await there.resources(None)).resources
            assert [one.orphan for one in found] == [True] * 6
            await town.built(manifest, ref=refs[0])
            await town.settle()
            await town.gone(ref=refs[0])
            await town.settle()
            assert server.tenants == {Tenant("shop", ref) for ref in refs[1:]}
            assert {box.text for box in server.server.values()} == set(map(str, server.tenants))
        finally:
            await town.reconciler.stop()
            await town.store.close()
            town.store = old

    async def test_an_answer_that_is_short_takes_nothing_away(
        self, town: "Town", server: Server, serving: "Serving", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(6):
            ref = Ref.branch(f"b{number}")
            await town.built(serving("api", resources=("memory",)), ref=ref)
        await town.settle()
        units, boxes = await town.units(), dict(server.server)

        async def nothing() -> set[Tenant]:
            return set()

        monkeypatch.setattr(server, "observe", nothing)
        await passes(town)
        assert server.server == boxes
        assert await town.units() == units
        assert "remove" not in server.calls
