"""Kennel is killed at every step of a deployment's life; the next start ends in the right place."""

from typing import TYPE_CHECKING

import pytest

from kennel.crashpoint import PLACES, Place

if TYPE_CHECKING:
    from kennel.testing.scene import Scene

pytestmark = pytest.mark.timeout(300)

on_systemd = pytest.mark.parametrize(
    "still_scene", [pytest.param("systemd", marks=pytest.mark.host)], indirect=True
)
as_processes = pytest.mark.parametrize("still_scene", ["process"], indirect=True)

GOING: tuple[Place, ...] = ("route-closed", "resources-removed", "tenant-forgotten")
"""Places that only a ref that goes passes."""
PROVIDING: tuple[Place, ...] = (
    "resources-doubted",
    "resources-provided",
    "renewal-recorded",
    "resource-removed",
)
"""Places that only a ref with resources passes: see tests/reconcile/test_resources.py."""
STOPPING: tuple[Place, ...] = ("unit-stopped", "generations-dropped")
"""Places that whatever ends passes."""
RESTING: tuple[Place, ...] = ("requests-to-waker", "rest-recorded")
"""Places that only a ref that falls asleep, or is stopped, passes."""
RELEASING: tuple[Place, ...] = ("seed-ended", "seeded", "release-ended", "released")
"""Places that only a commit with a seed or release command passes."""
PUBLISHING: tuple[Place, ...] = ("name-noted", "name-removed")
"""Places that only custom domains pass: see tests/reconcile/test_names.py."""
APART = {*GOING, *STOPPING, *RESTING, *RELEASING, *PROVIDING, *PUBLISHING}
COMING = tuple(place for place in PLACES if place not in APART)


def refs(scene: "Scene") -> set[str]:
    return {one.ref for one in scene.daemon.status()}


def first_of(scene: "Scene", place: Place) -> str:
    """Return the place for a daemon that finds one service live: that is started again first,
    where services end with the daemon.
    """
    return f"{place}:2" if place == "unit-started" and not scene.survives else place


@on_systemd
def test_a_deployment_cut_off_once_goes_on(still_scene: "Scene") -> None:
    scene = still_scene
    scene.start()
    repository = scene.repository()
    repository.push()
    scene.live("one")
    for number, place in enumerate((*COMING, *STOPPING)):
        scene.end()
        scene.start(KENNEL_CRASH_AT=first_of(scene, place))
        repository.say(f"{number}")
        repository.push()
        scene.eventually(scene.has_died, f"it reaches {place}")
        scene.start()
        scene.live(f"{number}")
        scene.settle()
        assert scene.state("shop") == "done", place


@as_processes
def test_a_deployment_cut_off_at_every_place_in_turn_comes_to_its_end(
    still_scene: "Scene",
) -> None:
    scene = still_scene
    scene.start()
    repository = scene.repository()
    repository.push()
    scene.live("one")
    scene.end()
    repository.say("two")
    for number, place in enumerate((*COMING, *STOPPING)):
        scene.start(KENNEL_CRASH_AT=first_of(scene, place))
        if number == 0:
            repository.push()
        scene.eventually(scene.has_died, f"it reaches {place}")
    scene.start()
    scene.live("two")
    scene.settle()
    assert scene.state("shop") == "done"


@on_systemd
def test_a_removal_cut_off_once_goes_on(still_scene: "Scene") -> None:
    scene = still_scene
    scene.start()
    repository = scene.repository()
    repository.push()
    scene.live("one")
    for place in (*GOING, *STOPPING):
        repository.push("HEAD:refs/heads/change")
        scene.live("one", ref="change")
        scene.end()
        scene.start(KENNEL_CRASH_AT=place)
        scene.live("one", ref="change")
        repository.push(":refs/heads/change")
        scene.eventually(scene.has_died, f"it reaches {place}")
        scene.start()
        scene.eventually(lambda: refs(scene) == {"main"}, "the ref is forgotten")
        scene.live("one")
        scene.settle()


@as_processes
def test_a_removal_cut_off_at_every_place_in_turn_comes_to_its_end(still_scene: "Scene") -> None:
    scene = still_scene
    scene.start()
    repository = scene.repository()
    repository.push()
    repository.push("HEAD:refs/heads/change")
    scene.live("one")
    scene.live("one", ref="change")
    scene.end()
    places = ("delivery-applied", "route-closed", *STOPPING, "resources-removed")
    for number, place in enumerate((*places, "tenant-forgotten")):
        scene.start(KENNEL_CRASH_AT=place)
        if number == 0:
            repository.push(":refs/heads/change")
        scene.eventually(scene.has_died, f"it reaches {place}")
    scene.start()
    scene.eventually(lambda: refs(scene) == {"main"}, "the ref is forgotten")
    scene.live("one")
    scene.settle()


def test_a_ref_that_was_cut_off_while_it_is_stopped_comes_to_rest_and_starts_again(
    scene: "Scene",
) -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    for place in (*RESTING, "unit-stopped"):
        scene.end()
        scene.start(KENNEL_CRASH_AT=place)
        scene.live("one")
        scene.daemon.stop("shop", "main")
        scene.eventually(scene.has_died, f"it reaches {place}")
        scene.start()
        scene.eventually(lambda: not scene.services(), "its service is stopped")
        assert {d.state for d in scene.status("shop") if d.kind == "service"} == {"stopped"}
        scene.daemon.start("shop", "main")
        scene.live("one")
        scene.settle()
