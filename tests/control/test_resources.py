"""What people see of resources, and order to be done with them."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest

from kennel import views
from kennel.commands import Commands
from kennel.domain import Ref, Tenant
from kennel.errors import Conflict, NotFound, Unavailable
from kennel.inventory import Inventory
from kennel.plugin import Command, Order, Resource
from kennel.store import tenants
from kennel.testing import MemoryProvisioner

if TYPE_CHECKING:
    from tests.control.conftest import Office

SHOP = Tenant("shop", Ref.branch("main"))
GONE = Tenant("shop", Ref.pull_request(9))


class Keeper(MemoryProvisioner):
    """A provisioner that can be ordered to keep, and to bring back."""

    commands: ClassVar[Sequence[Command]] = (
        Command(name="keep", help="Keep a box."),
        Command(name="back", help="Bring it back.", argument="WHICH", warning="the box is lost"),
        Command(name="all", help="Keep every box.", ref=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[tuple[str, Order]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def resources(self) -> Sequence[Resource]:
        if self.problem:
            raise self.problem
        return [Resource(tenant=one, name=f"box of {one}", size=7) for one in self.tenants]

    async def command(self, name: str, order: Order, tell: Callable[[str], None]) -> None:
        self.orders.append((name, order))
        tell("one\ntwo")
        await self.go.wait()
        if self.error:
            raise self.error
        tell("three")


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
async def commands(office: "Office", keeper: Keeper) -> Any:
    commands = Commands(
        store=office.store, reconciler=office.reconciler, provisioners={"memory": keeper}
    )
    yield commands
    await commands.stop()


def order(command: str = "keep", **more: Any) -> views.CommandOrder:
    return views.CommandOrder(
        resource="memory", command=command, project="shop", **{"ref": "main", **more}
    )


async def heard(commands: Commands, given: views.CommandOrder) -> list[views.Told]:
    """Carry out a command; return all that is told."""
    accepted = await commands.accept(given)
    lines = [text async for text in commands.carry_out(accepted)]
    return [msgspec.json.decode(text, type=views.Told) for text in lines]


class TestInventory:
    async def test_what_there_is_and_what_is_nobodys(
        self, office: "Office", keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        for tenant in (SHOP, GONE):
            await keeper.ensure(tenant, {})
        asked = Inventory(store=office.store, provisioners={"memory": keeper})
        found = await asked.resources(None)
        assert [(one.ref, one.name, one.size, one.orphan) for one in found.resources] == [
            ("main", "box of shop/main", 7, False),
            ("pr-9", "box of shop/pr-9", 7, True),
        ]
        assert found.unreachable == {}

    async def test_only_those_of_a_project(self, office: "Office", keeper: Keeper) -> None:
        await office.add()
        await keeper.ensure(SHOP, {})
        await keeper.ensure(Tenant("till", Ref.branch("main")), {})
        asked = Inventory(store=office.store, provisioners={"memory": keeper})
        assert [one.project for one in (await asked.resources("shop")).resources] == ["shop"]
        with pytest.raises(NotFound):
            await asked.resources("shap")

    async def test_who_cannot_be_asked_hides_nothing_of_the_others(
        self, office: "Office", keeper: Keeper
    ) -> None:
        class Faulty(Keeper):
            async def resources(self) -> Sequence[Resource]:
                raise KeyError(1)

        away = Keeper()
        away.problem = Unavailable("it is away")
        await keeper.ensure(SHOP, {})
        every = {"memory": keeper, "away": away, "faulty": Faulty()}
        found = await Inventory(store=office.store, provisioners=every).resources(None)
        assert len(found.resources) == 1
        assert found.unreachable == {
            "away": "it is away",
            "faulty": "a fault of the plugin (KeyError): see Kennel's log",
        }

    async def test_who_does_not_answer_is_waited_for_briefly(
        self, office: "Office", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Deaf(Keeper):
            async def resources(self) -> Sequence[Resource]:
                await asyncio.sleep(60)
                return ()

        monkeypatch.setattr("kennel.inventory.LIMIT", 0.1)
        found = await Inventory(store=office.store, provisioners={"deaf": Deaf()}).resources(None)
        assert found.unreachable == {"deaf": "it has not answered for 0.1 s"}


class TestCommands:
    async def test_they_are_listed(self, commands: Commands) -> None:
        listed = commands.commands()
        assert [(one.resource, one.name, one.ref) for one in listed] == [
            ("memory", "keep", True),
            ("memory", "back", True),
            ("memory", "all", False),
        ]

    async def test_one_is_carried_out_and_told_of(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        told = await heard(commands, order())
        assert told == [
            views.Told(line="one"),
            views.Told(line="two"),
            views.Told(line="three"),
            views.Told(over=True),
        ]
        assert keeper.orders == [("keep", Order(project="shop", ref=SHOP.ref))]

    async def test_one_about_a_project(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        await heard(commands, order("all", ref=None))
        assert keeper.orders == [("all", Order(project="shop"))]

    @pytest.mark.parametrize(
        "changes",
        [{"command": "kep"}, {"project": "shap"}, {"ref": "nothing"}, {"resource": "postgres"}],
    )
    async def test_what_is_not_there(
        self, office: "Office", commands: Commands, changes: dict[str, str]
    ) -> None:
        await office.add()
        await office.live()
        with pytest.raises(NotFound):
            await commands.accept(msgspec.structs.replace(order(), **changes))

    @pytest.mark.parametrize(
        "wrong",
        [order("all"), order(ref=None), order(argument="x"), order("back"), order(ref="a b")],
    )
    async def test_what_makes_no_sense(
        self, office: "Office", commands: Commands, keeper: Keeper, wrong: views.CommandOrder
    ) -> None:
        await office.add()
        await office.live()
        with pytest.raises(ValueError, match=r"about|takes no more|confirmed|ref"):
            await commands.accept(wrong)
        assert keeper.orders == []

    async def test_what_cannot_be_undone_once_it_is_confirmed(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        await heard(commands, order("back", argument="monday", confirmed=True))
        assert keeper.orders[0][1].argument == "monday"

    async def test_nothing_of_a_project_that_is_being_removed(
        self, office: "Office", commands: Commands
    ) -> None:
        await office.add()
        await office.live()
        await office.control.remove_project("shop")
        with pytest.raises(Conflict):
            await commands.accept(order())

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (Unavailable("the server is away"), "the server is away"),
            (KeyError(1), "a fault of the plugin (KeyError): see Kennel's log"),
        ],
    )
    async def test_what_failed_says_so(
        self,
        office: "Office",
        commands: Commands,
        keeper: Keeper,
        error: Exception,
        told: str,
    ) -> None:
        await office.add()
        await office.live()
        keeper.error = error
        assert (await heard(commands, order()))[-1] == views.Told(problem=told, over=True)

    async def test_nothing_is_deployed_meanwhile(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        before = set(await office.supervisor.observe())
        keeper.go.clear()
        task = asyncio.create_task(heard(commands, order()))
        while not keeper.orders:
            await asyncio.sleep(0.01)
        live = asyncio.create_task(office.live(version=2))
        await asyncio.sleep(0.3)
        assert set(await office.supervisor.observe()) == before
        assert not live.done()
        keeper.go.set()
        await task
        await live
        assert set(await office.supervisor.observe()) != before

    async def test_another_ref_is_deployed_meanwhile(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        keeper.go.clear()
        task = asyncio.create_task(heard(commands, order()))
        while not keeper.orders:
            await asyncio.sleep(0.01)
        await office.live("dev", version=2)
        keeper.go.set()
        await task

    async def test_what_is_under_way_is_waited_for_and_that_is_told(
        self, office: "Office", commands: Commands, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await office.add()
        await office.live()
        entered, go = asyncio.Event(), asyncio.Event()
        settle = office.reconciler._settler.settle

        async def slow(*given: Any) -> None:
            entered.set()
            await go.wait()
            await settle(*given)

        monkeypatch.setattr(office.reconciler._settler, "settle", slow)
        live = asyncio.create_task(office.live(version=2))
        await entered.wait()
        task = asyncio.create_task(heard(commands, order()))
        await asyncio.sleep(0.2)
        assert keeper.orders == []
        go.set()
        told = await task
        await live
        assert told[0].line == "waiting for what is happening to shop/main"
        assert told[-1] == views.Told(over=True)

    async def test_two_about_one_ref_go_one_after_the_other(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        keeper.go.clear()
        tasks = [asyncio.create_task(heard(commands, order())) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert len(keeper.orders) == 1
        keeper.go.set()
        await asyncio.gather(*tasks)
        assert len(keeper.orders) == 2

    async def test_who_stops_listening_does_not_stop_it(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        keeper.go.clear()
        stream = commands.carry_out(await commands.accept(order()))
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        [task] = commands.running
        keeper.go.set()
        await task
        assert not commands.running
        assert office.reconciler._held == frozenset()

    async def test_when_kennel_stops_that_is_told(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        await office.add()
        await office.live()
        keeper.go.clear()
        task = asyncio.create_task(heard(commands, order()))
        while not keeper.orders:
            await asyncio.sleep(0.01)
        await commands.stop()
        assert "Kennel stops" in (await task)[-1].problem

    async def test_a_ref_that_is_kept_can_still_be_saved(
        self, office: "Office", commands: Commands, keeper: Keeper
    ) -> None:
        added = await office.add()
        await office.live()
        record = await office.store.read(partial(tenants.known, tenant=SHOP))
        await office.store.write(partial(tenants.change, tenant_id=record.id, wanted=False))
        assert added.name == "shop"
        assert (await heard(commands, order()))[-1] == views.Told(over=True)
