"""A real systemd for the tests of this folder."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

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
