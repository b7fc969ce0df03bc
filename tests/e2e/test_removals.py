"""A removal of so much at once that somebody is asked first."""

import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_limits import is_idle_since
from tests.e2e.test_lost_webhooks import kennel

if TYPE_CHECKING:
    from kennel.testing.scene import Scene

pytestmark = pytest.mark.timeout(180)
BRANCHES = ("five", "four", "one", "three", "two")
MONTH = 31 * 24 * 3600.0


def test_many_branches_that_expire_at_once_are_kept_until_somebody_says_so(
    scene: "Scene",
) -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    for branch in BRANCHES:
        repository.push(f"HEAD:refs/heads/{branch}")
    # nobody looks at them: a visit would be remembered
    scene.eventually(lambda: set(states(scene)) == {"done"}, "all of them are live")
    scene.end()
    is_idle_since(scene, time.time() - MONTH, BRANCHES)
    scene.start()
    scene.live("one")
    told = kennel(scene, "status").count(f"{len(BRANCHES)} refs would be removed at once")
    assert told == 2 * len(BRANCHES), "of the service and of the site of each"
    scene.eventually(lambda: len(scene.services()) == 1, "none of them runs any more")
    listed = kennel(scene, "removals")
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [
        ["shop", branch] for branch in BRANCHES
    ]
    repository.say("two")
    repository.push("HEAD:refs/heads/two")
    scene.live("two", ref="two")
    assert len(scene.daemon.removals()) == len(BRANCHES) - 1
    kennel(scene, "removals", "--allow")
    scene.eventually(lambda: is_gone(scene, BRANCHES[:4]), "the others go")
    assert kennel(scene, "removals") == ""
    assert scene.says("one")
    assert scene.says("two", ref="two")
    scene.settle()


def states(scene: "Scene") -> list[str]:
    return [scene.state("shop", branch) for branch in BRANCHES]


def is_gone(scene: "Scene", branches: tuple[str, ...]) -> bool:
    return not {one.ref for one in scene.daemon.status()}.intersection(branches)
