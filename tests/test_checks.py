"""How providers are is found out side by side, and of none for long."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from kennel import checks
from kennel.errors import Rejected, Unavailable
from kennel.testing import MemoryProvisioner

if TYPE_CHECKING:
    from kennel.plugin import Provider


class Deaf(MemoryProvisioner):
    async def check(self) -> None:
        await asyncio.sleep(60)


class Faulty(MemoryProvisioner):
    async def check(self) -> None:
        raise KeyError(1)


def of(problem: Unavailable | Rejected | None) -> MemoryProvisioner:
    one = MemoryProvisioner()
    one.problem = problem
    return one


async def test_what_is_wrong_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LIMIT", 0.2)
    every: list[Provider] = [
        of(None),
        of(Unavailable("nobody listens on /run/x: start it")),
        of(Rejected("version 8: install 9")),
        Deaf(),
        Deaf(),
        Faulty(),
    ]
    begun = asyncio.get_running_loop().time()
    found = await checks.check_all([("provisioner", one) for one in every])
    assert asyncio.get_running_loop().time() - begun < 0.4
    assert [one.problem for one in found] == [
        "",
        "nobody listens on /run/x: start it",
        "version 8: install 9",
        "it has not answered for 0.2 s",
        "it has not answered for 0.2 s",
        "a fault of the plugin (KeyError): see Kennel's log",
    ]
    assert {(one.kind, one.name) for one in found} == {("provisioner", "memory")}
