"""How Kennel sees who is visited."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kennel.builtin.caddy.live import Live
from kennel.domain import Files, Ref, Socket, Target, Tenant, Upstream, names
from kennel.testing.missing import missing
from kennel.testing.router import MAIN, OTHER, service
from kennel.testing.serving import serving

ONE: dict[str, Target] = {"api": Upstream(port=1), "docs": Files(root="/nix/store/one-docs")}
TWO: dict[str, Target] = {"api": Upstream(port=2), "docs": Files(root="/nix/store/two-docs")}
THREE: dict[str, Target] = {"api": Upstream(port=3)}
ASLEEP: dict[str, Target] = {"api": Socket(path="/run/wake.sock"), "docs": ONE["docs"]}


@pytest.fixture
def live(tmp_path: Path) -> Live:
    live = Live(tmp_path)
    live.open()
    if not live.shows_visits():
        missing(f"{tmp_path} is on a file system without times of reading")
    return live


def read(live: Live, tenant: Tenant, file: str = "api.upstream") -> None:
    (live.links / names.tenant(tenant) / file).read_bytes()


def test_what_is_read_for_visitors_counts(live: Live) -> None:
    for tenant in (MAIN, OTHER):
        live.switch(tenant, ONE)
    assert live.visited() == set()
    for file in ("api.upstream", "docs.site"):
        read(live, MAIN, file)
        assert live.visited() == {MAIN}
        assert live.visited() == set()
    for file in ("docs.etag", "tenant"):
        read(live, MAIN, file)
    live.observe()
    Live(live.links.parent).observe()
    assert live.visited() == set()


def test_all_that_was_read_is_told_at_once(live: Live) -> None:
    live.switch(MAIN, ONE)
    for file in ("api.upstream", "docs.site"):
        read(live, MAIN, file)
    assert live.visited() == {MAIN}
    assert live.visited() == set()


def test_visits_before_a_switch_count(live: Live) -> None:
    for targets in (ONE, TWO):
        live.switch(MAIN, targets)
    read(live, MAIN)
    for targets in (ONE, TWO, THREE, ONE):  # in the end nothing is left of what was read
        live.switch(MAIN, targets)
    assert live.visited() == {MAIN}
    assert live.visited() == set()


def test_a_new_start_knows_of_visits_and_of_no_others(live: Live) -> None:
    for tenant in (MAIN, OTHER):
        live.switch(tenant, ONE)
    read(live, MAIN)
    successor = Live(live.links.parent)
    successor.open()
    assert successor.visited() == {MAIN}
    assert successor.visited() == set()


def test_what_went_to_a_socket_is_not_told(live: Live) -> None:
    live.switch(MAIN, ASLEEP)
    read(live, MAIN)
    assert live.visited() == set()
    read(live, MAIN, "docs.site")
    assert live.visited() == {MAIN}


def test_nothing_is_told_of_who_is_gone(live: Live) -> None:
    for targets in (ONE, TWO, THREE):
        live.switch(MAIN, targets)
        read(live, MAIN)
    live.remove(MAIN)
    assert live.visited() == set()
    live.switch(MAIN, ONE)
    assert live.visited() == set()


def test_none_is_lost_while_somebody_looks(live: Live) -> None:
    """Visits, switches and questions at the same time: each visit is told, sooner or later."""
    told = threading.Event()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            if live.visited():
                told.set()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(400):
            live.switch(MAIN, {"api": Upstream(port=number % 5 + 1)})
            told.clear()
            read(live, MAIN)
            if number % 2:
                live.switch(MAIN, {"api": Upstream(port=number % 7 + 1)})
            assert told.wait(5), number
    finally:
        over.set()
        looking.join()


def test_a_thousand_tenants_are_asked_in_a_moment(live: Live) -> None:
    tenants = [Tenant("many", Ref.branch(f"feature/{number}")) for number in range(1000)]
    for targets in (ONE, TWO):
        for tenant in tenants:
            live.switch(tenant, targets)
    live.visited()
    read(live, tenants[500])
    began = time.perf_counter()
    assert live.visited() == {tenants[500]}
    assert time.perf_counter() - began < 0.5


LOOKS = """
import asyncio, sys
from pathlib import Path
from kennel.builtin.caddy import CaddyRouter, Config
from kennel.plugin.settings import Host

async def look(place, http, https):
    config = Config(http_port=int(http), https_port=int(https), tls="none")
    host = Host(state_dir=place / "state", run_dir=place / "run", domain="localhost")
    async with CaddyRouter(config, host) as router:
        print(await router.visited(), await router.visited())

place = Path(sys.argv[1])
asyncio.run(look(place, *sys.argv[2:]))
print([file.name for file in (place / "run").rglob(".*")])
"""


@pytest.mark.parametrize(
    ("option", "told"), [("noatime", "None None"), ("relatime", "set() set()")]
)
def test_where_no_times_are_kept_it_cannot_be_told(
    place: Path, ports: tuple[int, int], caddy_binary: str, option: str, told: str
) -> None:
    mount = f'mount -t tmpfs -o {option} tmpfs "$1" && exec "$0" -c "$2" "$1" "$3" "$4"'
    ran = subprocess.run(
        [*in_own_mounts(), "sh", "-c", mount, sys.executable, place, LOOKS, *map(str, ports)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == f"{told}\n[]\n", ran.stderr
    warnings = ["relatime" in line for line in ran.stderr.splitlines()]
    assert warnings == ([True] if option == "noatime" else [])


def in_own_mounts() -> list[str]:
    command = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        missing("unshare cannot make a namespace of mounts here")
    return command


async def test_anothers_caddy_must_have_left_a_trace(
    make_grafted: Any, make_foreign: Any, ports: tuple[int, int], visit: Any
) -> None:
    host = "api.contract.localhost"
    async with make_grafted(await make_foreign(server(ports))) as router:
        async with serving("here") as upstream:
            await router.switch(MAIN, {"api": upstream})
            await router.publish([service(MAIN, "api", host)])
            assert await router.visited() is None
            assert (await visit(router, host)).text == "here"
        assert await router.visited() == {MAIN}
        assert await router.visited() == set()


def server(ports: tuple[int, int]) -> dict[str, Any]:
    server = {"listen": [f":{ports[0]}"], "automatic_https": {"disable": True}}
    return {"http": {"servers": {"theirs": server}}}


async def test_what_happened_while_kennel_was_away(
    make_grafted: Any, make_foreign: Any, ports: tuple[int, int], visit: Any
) -> None:
    host = "api.contract.localhost"
    foreign = await make_foreign(server(ports))
    async with serving("here") as upstream:
        async with make_grafted(foreign) as router:
            await router.switch(MAIN, {"api": upstream})
            await router.switch(OTHER, {"api": upstream})
            await router.publish([service(MAIN, "api", host)])
        assert (await visit(router, host)).text == "here"
        async with make_grafted(foreign) as successor:
            assert await successor.visited() == {MAIN}


async def test_a_caddy_that_may_only_read_leaves_no_trace(
    make_grafted: Any,
    make_foreign: Any,
    ports: tuple[int, int],
    visit: Any,
    place: Path,
) -> None:
    """As systemd's ProtectSystem=strict makes it: it must not look as if nobody came."""
    host, run = "api.contract.localhost", place / "run"
    run.mkdir()
    read_only = f'mount --bind {run} {run} && mount -o remount,bind,ro {run} && exec "$@"'
    around = [*in_own_mounts(), "sh", "-c", read_only, "sh"]
    async with make_grafted(await make_foreign(server(ports), around)) as router:
        async with serving("here") as upstream:
            await router.switch(MAIN, {"api": upstream})
            await router.publish([service(MAIN, "api", host)])
            assert (await visit(router, host)).text == "here"
        assert await router.visited() is None


async def test_a_caddy_of_another_user(
    make_grafted: Any, make_foreign: Any, ports: tuple[int, int], visit: Any, place: Path
) -> None:
    if os.geteuid():
        missing("only root can start a Caddy as somebody else")
    nobody = 65534
    host, folder = "api.contract.localhost", place / "foreign"
    folder.mkdir()
    place.chmod(0o755)
    os.chown(folder, nobody, nobody)
    somebody = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    async with make_grafted(await make_foreign(server(ports), somebody)) as router:
        async with serving("here") as upstream:
            await router.switch(MAIN, {"api": upstream})
            await router.publish([service(MAIN, "api", host)])
            assert (await visit(router, host)).text == "here"
        assert await router.visited() == {MAIN}
