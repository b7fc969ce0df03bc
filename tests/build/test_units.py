"""Builds in transient units of a real systemd, with a real Nix daemon.

The first test boots a box and runs the others of this file in it.
"""

import asyncio
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kennel.store import builds
from kennel.testing.host import NoBox, systemd_box
from kennel.testing.missing import missing

INSIDE = os.environ.get("KENNEL_IN_BOX") == "1"
inside = pytest.mark.skipif(not INSIDE, reason="runs in the box that test_in_a_box boots")


@pytest.mark.skipif(INSIDE, reason="boots the box")
def test_in_a_box() -> None:
    with tempfile.TemporaryDirectory(prefix="kennel-box-") as folder:
        try:
            with systemd_box(Path(folder), network="private") as box:
                here = Path(__file__).parents[2]
                command = f"cd {here} && exec {sys.executable} -m pytest -q -p no:cacheprovider"
                words = f"KENNEL_IN_BOX=1 --basetemp=/var/kennel-test {__file__}".split()
                script = f"{words[0]}; export KENNEL_IN_BOX; {command} {' '.join(words[1:])}"
                done = box.run(["sh", "-c", script], check=False, timeout=110)
        except NoBox as reason:
            missing(str(reason))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.fixture(scope="session")
def daemon() -> Iterator[Mapping[str, str]]:
    """Give the variables of a store that only its daemon may write to."""
    conf = Path("/nix/conf")
    for folder in (Path("/nix/store"), Path("/nix/var/nix/daemon-socket"), conf):
        folder.mkdir(parents=True, exist_ok=True)
    (conf / "nix.conf").write_text(
        "build-users-group =\nsandbox = false\nsubstituters =\nflake-registry =\n"
        "trusted-users = root\n"
    )
    env = {"PATH": os.environ["PATH"], "HOME": "/root", "NIX_CONF_DIR": str(conf)}
    with subprocess.Popen(["nix-daemon"], env={**env, "NIX_REMOTE": "local"}) as process:
        while not Path("/nix/var/nix/daemon-socket/socket").exists():
            assert process.poll() is None
        yield {"NIX_CONF_DIR": str(conf), "NIX_REMOTE": "daemon"}
        process.terminate()


@pytest.fixture
def nix_store(daemon: Mapping[str, str], tmp_path: Path) -> Mapping[str, str]:
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o755)  # the way to the state folder is open, as that of /var/lib/kennel is
    return daemon


def in_units(workshop: Any) -> Any:
    return with_build(workshop, isolation="systemd")


def with_build(workshop: Any, **changed: object) -> Any:
    table = msgspec.structs.replace(workshop.settings.build, **changed)
    settings = msgspec.structs.replace(workshop.settings, build=table)
    return dataclasses.replace(workshop, settings=settings)


def units() -> list[str]:
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "kennel-build-*"]
    return subprocess.check_output(command, text=True).split()


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@inside
async def test_a_build_in_units(workshop: Any, repository: Any, simple_flake: str) -> None:
    workshop = in_units(workshop)
    commit = repository.commit({"flake.nix": simple_flake})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    roots = subprocess.check_output(["nix-store", "--gc", "--print-roots"], text=True)
    assert f"{workshop.places.roots}/{build.id}/result -> {build.outputs.paths['api']}" in roots
    subprocess.run(["nix-store", "--gc"], check=True, capture_output=True)
    assert Path(build.outputs.programs["api"]).exists()
    assert units() == []


@inside
async def test_what_two_refs_share_in_units(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    workshop = in_units(workshop)
    commit = repository.commit({"flake.nix": simple_flake})
    repository.git("branch", "change")
    project = await workshop.project(str(repository.path))
    both = [await workshop.build(project, commit, ref) for ref in ("main", "change")]
    assert [build.state for build in both] == ["built", "built"], [b.reason for b in both]
    assert "the same commit was built as build 1" in workshop.log(2)
    roots = subprocess.check_output(["nix-store", "--gc", "--print-roots"], text=True)
    for build in both:
        path = build.outputs.paths["api"]
        assert f"{workshop.places.roots}/{build.id}/result -> {path}" in roots


@inside
async def test_a_build_that_fails_leaves_no_failed_unit(
    workshop: Any, repository: Any, flake: Any
) -> None:
    """A host with failed units refuses to switch to a new configuration."""
    workshop = in_units(workshop)
    files = {"flake.nix": flake('api = make "api" "exit 3";', "{ services.api = { }; }")}
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "failed", build.reason
    await until(lambda: units() == [])
    failed = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "kennel-*"]
    assert subprocess.check_output(failed, text=True) == ""


@inside
async def test_submodules_in_units(
    workshop: Any, repository: Any, make_repository: Any, flake: Any
) -> None:
    workshop = in_units(workshop)
    library = make_repository("library")
    library.commit({"word": "of the library"})
    repository.git("submodule", "--quiet", "add", "--", "../library", "library")
    packages = 'site = make "site" "mkdir $out; cp ${./library/word} $out/index.html";'
    commit = repository.commit({"flake.nix": flake(packages, "{ sites.site = { }; }")})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason


# Stands in for devenv, and tries what it must not be able to do.
PRYING = """#!/bin/sh
id -u > uid
exec 2> /dev/null
try() { name=$1; shift; "$@" > out-$name && echo "$name" >> could; rm -f out-$name; }
try database cat STATE/secret
try mirrors ls STATE/mirrors/other
try logs ls STATE/logs
try run ls RUN/keys
try environment cat /proc/KENNEL/environ
try etc touch /etc/written
try home ls /root/.
try device ls /dev/sda
try kill kill -0 KENNEL
mkdir result
echo '{"services": {"api": {}}}' > result/kennel.json
cat uid could 2>/dev/null > result/notes
printf '{"scottylabs.kennel.config": "%s"}' "$PWD/result"
cp -r result/. "$HOME/seen"
"""


@inside
@pytest.mark.parametrize("isolation", ["systemd", "process"])
async def test_what_runs_in_a_unit_can_reach_nothing_of_kennel(
    workshop: Any, repository: Any, flake: Any, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "of Kennel itself")
    places = workshop.places
    script = PRYING.replace("STATE", str(places.state)).replace("RUN", str(places.run))
    program = Path("/opt/devenv")
    program.write_text(script.replace("KENNEL", str(os.getpid())))
    program.chmod(0o755)
    workshop = with_build(workshop, isolation=isolation, devenv=str(program))
    for folder in (places.mirrors / "other", places.logs, places.keys):
        folder.mkdir(parents=True)
    (places.state / "secret").write_text("s3cret")
    (places.state / "secret").chmod(0o644)
    seen = places.home("shop", trusted=True) / "seen"
    seen.parent.mkdir(parents=True)
    seen.mkdir()
    seen.chmod(0o777)
    commit = repository.commit({"flake.nix": flake('api = program "api";', ""), "devenv.nix": ""})
    await workshop.project("/nowhere", "other")
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    user, *could = (seen / "notes").read_text().split()
    if isolation == "process":  # which shows that the questions are the right ones
        assert {"database", "mirrors", "logs", "run", "environment", "etc"} <= {*could}
    else:
        assert int(user) >= 60000
        assert could == []


def sleeper(flake: Any) -> dict[str, str]:
    """Return a flake whose build takes ten minutes."""
    script = "touch /tmp/building-$$; sleep 300 & sleep 300; sleep 300"
    return {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}


def running() -> bool:
    marks = (path.name.removeprefix("building-") for path in Path("/tmp").glob("building-*"))
    return any(_command(number) for number in marks)


def _command(number: str) -> bytes:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""


@inside
async def test_cancelling_stops_the_unit_and_what_the_daemon_builds_for_it(
    workshop: Any, repository: Any, flake: Any
) -> None:
    workshop = in_units(workshop)
    commit = repository.commit(sleeper(flake))
    number = await workshop.queue(await workshop.project(str(repository.path)), commit)
    async with workshop.working() as worker:
        await until(running)
        assert units()
        await workshop.store.write(lambda db: builds.cancelled(db, number, reason="", now=2.0))
        worker.wake()
        await until(lambda: not running())
        await until(lambda: units() == [])


KENNEL = """
import asyncio, json, sys
from pathlib import Path
from kennel.build.programs import Programs
from kennel.build.sandbox import Reach, Sandbox

async def ignore(lines): ...

folder = Path(sys.argv[1])
sandbox = Sandbox(hidden=(), memory_max=None, timeout=600)
programs = Programs(folder, sandbox=sandbox)
env = {"PATH": "/usr/bin:/bin"}
asyncio.run(programs.run(7, ["sleep", "300"], env=env, listen=ignore, reach=Reach()))
"""


@inside
async def test_units_that_a_killed_kennel_leaves_are_stopped(workshop: Any) -> None:
    workshop = in_units(workshop)
    folder = str(workshop.places.sessions)
    with subprocess.Popen([sys.executable, "-c", KENNEL, folder]) as kennel:
        await until(units)
        kennel.kill()
    assert units()[0] == "kennel-build-7-1.service"
    async with workshop.working():
        await until(lambda: units() == [])
