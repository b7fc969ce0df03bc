"""The files that say where requests go."""

import asyncio
import grp
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kennel.builtin.caddy.live import Live
from kennel.domain import Files, Ref, Target, Tenant, Upstream, names
from kennel.domain.route import digest_of
from kennel.testing.router import MAIN, OTHER

ONE: dict[str, Target] = {"api": Upstream(port=1), "docs": Files(root="/nix/store/one-docs")}
TWO: dict[str, Target] = {"api": Upstream(port=2), "docs": Files(root="/nix/store/two-docs")}
THREE: dict[str, Target] = {"api": Upstream(port=3)}


@pytest.fixture
def live(tmp_path: Path) -> Live:
    live = Live(tmp_path)
    live.open()
    return live


def generations(live: Live, tenant: Tenant) -> set[str]:
    folder = live.links.parent / "generations" / names.tenant(tenant)
    return {entry.name for entry in folder.iterdir()}


def test_what_caddy_reads(live: Live) -> None:
    live.switch(MAIN, ONE)
    folder = live.links / names.tenant(MAIN)
    assert folder.is_symlink()
    assert (folder / "api.upstream").read_text() == "127.0.0.1:1"
    assert (folder / "docs.site").read_text() == "/nix/store/one-docs"
    assert (folder / "docs.etag").read_text().startswith('W/"')
    assert "one-docs" not in (folder / "docs.etag").read_text()
    assert (folder / "tenant").read_text() == str(MAIN)


def test_the_last_generation_is_kept_for_a_rollback(live: Live) -> None:
    for targets, kept in [
        (ONE, [ONE]),
        (TWO, [ONE, TWO]),
        (THREE, [TWO, THREE]),
        (TWO, [TWO, THREE]),
    ]:
        live.switch(MAIN, targets)
        assert generations(live, MAIN) == {digest_of(one) for one in kept}
        assert live.observe() == {MAIN: digest_of(targets)}


def test_what_a_crash_left_half_done_is_taken_away(live: Live) -> None:
    live.switch(MAIN, ONE)
    name = names.tenant(MAIN)
    (live.links / f".{name}.half").symlink_to("nowhere")
    half = live.links.parent / "generations" / name / ".half"
    half.mkdir()
    (half / "api.upstream").write_text("127.0")
    assert live.observe() == {MAIN: digest_of(ONE)}
    successor = Live(live.links.parent)
    successor.open()
    assert successor.observe() == {MAIN: digest_of(ONE)}
    assert [entry.name for entry in live.links.iterdir()] == [name]
    assert generations(live, MAIN) == {digest_of(ONE)}


def test_damage_is_not_live_and_is_put_right(live: Live) -> None:
    live.switch(MAIN, ONE)
    live.switch(OTHER, ONE)
    folder = (live.links / names.tenant(MAIN)).resolve()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert live.observe() == {OTHER: digest_of(ONE)}
    live.switch(MAIN, ONE)
    assert live.observe() == {MAIN: digest_of(ONE), OTHER: digest_of(ONE)}


def test_what_is_not_kennels_is_not_shown(live: Live) -> None:
    live.switch(MAIN, ONE)
    (live.links / "README").write_text("hello")
    (live.links / "folder").mkdir()
    (live.links / "elsewhere").symlink_to("/etc")
    (live.links / "stolen").symlink_to((live.links / names.tenant(MAIN)).readlink())
    successor = Live(live.links.parent)
    successor.open()
    assert successor.observe() == {MAIN: digest_of(ONE)}


KILLED = """
import sys
from pathlib import Path
from kennel.builtin.caddy.live import Live
from kennel.domain import Ref, Tenant, Upstream
live = Live(Path(sys.argv[1]))
live.open()
number = 0
while True:
    number += 1
    targets = {name: Upstream(port=number % 1000 + 1) for name in "abcdefgh"}
    live.switch(Tenant("shop", Ref.branch("main")), targets)
    if number == 1: print("ready", flush=True)
"""


@pytest.fixture
def switching(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("after", [0.001, 0.004, 0.011, 0.023, 0.05])
def test_a_kill_at_any_point_leaves_a_whole(
    switching: subprocess.Popen[bytes], tmp_path: Path, after: float
) -> None:
    time.sleep(after)
    switching.kill()
    switching.wait()
    tenant = Tenant("shop", Ref.branch("main"))
    folder = tmp_path / "live" / names.tenant(tenant)
    said = {(folder / f"{name}.upstream").read_text() for name in "abcdefgh"}
    assert len(said) == 1
    port = int(said.pop().partition(":")[2])
    successor = Live(tmp_path)
    successor.open()
    expected = digest_of({name: Upstream(port=port) for name in "abcdefgh"})
    assert successor.observe() == {tenant: expected}


def test_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        for group, folders, files in [(-1, 0o755, 0o644), (grp.getgrall()[0].gr_gid, 0o750, 0o640)]:
            live = Live(tmp_path / str(group), group)
            (tmp_path / str(group)).mkdir()
            live.open()
            live.switch(MAIN, ONE)
            folder = (live.links / names.tenant(MAIN)).resolve()
            for place in (live.links, folder, folder.parent, folder.parent.parent):
                assert stat.S_IMODE(place.stat().st_mode) == folders, place
            for file in folder.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == files
    finally:
        os.umask(before)


async def test_a_thousand_tenants_are_observed_in_a_moment(live: Live) -> None:
    tenants = [Tenant("many", Ref.branch(f"feature/{number}")) for number in range(1000)]
    for tenant in tenants:
        live.switch(tenant, ONE)
    successor = Live(live.links.parent)
    assert len(successor.observe()) == 1000
    began = time.perf_counter()
    assert len(await asyncio.to_thread(successor.observe)) == 1000
    assert time.perf_counter() - began < 1
