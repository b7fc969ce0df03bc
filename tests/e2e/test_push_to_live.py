"""From a real push to a URL that answers, and everything that can get in between."""

import json
import os
import re
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kennel.testing.scene import Scene

pytestmark = pytest.mark.timeout(180)


def test_a_push_goes_live_and_a_change_replaces_it(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    assert scene.url("shop").startswith("https://shop-main.localhost:")
    assert "Docs" in scene.answer(scene.url("shop", "docs"))
    repository.say("two")
    repository.push()
    scene.live("two")
    scene.eventually(lambda: len(scene.services()) == 1, "the old service is stopped")


def test_a_push_that_changes_nothing_restarts_nothing(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    before = scene.answer(scene.url("shop"))
    commit = repository.commit({"README.md": "words"})
    repository.push()
    scene.eventually(
        lambda: [d.commit for d in scene.status("shop")] == [commit, commit], "it is live"
    )
    assert scene.answer(scene.url("shop")) == before


def test_previews_come_and_go(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    repository.say("preview")
    repository.push("HEAD:refs/heads/change")
    repository.pull_request(42)
    scene.live("preview", ref="pr-42")
    scene.live("preview", ref="change")
    assert scene.url("shop", ref="pr-42").startswith("https://shop-pr-42.localhost:")
    assert scene.says("one")
    for gone in (":refs/pull/42/head", ":refs/heads/change"):
        repository.push(gone)
    scene.eventually(
        lambda: {d.ref for d in scene.daemon.status()} == {"main"}, "both are gone", within=10
    )
    assert len(scene.services()) == 1
    assert scene.says("one")


def test_a_branch_of_200_characters_gets_a_host_that_fits(scene: "Scene") -> None:
    repository = scene.repository()
    branch = "x" * 100 + "/" + "y" * 99
    repository.push(f"HEAD:refs/heads/{branch}")
    scene.live("one", ref=branch)
    host = scene.url("shop", ref=branch).removeprefix("https://").partition(".")[0]
    assert len(host) == 63


@pytest.mark.parametrize("victim", ["kennel", "caddy", "service"])
def test_what_is_killed_comes_back_by_itself(scene: "Scene", victim: str) -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    before = scene.answer(scene.url("shop"))
    if victim == "kennel":
        scene.end(signal.SIGKILL)
        scene.start()
    else:
        words = {"caddy": r"/caddy run ", "service": r"/bin/api$"}[victim]
        [pid] = [p for p, line in scene.processes().items() if re.search(words, line.strip())]
        os.kill(pid, signal.SIGKILL)
    scene.live("one")
    after = scene.answer(scene.url("shop"))
    same = victim == "caddy" or (victim == "kennel" and scene.survives)
    assert (before == after) is same
    assert "Docs" in scene.answer(scene.url("shop", "docs"))


TWICE = """{ outputs = { self }: {
  kennel.services.api.package = "one";
  kennel.services.api.package = "two";
}; }"""

BROKEN = {
    "a syntax error": ({"flake.nix": "{ outputs = { self }: {"}, r"flake\.nix:1"),
    "no manifest": (
        {"flake.nix": "{ outputs = { self }: { }; }"},
        r"devenv\.nix.*kennel|kennel.*devenv\.nix",
    ),
    "a service that never listens": (
        {
            "api/bin/api": "#!/bin/sh\necho waiting for nothing\nexec sleep 600\n",
            "kennel.json": json.dumps(
                {"services": {"api": {"ready": {"path": "/", "timeout": 1}}}}
            ),
        },
        r"(?s)not ready after 1 s: GET http://127\.0\.0\.1:\d+/: .*\$PORT.*waiting for nothing",
    ),
    "a service that crashes at once": (
        {"api/bin/api": "#!/bin/sh\necho no configuration >&2\nexit 3\n"},
        r"(?s)api: .*exited with status 3.*no configuration",
    ),
    "a service that nobody can execute": (
        {"api/bin/api": "neither a script nor a program\n"},
        r"/bin/api cannot be run: Exec format error|exited with status 12[67]",
    ),
    "a service and a site of one name": (
        {"kennel.json": json.dumps({"services": {"api": {}}, "sites": {"api": {}}})},
        r"services and sites both have .api.: give one",
    ),
    "two services of one name": (
        {"flake.nix": TWICE},
        r"already defined",
    ),
}


def test_a_broken_commit_says_what_to_do_and_costs_nobody_else(scene: "Scene") -> None:
    good, bad = scene.repository("good"), scene.repository("bad")
    bad.push()
    scene.live("one", "bad")
    fine = bad.head("main")
    for number, (fault, (files, expected)) in enumerate(BROKEN.items()):
        bad.git("reset", "--quiet", "--hard", fine)
        commit = bad.commit(files)
        bad.push("HEAD:refs/heads/main", "--force")
        good.say(f"{number}")
        good.push()
        scene.live(f"{number}", "good")
        scene.eventually(partial(failed, scene, commit), f"{fault} fails")
        build = scene.newest("bad")
        assert build is not None
        assert re.search(expected, build.reason), f"{fault}: {build.reason}"
        assert "Traceback" not in build.reason
        assert scene.says("one", "bad"), "what was live stays live"
        scene.settle()


def failed(scene: "Scene", commit: str) -> bool:
    build = scene.newest("bad")
    return build is not None and (build.commit, build.state) == (commit, "failed")


def test_a_stop_leaves_nothing_and_loses_nothing(scene: "Scene") -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    before = scene.services()
    assert scene.end() == 0
    assert scene.processes() == (before if scene.survives else {})
    repository.say("two")
    repository.push()  # its webhook finds nobody
    scene.start()
    scene.live("one")
    scene.daemon.deploy("shop", "main")
    scene.live("two")
