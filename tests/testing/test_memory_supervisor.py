"""The supervisor of other people's tests keeps the same contract as the real ones."""

import asyncio

import httpx
import pytest

from kennel.domain import Unit
from kennel.errors import Unavailable
from kennel.plugin import Supervisor
from kennel.testing.probe import environment
from kennel.testing.supervisor import (
    MakeSupervisor,
    MakeUnit,
    MemoryHost,
    MemorySupervisor,
    SupervisorContract,
)


class TestMemorySupervisor(SupervisorContract):
    @pytest.fixture
    def make_supervisor(self) -> MakeSupervisor:
        host = MemoryHost()
        return lambda: MemorySupervisor(host=host)

    def python(self) -> str:
        raise NotImplementedError  # it runs coroutines

    def unreachable(self) -> Supervisor:
        away = MemorySupervisor()
        away.problem = Unavailable("the host is away")
        return away

    async def elapse(self, supervisor: Supervisor, unit: Unit) -> None:
        assert isinstance(supervisor, MemorySupervisor)
        if unit.name in supervisor.host.units:
            supervisor.elapse(unit.name)
        await asyncio.sleep(0.01)

    async def test_only_what_has_times_can_be_made_to_run(self, make_unit: MakeUnit) -> None:
        supervisor = MemorySupervisor()
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        with pytest.raises(ValueError, match=unit.name):
            supervisor.elapse(unit.name)
        await supervisor.remove(unit.name)

    async def test_its_units_answer_http(self, supervisor: Supervisor, make_unit: MakeUnit) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit, {"GREETING": "hello"}))
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=3)) as client:
            answer = await client.get(f"http://{unit.address}:{unit.port}/health")
        assert answer.status_code == 200
        assert answer.json()["env"]["GREETING"] == "hello"
