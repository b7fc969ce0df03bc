"""Pushes and deletions that nobody tells Kennel of."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kennel.testing.missing import missing
from kennel.testing.repository import Repository
from kennel.testing.scene import Scene, process_scene

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def still_scene() -> Iterator[Scene]:
    for program in ("git", "nix"):
        if shutil.which(program) is None:
            missing(f"no {program} here")
    with process_scene() as scene:
        yield scene


@pytest.fixture
def repository(scene: Scene) -> Repository:
    """Give a repository whose `main` is live, and from which no webhook comes any more."""
    repository = scene.repository()
    repository.push()
    scene.live("one")
    (repository.bare / "hooks/post-receive").unlink()
    return repository


def kennel(scene: Scene, *words: str) -> str:
    """Run a command of `kennel`. Return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "kennel", "--config", str(scene.place.config), *words],
        env={"PATH": os.environ["PATH"], "HOME": str(scene.place.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_look_by_hand_brings_what_is_there_and_takes_what_is_gone(
    scene: Scene, repository: Repository
) -> None:
    repository.push("HEAD:refs/heads/fix")
    repository.say("two")
    repository.push()
    said = kennel(scene, "sweep", "shop")
    assert [line.split()[:2] for line in said.splitlines()[1:]] == [
        ["shop", "fix"],
        ["shop", "main"],
    ]
    scene.live("two")
    scene.live("one", ref="fix")
    assert kennel(scene, "sweep") == ""
    repository.push(":refs/heads/fix")
    assert "shop/fix is gone" in kennel(scene, "sweep")
    scene.eventually(lambda: scene.status("shop", "fix") == [], "fix is taken down")
    scene.settle()
    assert scene.says("two")
    assert scene.daemon.health().repairs == 3


def test_what_happened_while_nobody_listened_is_made_up_for_at_start(
    scene: Scene, repository: Repository
) -> None:
    scene.end(signal.SIGKILL)
    repository.say("two")
    repository.push()
    repository.push("HEAD:refs/heads/fix")
    scene.start()
    scene.live("two")
    scene.live("two", ref="fix")
    assert len(scene.daemon.builds("shop", "main")) == 2


def test_it_is_made_up_for_without_anybody_asking(still_scene: Scene) -> None:
    with still_scene.place.config.open("a") as config:
        config.write("\n[sweep]\nevery = 0.5\n")
    still_scene.start()
    repository = still_scene.repository()
    (repository.bare / "hooks/post-receive").unlink()
    repository.push()
    repository.push("HEAD:refs/heads/fix")
    still_scene.live("one")
    still_scene.live("one", ref="fix")
    repository.push(":refs/heads/fix")
    still_scene.eventually(lambda: still_scene.status("shop", "fix") == [], "fix is taken down")
    still_scene.settle()
    assert still_scene.says("one")
