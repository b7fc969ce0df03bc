"""Kennels that are pushed to, with services as processes and as units of a real systemd."""

import shutil
from collections.abc import Iterator

import pytest

from kennel.testing.host import NoBox
from kennel.testing.host_scene import HostScene
from kennel.testing.host_scene import host_scene as host_scenes
from kennel.testing.machine import Machine
from kennel.testing.machine import machine as booted
from kennel.testing.missing import missing
from kennel.testing.scene import Scene, process_scene


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Boot a machine with a real systemd and a Nix daemon."""
    try:
        with booted() as machine:
            yield machine
    except NoBox as reason:
        missing(str(reason))


@pytest.fixture
def host_scene(machine: Machine) -> Iterator[HostScene]:
    """Give a place with a daemon that runs services as units of a real systemd."""
    with host_scenes(machine) as scene:
        scene.start()
        yield scene


SUPERVISORS = ["process", pytest.param("systemd", marks=pytest.mark.host)]


@pytest.fixture(params=SUPERVISORS)
def still_scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Give a place whose daemon is not started yet, with every supervisor."""
    for program in ("git", "nix"):
        if shutil.which(program) is None:
            missing(f"no {program} here")
    if request.param == "systemd":
        with host_scenes(request.getfixturevalue("machine")) as scene:
            yield scene
    else:
        with process_scene() as scene:
            yield scene


@pytest.fixture
def scene(still_scene: Scene) -> Scene:
    """Give a place with a daemon that runs, with every supervisor."""
    still_scene.start()
    return still_scene
