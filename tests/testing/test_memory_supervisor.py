"""The supervisor of other people's tests keeps the same contract as the real ones."""

import pytest

from kennel.errors import Unavailable
from kennel.plugin import Supervisor
from kennel.testing.supervisor import (
    MakeSupervisor,
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
