"""Bots, consumers and what runs at certain times, end to end."""

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from kennel.testing.repository import MANIFEST, SERVICE

if TYPE_CHECKING:
    from kennel import views
    from kennel.testing.repository import Repository
    from kennel.testing.scene import Scene
    from tests.e2e.conftest import Desk

pytestmark = pytest.mark.timeout(300)

PROGRAM = """\
import os, sys, time, urllib.request
def report(*words):
    url = "http://127.0.0.1:" + sys.argv[2] + "/" + "/".join([sys.argv[1], TEXT, *words])
    urllib.request.urlopen(url).close()
if sys.argv[1:2] == ["tick"]:
    report()
    sys.exit(0)
if sys.argv[1:2] == ["bot"]:
    report(str("PORT" in os.environ), os.environ.get("KENNEL_URL", "nowhere").partition("//")[2])
    while True: time.sleep(60)
if sys.argv[1:2] == ["brief"]:
    print("nothing to do", flush=True)
    sys.exit(0)
"""
SLEEPS = "\n[environments.preview]\nsleep_after = 3\n"


def service(desk: "Desk", mode: str, **more: Any) -> dict[str, Any]:
    """Return a service that does not listen. `mode`: what its program does."""
    return {"package": "api", "args": [mode, str(desk.port)], "port": False, **more}


def tick(desk: "Desk", **more: Any) -> dict[str, Any]:
    """Return what reports every second."""
    return {**service(desk, "tick", schedule="*-*-* *:*:*", **more), "port": None}


def commit(repository: "Repository", text: str, services: dict[str, Any], **more: Any) -> str:
    first, _, rest = SERVICE.replace('"one"', f'"{text}"').partition("\n")
    manifest = {"services": services, **more}
    program = f'{first}\nTEXT = "{text}"\n{PROGRAM}{rest}'
    return repository.commit({"api/bin/api": program, "kennel.json": json.dumps(manifest)})


def with_api(desk: "Desk", **more: Any) -> dict[str, Any]:
    """Return a service that listens, one that does not, and one that runs every second."""
    return {
        "api": MANIFEST["services"]["api"],
        "bot": service(desk, "bot", **more),
        "clock": tick(desk, **more),
    }


def running(scene: "Scene", mode: str) -> int:
    return sum(f"/bin/api {mode}" in words for words in scene.processes().values())


def lines(scene: "Scene", ref: str = "main") -> dict[str, "views.Deployment"]:
    return {one.name: one for one in scene.status("shop", ref)}


def test_what_does_not_listen_runs_beside_what_does_and_is_replaced_with_it(
    scene: "Scene", desk: "Desk"
) -> None:
    repository = scene.repository()
    commit(repository, "one", with_api(desk))
    repository.push()
    scene.live("one")
    scene.eventually(lambda: len(desk.of("tick/one")) > 1, "it runs every second")
    host = scene.url("shop").partition("//")[2]
    assert desk.of("bot") == [f"bot/one/False/{host}"]
    seen = lines(scene)
    assert (seen["bot"].state, seen["bot"].url) == ("live", "")
    assert seen["clock"].state in {"scheduled", "live"}
    commit(repository, "two", with_api(desk))
    repository.push()
    scene.live("two")
    scene.eventually(lambda: scene.state("shop") == "done", "it is recorded")
    scene.eventually(lambda: running(scene, "bot") == 1, "the old bot is stopped")
    time.sleep(0.5)
    since = time.monotonic()
    scene.eventually(lambda: len(desk.of("tick", since=since)) > 2, "it still runs every second")
    assert set(desk.of("tick", since=since)) == {"tick/two"}, "the old times are over"
    assert len(desk.of("bot/one")) == len(desk.of("bot/two")) == 1
    scene.settle()


def test_a_worker_goes_live_alone_and_a_bad_one_changes_nothing(
    scene: "Scene", desk: "Desk"
) -> None:
    repository = scene.repository()
    commit(repository, "one", {"bot": service(desk, "bot")})
    repository.push()
    scene.eventually(lambda: scene.state("shop") == "done", "it is live")
    assert desk.of("bot") == ["bot/one/False/"]
    line = lines(scene)["bot"]
    assert (line.state, line.url, line.why) == ("live", "", "")
    begun = time.monotonic()
    commit(repository, "two", {"bot": service(desk, "brief")})
    repository.push()
    scene.eventually(lambda: scene.state("shop") == "failed", "its build fails")
    assert time.monotonic() - begun < 6
    build = scene.newest("shop")
    assert build is not None
    assert build.reason.startswith("bot: it ended before it had run for 2 s")
    assert "nothing to do" in build.reason
    assert running(scene, "bot") == 1
    commit(repository, "three", {"clock": {**tick(desk), "schedule": "every full moon"}})
    repository.push()
    scene.eventually(lambda: "every full moon" in (scene.newest("shop") or build).reason, "so do")
    newest = scene.newest("shop")
    assert newest is not None
    assert "OnCalendar" in newest.reason
    assert running(scene, "bot") == 1


def test_previews_go_without_what_says_so_and_nothing_is_left_of_an_empty_one(
    scene: "Scene", desk: "Desk"
) -> None:
    repository = scene.repository()
    commit(repository, "one", with_api(desk, previews=False))
    repository.push("HEAD:refs/heads/change")
    scene.live("one", ref="change")
    assert set(lines(scene, "change")) == {"api"}
    time.sleep(1.5)
    assert desk.reports == []
    commit(repository, "two", {"bot": service(desk, "bot", previews=False)})
    repository.push("HEAD:refs/heads/empty")
    scene.eventually(lambda: scene.state("shop", "empty") == "cancelled", "there is nothing to run")
    build = scene.newest("shop", "empty")
    assert build is not None
    assert "previews = false" in build.reason
    scene.eventually(
        lambda: {d.ref for d in scene.daemon.status()} == {"change"}, "it is let go of"
    )


def test_who_sleeps_has_neither_bot_nor_clock(still_scene: "Scene", desk: "Desk") -> None:
    scene = still_scene
    scene.place.config.write_text(scene.place.config.read_text() + SLEEPS)
    scene.start()
    repository = scene.repository()
    commit(repository, "one", with_api(desk))
    repository.push("HEAD:refs/heads/change")
    scene.live("one", ref="change")
    scene.eventually(lambda: desk.of("tick"), "it runs every second")
    scene.eventually(lambda: not scene.services(), "nobody asks for it, so it sleeps", within=20)
    scene.eventually(lambda: not running(scene, "bot"), "so does the bot", within=5)
    assert {one.state for one in lines(scene, "change").values()} == {"asleep"}
    time.sleep(0.5)
    since = time.monotonic()
    time.sleep(2)
    assert desk.of("tick", since=since) == []
    begun = time.monotonic()
    scene.live("one", ref="change")
    assert time.monotonic() - begun < 3
    scene.eventually(lambda: running(scene, "bot") == 1, "the bot is back")
    scene.eventually(lambda: desk.of("tick", since=begun), "it runs every second again")
