"""What becomes of a deployment after it is live: rollback, restart, rest and sleep."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from kennel.cli.demo.visitor import Crowd, Visitor
from kennel.cli.outcome import Failure

if TYPE_CHECKING:
    from kennel.testing.scene import Scene

pytestmark = pytest.mark.timeout(180)
SLEEPS = "\n[environments.preview]\nsleep_after = 2\n"


def states(scene: "Scene", ref: str = "main") -> dict[str, str]:
    return {one.name: one.state for one in scene.status("shop", ref)}


def test_a_rollback_takes_two_seconds_fails_no_request_and_stays(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    repository.say("two")
    repository.push()
    scene.live("two")
    scene.eventually(lambda: len(scene.services()) == 1, "the old service is stopped")
    with Crowd(scene.authority, scene.url("shop")) as crowd:
        begun = time.monotonic()
        back = scene.daemon.rollback("shop", "main", None)
        scene.live("one")
        took = time.monotonic() - begun
        scene.eventually(lambda: scene.daemon.build(back.id).state == "done", "it is recorded")
        time.sleep(1)
    assert took < 2
    assert (crowd.failed, list(crowd.seen)[-1].partition(" ")[0]) == (0, "one")
    assert len(scene.daemon.builds("shop", "main")) == 2
    repository.push("HEAD:refs/heads/other")
    scene.live("two", ref="other")
    assert scene.says("one")
    repository.say("three")
    repository.push()
    scene.live("three")


def test_a_rollback_to_what_was_never_live_says_what_there_is(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    with pytest.raises(Failure, match="no earlier build of shop/main was ever live"):
        scene.daemon.rollback("shop", "main", None)
    with pytest.raises(Failure, match="build 99 of shop/main was never live; there is: none"):
        scene.daemon.rollback("shop", "main", 99)
    with pytest.raises(Failure, match="build 1 of shop/main is live: `kennel redeploy`"):
        scene.daemon.rollback("shop", "main", 1)
    with pytest.raises(Failure, match="nothing is known of shop/nowhere"):
        scene.daemon.rollback("shop", "nowhere", None)


def test_a_restart_brings_new_processes_and_fails_no_request(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    before = scene.answer(scene.url("shop"))
    with Crowd(scene.authority, scene.url("shop")) as crowd:
        build = scene.daemon.restart("shop", "main")
        scene.eventually(lambda: scene.daemon.build(build.id).state == "done", "it is done")
        scene.eventually(lambda: scene.answer(scene.url("shop")) != before, "another answers")
        scene.eventually(lambda: len(scene.services()) == 1, "the old one is stopped")
    assert crowd.failed == 0
    after = scene.answer(scene.url("shop"))
    scene.daemon.redeploy("shop", "main")
    scene.eventually(lambda: scene.daemon.build(build.id).state == "done", "it is done")
    assert scene.answer(scene.url("shop")) == after, "a redeployment replaces what changed only"


def test_what_is_stopped_stays_so_and_says_so_until_it_is_started(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    scene.daemon.stop("shop", "main")
    scene.eventually(lambda: not scene.services(), "its service is stopped")
    assert states(scene) == {"api": "stopped", "docs": "live"}
    visitor = Visitor(scene.authority)
    status, text = visitor.get(scene.url("shop"))
    visitor.close()
    assert status == 503
    assert "stopped" in text.lower()
    assert "Docs" in scene.answer(scene.url("shop", "docs"))
    assert not scene.services()
    repository.say("two")
    repository.push()
    scene.eventually(lambda: scene.state("shop") == "built", "what is pushed waits")
    assert "kennel start" in scene.status("shop")[0].why
    with pytest.raises(Failure, match="is stopped: `kennel start` it first"):
        scene.daemon.restart("shop", "main")
    scene.daemon.start("shop", "main")
    scene.live("two")
    scene.settle()


def test_a_preview_sleeps_and_the_first_of_many_visitors_wakes_it_once(
    still_scene: "Scene",
) -> None:
    scene = still_scene
    scene.place.config.write_text(scene.place.config.read_text() + SLEEPS)
    scene.start()
    repository = scene.repository()
    repository.push("HEAD:refs/heads/change")
    scene.live("one", ref="change")
    url = scene.url("shop", ref="change")
    scene.eventually(lambda: not scene.services(), "nobody asks for it, so it sleeps", within=20)
    assert states(scene, "change") == {"api": "asleep", "docs": "live"}
    begun = time.monotonic()
    assert scene.answer(url).startswith("one ")
    took = time.monotonic() - begun
    assert took < 3
    assert len(scene.services()) == 1
    scene.eventually(lambda: not scene.services(), "it sleeps again", within=20)
    with ThreadPoolExecutor(50) as many:
        answers = set(many.map(lambda _: scene.answer(url), range(200)))
    assert len(answers) == 1, "all of them were answered, by one process"
    assert answers.pop().startswith("one ")
    scene.daemon.pin("shop", "change")
    time.sleep(4)
    assert len(scene.services()) == 1
    scene.settle()


def test_nobody_fails_while_a_preview_sleeps_and_wakes_again_and_again(
    still_scene: "Scene",
) -> None:
    scene = still_scene
    scene.place.config.write_text(scene.place.config.read_text() + SLEEPS.replace("= 2", "= 0.5"))
    scene.start()
    repository = scene.repository()
    repository.push("HEAD:refs/heads/change")
    scene.live("one", ref="change")
    url, seen, asleep = scene.url("shop", ref="change"), set(), 0
    for pause in (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.6, 0.45, 0.55, 2.5):
        time.sleep(pause)
        asleep += states(scene, "change")["api"] == "asleep"
        answer = scene.answer(url)
        assert answer.startswith("one "), answer
        seen.add(answer)
    assert asleep
    assert len(seen) > 1, "it was started more than once"


def test_production_data_is_kept_until_it_is_purged(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    repository.push("HEAD:refs/heads/change")
    scene.live("one")
    scene.live("one", ref="change")
    with pytest.raises(Failure, match="delete the branch"):
        scene.daemon.purge("shop", "main")
    repository.push("HEAD~0:refs/heads/keep")
    repository.git("update-ref", "-d", "refs/heads/main", cwd=repository.bare)
    scene.live("one", ref="keep")
    scene.daemon.deploy("shop", "main")
    scene.eventually(lambda: [d.state for d in scene.status("shop")] == ["kept"], "it is kept")
    assert "kennel purge shop main --yes" in scene.status("shop")[0].why
    scene.daemon.purge("shop", "main")
    scene.eventually(lambda: not scene.status("shop"), "it is forgotten")
    scene.settle()
