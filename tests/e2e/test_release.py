"""A release command: before anything of a commit starts, once, whatever happens to Kennel."""

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from kennel.cli.demo.visitor import Crowd
from kennel.testing.repository import MANIFEST, SERVICE

if TYPE_CHECKING:
    from kennel.crashpoint import Place
    from kennel.testing.repository import Repository
    from kennel.testing.scene import Scene
    from tests.e2e.conftest import Desk

pytestmark = pytest.mark.timeout(300)

COMMAND = """\
import os, sys, urllib.request
if sys.argv[1:2] == ["migrate"]:
    listens = "PORT" in os.environ
    about = f"{TEXT}/{os.environ['KENNEL_REF']}/{os.environ['LEVEL']}/{listens}"
    print("migrating " + about, flush=True)
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[2]}/{about}") as answer:
        status = int(answer.read())
    print(f"migrated with status {status}", flush=True)
    sys.exit(status)
"""


def commit(repository: "Repository", desk: "Desk", text: str, **release: Any) -> str:
    """Commit a version that says a text, with a release command that reports at a desk."""
    first, _, rest = SERVICE.replace('"one"', f'"{text}"').partition("\n")
    api = {**MANIFEST["services"]["api"], "environment": {"LEVEL": "info"}}
    release = {"args": ["migrate", str(desk.port)], **release}
    manifest = {**MANIFEST, "services": {"api": api}, "release": release}
    program = f'{first}\nTEXT = "{text}"\n{COMMAND}{rest}'
    files = {"api/bin/api": program, "kennel.json": json.dumps(manifest)}
    return repository.commit(files)


def migrations(scene: "Scene") -> list[str]:
    """Return the processes of release commands."""
    return [words for words in scene.processes().values() if "/bin/api migrate" in words]


def test_it_runs_once_before_a_version_and_not_when_that_is_deployed_again(
    scene: "Scene", desk: "Desk"
) -> None:
    repository = scene.repository()
    commit(repository, desk, "one")
    repository.push()
    scene.live("one")
    assert desk.of() == ["one/main/info/False"]
    desk.open.clear()
    commit(repository, desk, "two")
    with Crowd(scene.authority, scene.url("shop")) as crowd:
        repository.push()
        scene.eventually(lambda: len(desk.of()) == 2, "the second one migrates")
        assert len(scene.services()) == 1, "nothing of the new version is started yet"
        assert scene.says("one")
        desk.open.set()
        scene.live("two")
    assert crowd.failed == 0
    scene.settle()
    scene.daemon.rollback("shop", "main", None)
    scene.live("one")
    scene.daemon.restart("shop", "main")
    scene.eventually(lambda: scene.daemon.build(1).state == "done", "it is deployed again")
    assert desk.of() == ["one/main/info/False", "two/main/info/False"]
    scene.settle()


@pytest.mark.parametrize(
    ("status", "timeout", "why"),
    [(7, 60, "release: exited with status 7"), (0, 1, "release: it took longer than 1 s")],
)
def test_one_that_does_not_end_well_changes_nothing(
    scene: "Scene", desk: "Desk", status: int, timeout: float, why: str
) -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    before = scene.services()
    desk.status = status
    if not status:
        desk.open.clear()
    commit(repository, desk, "two", timeout=timeout)
    with Crowd(scene.authority, scene.url("shop")) as crowd:
        repository.push()
        scene.eventually(lambda: scene.state("shop") == "failed", "its build fails")
    build = scene.newest("shop")
    assert build is not None
    assert build.reason.startswith(why), build.reason
    assert "migrating two/main/info/False" in build.reason
    assert scene.services() == before
    assert crowd.failed == 0
    scene.eventually(lambda: not migrations(scene), "nothing of it runs")
    scene.settle()


def test_a_kennel_that_is_killed_meanwhile_waits_for_its_end(scene: "Scene", desk: "Desk") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    desk.open.clear()
    commit(repository, desk, "two")
    repository.push()
    scene.eventually(lambda: desk.reports, "it migrates")
    scene.end(signal.SIGKILL)
    time.sleep(0.3)  # the kernel ends what ends with Kennel a moment later
    assert bool(migrations(scene)) is scene.survives
    scene.start()
    if not scene.survives:
        scene.eventually(lambda: len(desk.of()) == 2, "it is run again")
    scene.live("one")
    time.sleep(0.5)
    assert scene.state("shop") == "built"
    desk.open.set()
    scene.live("two")
    assert len(desk.of()) == (1 if scene.survives else 2)
    scene.settle()


RELEASING: tuple["Place", ...] = ("release-ended", "released")


def test_a_kennel_that_is_killed_after_its_end_knows_of_it(scene: "Scene", desk: "Desk") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    for place in RELEASING:
        scene.end()
        scene.start(KENNEL_CRASH_AT=place)
        desk.reports.clear()
        commit(repository, desk, place)
        repository.push()
        scene.eventually(scene.has_died, f"it reaches {place}")
        scene.start()
        scene.live(place)
        known = scene.survives or place == "released"
        assert len(desk.of()) == (1 if known else 2)
        scene.settle()


def test_to_delete_the_ref_meanwhile_wins(scene: "Scene", desk: "Desk") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    desk.open.clear()
    commit(repository, desk, "two")
    repository.push("HEAD:refs/heads/change")
    scene.eventually(lambda: desk.of() == ["two/change/info/False"], "it migrates")
    repository.push(":refs/heads/change")
    scene.eventually(lambda: {d.ref for d in scene.daemon.status()} == {"main"}, "the ref is gone")
    assert not migrations(scene)
    assert scene.state("shop", "change") in {"cancelled", ""}
    scene.settle()


def test_a_newer_push_waits_for_its_end(scene: "Scene", desk: "Desk") -> None:
    repository = scene.repository()
    desk.open.clear()
    commit(repository, desk, "one")
    repository.push()
    scene.eventually(lambda: len(desk.of()) == 1, "it migrates")
    commit(repository, desk, "two")
    repository.push()
    scene.eventually(lambda: scene.state("shop") == "built", "the newer one is built")
    time.sleep(1.5)
    assert desk.of() == ["one/main/info/False"]
    assert len(migrations(scene)) == 1
    desk.open.set()
    scene.live("two")
    assert desk.of() == ["one/main/info/False", "two/main/info/False"]
    scene.settle()
