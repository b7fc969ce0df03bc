"""A provisioner that the start does not wait for."""

import asyncio
from typing import Self

import pytest

from kennel import latecomer
from kennel.domain import Ref, Tenant
from kennel.errors import Rejected, Unavailable
from kennel.latecomer import Latecomer
from kennel.testing import MemoryProvisioner

SHOP = Tenant("shop", Ref.branch("main"))


class Slow(MemoryProvisioner):
    """Opens as soon as it is told, with what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.refusal: Exception | None = None
        self.opens = 0
        self.tasks: list[asyncio.Task[object] | None] = []

    async def __aenter__(self) -> Self:
        self.opens += 1
        await self.go.wait()
        if self.refusal:
            raise self.refusal
        self.tasks.append(asyncio.current_task())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.tasks.append(asyncio.current_task())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latecomer, "PATIENCE", 0.1)
    monkeypatch.setattr(latecomer, "PAUSES", (0.02,))


async def until_here(late: Latecomer) -> None:
    async with asyncio.timeout(5):
        while late._away is not None:
            await asyncio.sleep(0.01)


async def test_one_that_is_there_is_used_at_once() -> None:
    slow = Slow()
    slow.go.set()
    late = Latecomer(slow)
    async with late.opened():
        assert (late.name, late.variables) == (slow.name, slow.variables)
        assert await late.ensure(SHOP, {}) == await slow.ensure(SHOP, {})
        assert await late.lacking({SHOP}) == set()
        assert [one.tenant for one in await late.resources()] == [SHOP]
        await late.remove(SHOP)
        assert await late.observe() == set()
        await late.check()
        with pytest.raises(Rejected):
            late.check_options({"x": 1})
    opened, closed = slow.tasks
    assert opened is closed, "it is closed by the task that opened it"


async def test_one_that_is_slow_is_away_until_it_is_here() -> None:
    slow = Slow()
    late = Latecomer(slow)
    async with late.opened():
        for asked in (late.check(), late.observe(), late.remove(SHOP), late.lacking({SHOP})):
            with pytest.raises(Unavailable, match="memory: it is being opened"):
                await asked
        slow.go.set()
        await until_here(late)
        await late.check()
    assert len(slow.tasks) == 2


async def test_one_that_refuses_soon_is_refused() -> None:
    slow = Slow()
    slow.go.set()
    slow.refusal = Rejected("no such role")
    with pytest.raises(Rejected, match="no such role"):
        async with Latecomer(slow).opened():
            pytest.fail("it is not open")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [(Rejected("no such role"), "no such role"), (KeyError("x"), "a fault of the plugin")],
)
async def test_one_that_refuses_late_says_so_and_is_tried_again(
    refusal: Exception, words: str
) -> None:
    slow = Slow()
    slow.refusal = refusal
    late = Latecomer(slow)
    async with late.opened():
        slow.go.set()
        while slow.opens < 3:
            await asyncio.sleep(0.01)
        with pytest.raises(Rejected, match=words):
            await late.check()
        slow.refusal = None
        await until_here(late)
    assert len(slow.tasks) == 2


async def test_one_that_never_comes_does_not_hold_up_the_end() -> None:
    late = Latecomer(Slow())
    async with asyncio.timeout(2):
        async with late.opened():
            pass
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("open ")]
