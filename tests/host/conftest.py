"""A real systemd for the tests of this folder."""

import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.plugin.settings import Host
from kennel.testing.host import Box, NoBox, systemd_box
from kennel.testing.missing import missing


@pytest.fixture(scope="session")
def shared_folder() -> Iterator[Path]:
    """Give a folder that is the same inside and outside of the box, and that anybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="kennel-host-"))
    folder.chmod(0o755)
    (folder / "bound").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def box(shared_folder: Path) -> Iterator[Box]:
    """Give a booted systemd whose units listen on this machine's ports."""
    try:
        with systemd_box(shared_folder / "box", bind=[shared_folder / "bound"]) as box:
            yield box
    except NoBox as reason:
        missing(str(reason))


@pytest.fixture(scope="session")
def systemd_bus(box: Box) -> str:
    """Give the D-Bus address of a real systemd."""
    return box.bus


@pytest.fixture
def host(box: Box, shared_folder: Path) -> Iterator[Host]:
    """Give folders that the box sees, fresh for every test."""
    folder = Path(tempfile.mkdtemp(dir=shared_folder / "bound"))
    for name in ("state", "run"):
        (folder / name).mkdir()
    yield Host(state_dir=folder / "state", run_dir=folder / "run")
    shutil.rmtree(folder)


@pytest.fixture
def config(box: Box) -> SystemdConfig:
    """Give settings with short delays."""
    return SystemdConfig(
        bus=box.bus, journal=box.journal, restart_delay=0.1, start_limit=3, stop_timeout=0.5
    )


@pytest.fixture
async def supervisor(config: SystemdConfig, host: Host) -> AsyncIterator[SystemdSupervisor]:
    """Give a supervisor; what it runs is removed."""
    async with SystemdSupervisor(config, host) as supervisor:
        yield supervisor
        for unit in await supervisor._units.all():  # runs that are over, too
            await supervisor.remove(unit)


@pytest.fixture
def cut() -> Callable[[SystemdSupervisor], None]:
    """Give what breaks a supervisor's connection to D-Bus, as a restart of the daemon does."""

    def cut(supervisor: SystemdSupervisor) -> None:
        bus = supervisor._bus._bus
        if bus and bus.connected and bus._sock:
            bus._sock.shutdown(socket.SHUT_RDWR)

    return cut
