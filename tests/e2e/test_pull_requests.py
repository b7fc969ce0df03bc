"""Pull requests, from the push to the URL and to the end, and what forks may not do."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest

from kennel.cli.demo.visitor import Visitor
from kennel.testing.deliveries import ForgejoSender
from kennel.testing.repository import FLAKE, MANIFEST, OWNER, SERVICE, Repository

if TYPE_CHECKING:
    from kennel.testing.scene import Scene

pytestmark = pytest.mark.timeout(180)
as_processes = pytest.mark.parametrize("still_scene", ["process"], indirect=True)

LABEL = "kennel: deploy"
SOON = 10.0
"""Seconds until everything of a closed pull request has to be gone."""
NAP = 100_000 + os.getpid()
"""Seconds that a slow build takes. No other test's takes as many."""
SLOW_BUILD = FLAKE.replace(
    'api = folder "api" "${./api}"',
    'api = derivation { name = "api"; system = builtins.currentSystem or "x86_64-linux";'
    f' builder = "/bin/sh"; args = [ "-c" "exec /bin/sleep {NAP}" ]; }}',
)
"""A flake whose build takes longer than any test."""
SLOW_START = SERVICE.replace("self.send_response(200)", "self.send_response(503)")
"""A service that says for ever that it is not ready."""


@dataclass
class Forge:
    """A forge with one repository: what is pushed there, and what its webhook tells.

    A pull request that is closed keeps its ref, as at every forge. `clock`: of the newest news.
    """

    scene: "Scene"
    repository: Repository
    clock: int = field(default_factory=lambda: int(time.time()))

    def push(self, number: int) -> str:
        """Push what is committed to a pull request, wherever it is from. Return the commit."""
        self.repository.push(f"HEAD:refs/pull/{number}/head", "--force")
        return self.repository.git("rev-parse", "HEAD")

    def tell(
        self,
        number: int,
        action: str,
        *labels: str,
        fork: bool = False,
        late: int = 0,
        base: str = "",
    ) -> str:
        """Deliver what is told of a pull request. Return its head.

        `late`: by how many seconds it is older than the newest news. `base`: what it was until now.
        """
        self.clock += 0 if late else 1
        commit = self.repository.git(
            "rev-parse", f"refs/pull/{number}/head", cwd=self.repository.bare
        )
        at = datetime.fromtimestamp(self.clock - late, tz=UTC)
        delivery = self.sender.pull_request(
            number,
            action,
            commit,
            fork=fork,
            labels=labels,
            fields={"updated_at": at.isoformat()},
            changes={"ref": {"from": base}} if base else None,
        )
        url = self.repository.webhook
        answer = httpx.post(url, content=delivery.body, headers=delivery.headers, trust_env=False)
        assert answer.status_code == 202, answer.text
        return commit

    def outcome(self) -> str:
        """Return what became of the newest delivery."""
        self.scene.eventually(lambda: self.scene.daemon.deliveries(1)[0].outcome, "it is handled")
        return self.scene.daemon.deliveries(1)[0].outcome

    @property
    def sender(self) -> ForgejoSender:
        return ForgejoSender(
            secret=self.repository.secret.read_text().strip(),
            id=self.repository.number,
            full_name=f"{OWNER}/{self.repository.name}",
            clone_url=f"http://forge.localhost/{OWNER}/{self.repository.name}.git",
        )


@pytest.fixture
def forge(scene: "Scene") -> Forge:
    """Give a forge with a repository whose `main` is live."""
    repository = scene.repository()
    repository.push()
    scene.live("one")
    (repository.bare / "hooks/post-receive").unlink()
    return Forge(scene, repository)


def rows(scene: "Scene", ref: str) -> dict[str, int]:
    """Return how many rows of each table are about a ref, of those that say what should be."""
    with closing(sqlite3.connect(scene.place.state / "kennel.db")) as store:
        mine = "FROM {} x JOIN tenants t ON t.id = x.tenant_id WHERE t.ref = ?"
        about = {name: mine.format(name) for name in ("generations", "deployments", "hosts")}
        about["tenants"] = "FROM tenants WHERE ref = ?"
        return {
            table: store.execute(f"SELECT count(*) {rest}", (ref,)).fetchone()[0]
            for table, rest in about.items()
        }


def answers(scene: "Scene", url: str) -> int:
    """Return the status that a URL answers with."""
    visitor = Visitor(scene.authority)
    try:
        return visitor.get(url)[0]
    finally:
        visitor.close()


def is_gone(scene: "Scene", number: int) -> bool:
    """Return whether nothing is left of a pull request: not in the world, and not in the store."""
    units = [words for words in scene.processes().values() if f"shop-pr-{number}-" in words]
    env = [path.name for path in (scene.place.run / "env").glob(f"*shop-pr-{number}-*")]
    left = rows(scene, f"refs/pull/{number}/head")
    return not units and not env and not any(left.values()) and not scene.leftovers()


def goes(scene: "Scene", number: int) -> float:
    """Wait until nothing is left of a pull request. Return the seconds that took."""
    begun = time.monotonic()
    scene.eventually(lambda: is_gone(scene, number), f"pr-{number} is gone", within=SOON)
    return time.monotonic() - begun


def kennel(scene: "Scene", *words: str) -> str:
    """Run a command of `kennel`. Return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "kennel", "--config", str(scene.place.config), *words],
        env={"PATH": os.environ["PATH"], "HOME": str(scene.place.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_pull_request_answers_from_its_beginning_to_its_end(forge: Forge) -> None:
    scene, repository = forge.scene, forge.repository
    repository.say("two")
    forge.push(5)
    forge.tell(5, "opened")
    scene.live("two", ref="pr-5")
    url = scene.url("shop", ref="pr-5")
    assert url.startswith("https://shop-pr-5.localhost:")
    repository.say("three")
    forge.push(5)
    forge.tell(5, "pushed")
    scene.live("three", ref="pr-5")
    scene.eventually(lambda: scene.state("shop", "pr-5") == "done", "it is recorded")
    before = scene.daemon.builds("shop", "pr-5")
    forge.tell(5, "edited", base="develop")
    forge.tell(5, "labelled", "bug")
    forge.outcome()
    assert scene.daemon.builds("shop", "pr-5") == before, "another base or label builds nothing"
    forge.tell(5, "closed")
    goes(scene, 5)
    assert answers(scene, url) == 404
    assert scene.says("one"), "production does not notice"


def test_one_that_is_reopened_at_the_same_commit_answers_again(forge: Forge) -> None:
    scene, repository = forge.scene, forge.repository
    repository.say("two")
    forge.push(5)
    forge.tell(5, "opened")
    scene.live("two", ref="pr-5")
    url = scene.url("shop", ref="pr-5")
    forge.tell(5, "closed")
    goes(scene, 5)
    forge.tell(5, "reopened")
    scene.live("two", ref="pr-5")
    assert scene.url("shop", ref="pr-5") == url
    forge.tell(5, "closed")
    forge.tell(5, "reopened")  # while it is taken away
    scene.eventually(lambda: len(scene.daemon.builds("shop", "pr-5")) == 3, "it is built again")
    scene.live("two", ref="pr-5")
    scene.settle()
    forge.tell(5, "closed")
    goes(scene, 5)
    for late in (1, 2):
        forge.tell(5, "pushed", late=late)
        assert forge.outcome() == "ignored: it is older than the end of pr-5"
    assert is_gone(scene, 5)


@as_processes
def test_what_is_closed_while_it_is_built_never_answers(forge: Forge) -> None:
    scene, repository = forge.scene, forge.repository
    repository.commit({"flake.nix": SLOW_BUILD})
    forge.push(5)
    forge.tell(5, "opened")
    scene.eventually(naps, "it is being built")
    forge.tell(5, "closed")
    goes(scene, 5)
    scene.eventually(lambda: not naps(), "the build is ended", within=SOON)
    assert scene.state("shop", "pr-5") == "cancelled"
    assert scene.says("one")


def naps() -> list[str]:
    """Return the processes of slow builds."""
    found = subprocess.run(
        ["pgrep", "-af", f"^/bin/sleep {NAP}"], check=False, capture_output=True, text=True
    )
    return found.stdout.splitlines()


@as_processes
def test_what_is_closed_while_it_is_deployed_never_answers(forge: Forge) -> None:
    scene, repository = forge.scene, forge.repository
    slow = {"services": {"api": {"ready": {"path": "/", "timeout": 120}}}, "sites": {}}
    repository.commit({"api/bin/api": SLOW_START, "kennel.json": json.dumps(slow)})
    forge.push(5)
    forge.tell(5, "opened")
    scene.eventually(lambda: len(scene.services()) == 2, "its service is started")
    assert scene.state("shop", "pr-5") == "built"
    forge.tell(5, "closed")
    goes(scene, 5)
    assert scene.state("shop", "pr-5") == "cancelled"
    assert scene.says("one")


CUTS = ("delivery-applied", "route-closed", "unit-stopped", "resources-removed", "tenant-forgotten")


@as_processes
@pytest.mark.parametrize("place", CUTS)
def test_an_end_that_is_cut_off_goes_on_at_the_next_start(forge: Forge, place: str) -> None:
    scene, repository = forge.scene, forge.repository
    repository.say("two")
    forge.push(5)
    forge.tell(5, "opened")
    scene.live("two", ref="pr-5")
    url = scene.url("shop", ref="pr-5")
    scene.end()
    scene.start(KENNEL_CRASH_AT=place)
    scene.live("two", ref="pr-5")
    forge.tell(5, "closed")
    scene.eventually(scene.has_died, f"it reaches {place}")
    scene.start()
    goes(scene, 5)
    assert scene.answer(url) == ""
    scene.live("one")


def test_a_fork_waits_until_somebody_approves_of_a_commit(forge: Forge) -> None:
    scene, repository = forge.scene, forge.repository
    repository.say("two")
    repository.commit(
        {
            "kennel.toml": '[previews]\napproval_label = "bug"\n',
            "kennel.json": json.dumps({**MANIFEST, "trusted": True, "approved": "*"}),
        }
    )
    first = forge.push(5)
    forge.tell(5, "opened", fork=True)
    scene.eventually(lambda: scene.status("shop", "pr-5"), "it is shown")
    [line] = scene.status("shop", "pr-5")
    assert (line.state, line.url) == ("waiting", "")
    assert line.why == (
        f"waits for approval of {first[:12]}: set the label {LABEL!r},"
        " or `kennel approve shop pr-5`"
    )
    assert "waits for approval" in kennel(scene, "status", "shop")
    for action in ("pushed", "reopened"):
        forge.tell(5, action, fork=True)
        assert "waits for approval" in forge.outcome()
    assert scene.daemon.builds("shop", "pr-5") == [], "nothing is built"
    assert not is_fetched(scene, first), "nothing is fetched"
    repository.commit({"kennel.json": json.dumps(MANIFEST)})
    second = forge.push(5)
    forge.tell(5, "pushed", fork=True)
    forge.tell(5, "labelled", LABEL, fork=True)
    scene.live("two", ref="pr-5")
    [build] = scene.daemon.builds("shop", "pr-5")
    assert (build.commit, build.trusted) == (second, False)
    repository.say("three")
    third = forge.push(5)
    forge.tell(5, "pushed", LABEL, fork=True)
    assert "waits for approval" in forge.outcome()
    assert not is_fetched(scene, third)
    assert scene.says("two", ref="pr-5"), "what is live stays"
    assert any(f"approval of {third[:12]}" in one.why for one in scene.status("shop", "pr-5"))
    assert len(scene.daemon.builds("shop", "pr-5")) == 1
    forge.tell(5, "closed", fork=True)
    goes(scene, 5)


def test_a_fork_is_approved_by_hand(forge: Forge) -> None:
    scene, repository = forge.scene, forge.repository
    repository.say("two")
    first = forge.push(5)
    forge.tell(5, "opened", fork=True)
    scene.eventually(lambda: scene.status("shop", "pr-5"), "it is shown")
    assert "by now, not" in kennel(scene, "approve", "shop", "pr-5", "--commit", "0" * 40)
    assert scene.daemon.builds("shop", "pr-5") == []
    said = kennel(scene, "approve", "shop", "pr-5", "--commit", first[:10])
    assert f"ommit {first[:12]} of shop/pr-5 is approved: build" in said
    scene.live("two", ref="pr-5")
    repository.say("three")
    forge.push(5)
    forge.tell(5, "pushed", fork=True)
    assert "waits for approval" in forge.outcome()
    kennel(scene, "approve", "shop", "pr-5", "--always")
    scene.live("three", ref="pr-5")
    repository.say("four")
    forge.push(5)
    forge.tell(5, "pushed", fork=True)
    scene.live("four", ref="pr-5")
    kennel(scene, "approve", "shop", "pr-5", "--withdraw")
    repository.say("five")
    forge.push(5)
    forge.tell(5, "pushed", fork=True)
    assert "waits for approval" in forge.outcome()
    assert scene.says("four", ref="pr-5")
    assert [one.trusted for one in scene.daemon.builds("shop", "pr-5")] == [False] * 3


def is_fetched(scene: "Scene", commit: str) -> bool:
    """Return whether a commit is anywhere among what Kennel keeps of repositories."""
    found = [path.parent for path in scene.place.state.glob("**/HEAD")]
    assert found, "the mirror of main was searched"
    return any(
        subprocess.run(
            ["git", "-C", str(mirror), "cat-file", "-e", commit],
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_COUNT": "1"}
            | {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
            capture_output=True,
            check=False,
        ).returncode
        == 0
        for mirror in found
    )
