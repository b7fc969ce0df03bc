"""A bad version changes nothing for anybody, and what is live and goes bad is seen."""

import json
import os
import re
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kennel.cli.demo.visitor import Crowd
from kennel.testing.repository import PYTHON, SERVICE

if TYPE_CHECKING:
    from kennel import views
    from kennel.testing.repository import Repository
    from kennel.testing.scene import Scene

pytestmark = pytest.mark.timeout(300)

CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")
TALK = "\n".join(f"echo line {number:02}" for number in range(30))
HEAD = f"#!{PYTHON} -S\n"


def manifest(*, timeout: float = 30, **limits: str) -> str:
    ready = {"path": "/health", "timeout": timeout}
    return json.dumps({"services": {"api": {"ready": ready, "limits": limits}}})


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A bad version: its program, why its build fails, and how soon."""

    program: str
    why: str
    within: float
    manifest: str = manifest()


URL = r"GET http://127\.0\.0\.1:\d+/health"
CASES = {
    "it exits 0 at once": Bad(
        program=f"#!/bin/sh\n{TALK}\n",
        why=rf"api: it ended before it was ready: {URL}: nothing listens there",
        within=5,
    ),
    "it crashes again and again": Bad(
        program=f"#!/bin/sh\n{TALK}\nexit 3\n",
        why=rf"api: it (failed|was started again \d times) \(exited with status 3\).*: {URL}: noth",
        within=10,
    ),
    "it never listens": Bad(
        program=f"#!/bin/sh\n{TALK}\nexec sleep 600\n",
        why=rf"api: not ready after 2 s: {URL}: nothing listens there",
        within=8,
        manifest=manifest(timeout=2),
    ),
    "it answers 500": Bad(
        program=SERVICE.replace("send_response(200)", "send_response(500)")
        .replace("print(*words, flush=True)", "pass")
        .replace(
            "Server((", 'for line in range(30): print(f"line {line:02}", flush=True)\nServer(('
        ),
        why=rf"api: not ready after 2 s: {URL}: status 500",
        within=8,
        manifest=manifest(timeout=2),
    ),
    "it takes requests and never answers": Bad(
        program=HEAD + "import os, socket, time\n"
        'for line in range(30): print(f"line {line:02}", flush=True)\n'
        'there = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))\n'
        "time.sleep(600)\n",
        why=rf"api: not ready after 2 s: {URL}: no answer within 5 s",
        within=12,
        manifest=manifest(timeout=2),
    ),
}
HUNGRY = Bad(
    program=HEAD + 'for line in range(30): print(f"line {line:02}", flush=True)\n'
    'hog = b"x" * (256 << 20)\n' + SERVICE.partition("\n")[2],
    why=rf"api: it (failed|was started again \d times) \(it used more memory than it may.*: {URL}",
    within=12,
    manifest=manifest(memory_max="64M"),
)


MOODY = SERVICE.replace(
    "self.send_response(200)",
    """global STATUS
        if self.path.startswith("/become/"): STATUS = int(self.path[8:])
        self.send_response(STATUS if self.path == "/" else 200)""",
).replace('TEXT = "one"', 'TEXT = "one"\nSTATUS = 200')
"""A service whose page answers with the status that was asked for last."""

QUICK = "\n[reconcile]\nevery = 1\n"
"""For kennel.toml: passes follow each other sooner."""


def failed(scene: "Scene", commit: str) -> "views.Build | None":
    build = scene.newest("shop")
    return build if build and (build.commit, build.state) == (commit, "failed") else None


def fails(scene: "Scene", repository: "Repository", bad: Bad) -> "views.Build":
    """Push a bad version. Return its build once it has failed, as it should and as soon."""
    commit = repository.commit({"api/bin/api": bad.program, "kennel.json": bad.manifest})
    repository.push("HEAD:refs/heads/main", "--force")
    begun = time.monotonic()
    scene.eventually(partial(failed, scene, commit), "the build fails")
    took = time.monotonic() - begun
    build = failed(scene, commit)
    assert build is not None
    assert re.match(bad.why, build.reason), build.reason
    assert took < bad.within, f"it took {took:.1f} s: {build.reason}"
    return build


@pytest.mark.parametrize("case", CASES)
def test_a_bad_version_fails_no_request_and_says_why(scene: "Scene", case: str) -> None:
    repository = scene.repository()
    repository.push()
    scene.live("one")
    before = scene.services()
    with Crowd(scene.authority, scene.url("shop")) as crowd:
        build = fails(scene, repository, CASES[case])
        time.sleep(0.5)
    told = build.reason.partition("its last lines:\n")[2]
    said = re.findall(r"line (\d\d)", told)
    assert said == [f"{line:02}" for line in range(30)][-len(said) :]
    assert (len(told.splitlines()), bool(said)) == (20, True)
    assert (crowd.failed, scene.says("one")) == (0, True)
    scene.eventually(lambda: scene.services() == before, "the unit of the bad version is gone")
    scene.settle()
    line = next(one for one in scene.status("shop") if one.name == "api")
    assert (line.state, line.next_state) == ("live", "failed")
    assert line.why.startswith(f"build {build.id}: api: ")


def test_a_version_that_eats_too_much_memory_changes_nothing(scene: "Scene") -> None:
    enforced = CONTROLLERS.exists() and "memory" in CONTROLLERS.read_text().split()
    if scene.survives and not enforced:
        pytest.skip("no cgroup v2 memory controller on this machine: systemd cannot limit it")
    repository = scene.repository()
    repository.push()
    scene.live("one")
    before = scene.services()
    fails(scene, repository, HUNGRY)
    scene.eventually(lambda: scene.services() == before, "the unit of the bad version is gone")
    assert scene.says("one")
    scene.settle()


def three(text: str, *, bad: str = "") -> dict[str, str]:
    """Return the files of a commit with three services, of which one may be bad."""
    services = {name: {"package": "api", "args": [name]} for name in "abc"}
    ends = f"import sys\nif sys.argv[1] == {bad!r}: sys.exit(7)\n"
    first, _, rest = SERVICE.replace('"one"', f'"{text}"').partition("\n")
    return {
        "kennel.json": json.dumps({"services": services, "sites": {"docs": {}}}),
        "api/bin/api": f"{first}\n{ends}{rest}",
        "docs/index.html": f"<h1>{text}</h1>",
    }


def running(scene: "Scene") -> int:
    """Return how many services run that have arguments."""
    return sum("/bin/api " in words for words in scene.processes().values())


def pages(scene: "Scene") -> dict[str, str]:
    return {name: scene.answer(scene.url("shop", name)) for name in ("a", "b", "c", "docs")}


def test_with_one_bad_service_among_three_nothing_is_switched(scene: "Scene") -> None:
    repository = scene.repository()
    repository.commit(three("one"))
    repository.push()
    scene.eventually(lambda: scene.state("shop") == "done", "it is live")
    before = pages(scene)
    assert all(page.startswith(("one ", "<h1>one")) for page in before.values()), before
    with Crowd(scene.authority, scene.url("shop", "a")) as crowd:
        commit = repository.commit(three("two", bad="b"))
        repository.push()
        scene.eventually(partial(failed, scene, commit), "the build fails", within=15)
        time.sleep(0.5)
    assert pages(scene) == before, "the same processes answer"
    assert crowd.failed == 0
    build = scene.newest("shop")
    assert build is not None
    assert re.match(r"b: it .*\(exited with status 7\)", build.reason), build.reason
    scene.eventually(lambda: running(scene) == 3, "the units of the bad version are gone")


# After it went live.


def api(scene: "Scene") -> tuple[str, str]:
    """Return the state of the service and why."""
    found = [(one.state, one.why) for one in scene.status("shop") if one.name == "api"]
    return found[0] if found else ("", "")


@pytest.fixture
def quick(still_scene: "Scene") -> "Scene":
    """Give a scene with a pass a second."""
    config = still_scene.place.config
    text = re.sub(
        r"(\[plugins\.(?:process|systemd)\]\n)", r"\1stop_timeout = 1\n", config.read_text()
    )
    config.write_text(text + QUICK)
    still_scene.start()
    return still_scene


def test_a_service_that_hangs_is_shown_within_a_pass_and_started_anew(quick: "Scene") -> None:
    scene = quick
    scene.repository().push()
    scene.live("one")
    [pid] = scene.services()
    os.kill(pid, signal.SIGSTOP)
    scene.eventually(lambda: api(scene)[0] == "failing", "it is seen", within=1 + 1 + 5 + 3)
    why = api(scene)[1]
    assert re.fullmatch(r"GET http://127\.0\.0\.1:\d+/: no answer within 5 s", why), why
    assert set(scene.services()) == {pid}, "once is not enough to start it anew"
    scene.live("one")
    scene.eventually(lambda: api(scene) == ("live", ""), "it is well again")
    assert set(scene.services()).isdisjoint({pid})
    scene.settle()


def test_a_service_that_answers_with_an_error_is_shown_and_left_alone(quick: "Scene") -> None:
    scene = quick
    repository = scene.repository()
    repository.commit({"api/bin/api": MOODY})
    repository.push()
    scene.live("one")
    before = scene.services()
    assert scene.answer(scene.url("shop") + "/become/503")
    scene.eventually(lambda: api(scene)[0] == "failing", "it is seen", within=5)
    assert re.fullmatch(r"GET http://127\.0\.0\.1:\d+/: status 503", api(scene)[1])
    time.sleep(5)  # some more looks
    assert scene.services() == before
    assert scene.answer(scene.url("shop") + "/become/200")
    scene.eventually(lambda: api(scene) == ("live", ""), "it is well again", within=5)
    assert scene.services() == before
