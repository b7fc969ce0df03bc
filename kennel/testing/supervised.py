"""What the tests of all that a supervisor does have in common."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio

from kennel.domain import Unit
from kennel.plugin import Supervisor
from kennel.testing.contract import Contract
from kennel.testing.missing import missing
from kennel.testing.probe import PROBE, eventually, unit_of

MakeSupervisor: TypeAlias = Callable[[], Supervisor]
MakeUnit: TypeAlias = Callable[..., Unit]


class Supervised(Contract):
    """The fixtures of `SupervisorContract`, and what its tests ask for."""

    @pytest.fixture
    def make_supervisor(self) -> MakeSupervisor:
        """Return what makes a supervisor, not yet opened, for one and the same host."""
        self.needs("make_supervisor", returns="what makes a Supervisor: () -> Supervisor")

    def python(self) -> str:
        """Return a Python 3 that units can execute; it must lie where their sandbox sees it."""
        found = Path(sys.executable).resolve()
        if found.is_relative_to("/root") or found.is_relative_to("/home"):
            found = Path("/usr/bin/python3")
        if not found.exists():
            missing(f"{found} is not there: units need a Python outside of home directories")
        return str(found)

    def unreachable(self) -> Supervisor:
        """Return a supervisor, not yet opened, that does not reach what runs its units."""
        raise NotImplementedError

    @pytest.fixture
    def units(self) -> list[Unit]:
        return []

    @pytest.fixture
    def make_unit(self, units: list[Unit]) -> MakeUnit:
        """Return what makes a unit of `PROBE`: (mode, *arguments) -> Unit."""
        try:
            python = self.python()
        except NotImplementedError:
            python = "/no/program"

        def make(mode: str = "serves", *args: str) -> Unit:
            command = (python, "-c", PROBE, mode, *args)
            units.append(unit_of(*command, name=f"probe{len(units)}"))
            return units[-1]

        return make

    @pytest_asyncio.fixture
    async def supervisor(
        self, make_supervisor: MakeSupervisor, units: list[Unit]
    ) -> AsyncIterator[Supervisor]:
        async with make_supervisor() as supervisor:
            yield supervisor
            await asyncio.gather(*(supervisor.remove(unit.name) for unit in units))

    async def logged(self, supervisor: Supervisor, unit: Unit, line: str) -> bool:
        return line in await supervisor.logs(unit.name, 100)

    async def runs(self, supervisor: Supervisor, unit: Unit) -> int:
        """Return how often a unit of `PROBE` was started, by what it wrote."""
        line = f"probe: {unit.command[3]}"
        await eventually(lambda: self.logged(supervisor, unit, line))
        return list(await supervisor.logs(unit.name, 1000)).count(line)


async def seconds(work: Awaitable[object]) -> float:
    """Return how long something takes."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await work
    return loop.time() - before
