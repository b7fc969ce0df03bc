"""Kennel is killed at every step of a deployment's life; the next start ends in the right place."""

from functools import partial
from typing import TYPE_CHECKING

import pytest

from kennel.crashpoint import PLACES, Place

if TYPE_CHECKING:
    from tests.e2e.conftest import Scene

pytestmark = pytest.mark.timeout(180)

GOING: frozenset[Place] = frozenset(
    ["unit-stopped", "generations-dropped", "route-closed", "resources-removed", "tenant-forgotten"]
)
"""Places that are on the way out of a ref, or of an old generation."""


def leftovers(scene: "Scene") -> list[str]:
    """Return what is in the world and not in the store: folders of refs, processes, roots."""
    refs = {(one.project, one.ref) for one in scene.daemon.status()}
    services = [line for line in scene.processes().values() if line.strip().endswith("/bin/api")]
    links = sorted(link.name for link in (scene.place.run / "live").iterdir())
    found = []
    if len(services) != len(refs):
        found.append(f"{len(services)} services for {refs}")
    if len([link for link in links if not link.startswith(".")]) != len(refs):
        found.append(f"{links} for {refs}")
    return found


@pytest.mark.parametrize("place", [place for place in PLACES if place not in GOING])
def test_a_deployment_that_is_cut_off_goes_on(still_scene: "Scene", place: Place) -> None:
    scene = still_scene
    scene.start()
    repository = scene.repository()
    repository.push()
    scene.live("one")
    scene.end()
    times = 2 if place == "unit-started" else 1  # the first is what was live, started again
    scene.start(KENNEL_CRASH_AT=f"{place}:{times}")
    repository.say("two")
    repository.push()
    scene.eventually(scene.has_died, f"it reaches {place}")
    scene.start()
    scene.live("two")
    scene.eventually(partial(nothing_left, scene), "nothing is left over")
    assert scene.state("shop") == "done"


@pytest.mark.parametrize("place", sorted(GOING))
def test_a_removal_that_is_cut_off_goes_on(still_scene: "Scene", place: Place) -> None:
    scene = still_scene
    scene.start()
    repository = scene.repository()
    repository.push()
    repository.push("HEAD:refs/heads/change")
    scene.live("one")
    scene.live("one", ref="change")
    scene.end()
    scene.start(KENNEL_CRASH_AT=place)
    scene.eventually(lambda: scene.has_died() or scene.says("one", ref="change"), "it is up")
    repository.push(":refs/heads/change")
    scene.eventually(scene.has_died, f"it reaches {place}")
    scene.start()
    scene.eventually(
        lambda: {one.ref for one in scene.daemon.status()} == {"main"}, "the ref is forgotten"
    )
    scene.live("one")
    scene.eventually(partial(nothing_left, scene), "nothing is left over")


def nothing_left(scene: "Scene") -> bool:
    return leftovers(scene) == []
