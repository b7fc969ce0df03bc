"""The supervisor of production, on a real systemd."""

from pathlib import Path

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.plugin import Supervisor
from kennel.plugin.settings import Host
from kennel.testing.host import Box
from kennel.testing.supervisor import MakeSupervisor, SupervisorContract

pytestmark = pytest.mark.host


@pytest.fixture
def config(box: Box) -> SystemdConfig:
    return SystemdConfig(
        bus=box.bus, journal=box.journal, restart_delay=0.1, start_limit=3, stop_timeout=0.5
    )


class TestSystemdSupervisor(SupervisorContract):
    @pytest.fixture
    def make_supervisor(self, config: SystemdConfig, host: Host) -> MakeSupervisor:
        return lambda: SystemdSupervisor(config, host)

    def unreachable(self) -> Supervisor:
        host = Host(state_dir=Path("/nowhere"), run_dir=Path("/nowhere"))
        return SystemdSupervisor(SystemdConfig(bus="unix:path=/nowhere/bus"), host)
