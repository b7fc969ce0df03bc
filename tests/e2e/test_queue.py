"""Many pushes, in any order: the newest commit of each ref is live, and built once."""

from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from kennel.build.git import mirror_ref
from kennel.domain import Ref
from kennel.testing.deliveries import ForgejoSender
from kennel.testing.repository import FLAKE

if TYPE_CHECKING:
    from kennel import views
    from kennel.testing.repository import Repository
    from kennel.testing.scene import Scene

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.parametrize("still_scene", ["process"], indirect=True),
]

MANY = "(builtins.genList (x: x) 50000)"
LOOP = f"builtins.foldl' (n: _: builtins.foldl' (n: _: n + 1) n {MANY}) 0 {MANY}"
SLOW = FLAKE.replace("kennel = ", f"kennel = builtins.seq ({LOOP}) ")
"""Takes minutes to evaluate."""


def log(scene: "Scene", build: "views.Build") -> str:
    path = scene.place.state / "logs" / f"{build.id}.log"
    return path.read_text() if path.exists() else ""


def history(scene: "Scene") -> list["views.Build"]:
    """Return the builds of the project, oldest first."""
    return sorted(scene.daemon.builds("shop", limit=100), key=lambda build: build.id)


def deliver(scene: "Scene", repository: "Repository", before: str, after: str) -> None:
    """Deliver once more that somebody pushed a commit to `main`."""
    sender = ForgejoSender(secret=scene.place.secret.read_text().strip(), id=repository.number)
    delivery = sender.pushed("main", before, after)
    answer = httpx.post(repository.webhook, content=delivery.body, headers=delivery.headers)
    assert answer.status_code == 202, answer.text


def test_a_commit_on_two_refs_is_built_once_and_live_twice(scene: "Scene") -> None:
    repository = scene.repository()
    both = ("HEAD:refs/heads/main", "HEAD:refs/heads/change")
    repository.git("push", "--quiet", "origin", *both)
    scene.live("one")
    scene.live("one", ref="change")
    first, second = history(scene)
    assert first.commit == second.commit
    assert "evaluating" in log(scene, first)
    assert f"the same commit was built as build {first.id}" in log(scene, second)
    assert "evaluating" not in log(scene, second)
    repository.push(":refs/heads/change")
    scene.eventually(lambda: {one.ref for one in scene.daemon.status()} == {"main"}, "it goes")
    [main] = [build for build in (first, second) if build.ref == "main"]
    roots, mirror = scene.place.state / "roots", scene.place.state / "mirrors/shop"
    scene.eventually(
        lambda: {path.name for path in roots.iterdir()} == {str(main.id)}, "its roots go", within=10
    )
    refs = partial(repository.git, "for-each-ref", "--format=%(refname)", cwd=mirror)
    scene.eventually(
        lambda: refs().split() == [mirror_ref(Ref.branch("main"))], "its mirror goes", within=10
    )
    scene.settle()
    assert scene.says("one")


def test_of_three_quick_pushes_only_the_last_is_built_to_its_end(scene: "Scene") -> None:
    repository = scene.repository()
    repository.commit({"flake.nix": SLOW})
    repository.push()
    scene.eventually(
        lambda: any("evaluating" in log(scene, build) for build in history(scene)), "it is built"
    )
    repository.commit({"README": "the second"})
    repository.push()
    repository.commit({"flake.nix": FLAKE})
    last = repository.say("three")
    repository.push()
    scene.live("three")
    *others, newest = history(scene)
    assert (newest.commit, newest.state) == (last, "done")
    assert len(others) == 2
    assert {build.state for build in others} == {"cancelled"}
    assert all(build.reason.startswith("superseded by") for build in others)
    nix = [words for words in scene.processes().values() if "nix-build" in words]
    assert nix == []


def test_a_late_delivery_takes_nothing_back_and_force_does(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    one = repository.head("main")
    two = repository.say("two")
    repository.push()
    scene.live("two")
    scene.eventually(lambda: len(scene.services()) == 1, "the old service is stopped")
    before = scene.answer(scene.url("shop"))
    deliver(scene, repository, "0" * 40, one)
    states = ["done", "done", "cancelled"]
    scene.eventually(lambda: [b.state for b in history(scene)] == states, "it is refused")
    assert history(scene)[-1].reason == f"superseded by {two[:12]}"
    deliver(scene, repository, one, two)
    said = f"shop/main has {two[:12]} already"
    scene.eventually(lambda: scene.daemon.deliveries()[0].outcome == said, "it is known")
    assert [b.state for b in history(scene)] == states
    assert scene.answer(scene.url("shop")) == before
    repository.git("reset", "--quiet", "--hard", one)
    repository.push("HEAD:refs/heads/main", "--force")
    scene.live("one")
    *_, newest = history(scene)
    assert newest.commit == one
    assert "evaluating" not in log(scene, newest)
    scene.settle()
