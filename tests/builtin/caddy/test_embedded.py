"""The Caddy that Kennel starts itself: it heals, and it lets nobody else in."""

import asyncio
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from kennel.builtin.caddy import CaddyRouter
from kennel.domain import Route
from kennel.errors import Rejected, Unavailable
from kennel.plugin.settings import Host
from kennel.testing.router import MAIN, OTHER, service
from kennel.testing.serving import serving

HOST = "api.contract.localhost"
TABLE = [service(MAIN, "api", HOST), service(OTHER, "api", "other.contract.localhost")]


def pid_of(router: CaddyRouter) -> int:
    assert router._caddy
    assert router._caddy._process
    return router._caddy._process.pid


async def admin(router: CaddyRouter, method: str, path: str, value: object = None) -> Any:
    """Send something to the admin API as somebody else would."""
    transport = httpx.AsyncHTTPTransport(uds=str(router._folder / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.request(method, path, json=value)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


async def text_of(page: Any) -> str:
    try:
        return str((await page).text)
    except httpx.TransportError:
        return ""


async def routes_of(router: CaddyRouter) -> frozenset[Route] | None:
    try:
        return (await router.observe()).routes
    except Unavailable:
        return None


async def test_it_comes_back_by_itself_with_its_routes(embedded: CaddyRouter, visit: Any) -> None:
    async with serving("alive") as upstream:
        await embedded.switch(MAIN, {"api": upstream})
        await embedded.publish(TABLE)
        killed = pid_of(embedded)
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(10):
            while await text_of(visit(embedded, HOST)) != "alive":
                await asyncio.sleep(0.02)
        assert pid_of(embedded) != killed
        assert (await embedded.observe()).routes == frozenset(TABLE)


async def test_it_comes_back_each_time(embedded: CaddyRouter) -> None:
    await embedded.publish(TABLE)
    for _ in range(3):
        os.kill(pid_of(embedded), signal.SIGKILL)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while await routes_of(embedded) != frozenset(TABLE):
                await asyncio.sleep(0.02)


async def test_it_ends_with_kennel(make_embedded: Any) -> None:
    async with make_embedded() as router:
        pid = pid_of(router)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_one_left_behind_is_ended(make_embedded: Any, place: Path) -> None:
    first = make_embedded()
    await first.__aenter__()
    left = pid_of(first)
    # What a kill of Kennel alone leaves: nobody looks after the process any more.
    first._caddy._keeper.cancel()
    async with make_embedded() as successor:
        assert pid_of(successor) != left
        await successor.publish(TABLE)
        assert (await successor.observe()).routes == frozenset(TABLE)
    await first._caddy._process.wait()
    await first._admin.__aexit__(None, None, None)


@pytest.mark.parametrize("loaded", [{}, {"apps": {}}, {"admin": {"config": {"persist": False}}}])
async def test_a_foreign_configuration_is_replaced(
    embedded: CaddyRouter, visit: Any, loaded: Any
) -> None:
    async with serving("alive") as upstream:
        await embedded.switch(MAIN, {"api": upstream})
        await embedded.publish(TABLE)
        await admin(embedded, "POST", "/load", loaded)
        assert (await embedded.observe()).routes is None
        await embedded.publish(TABLE)
        assert (await embedded.observe()).routes == frozenset(TABLE)
        assert (await visit(embedded, HOST)).text == "alive"


@pytest.mark.parametrize(
    ("method", "path", "value"),
    [
        ("PATCH", "/id/kennel/handle/0/routes/0/match/0/host/0", "elsewhere.example"),
        ("DELETE", "/id/kennel", None),
        ("DELETE", "/config/apps/http/servers/kennel", None),
        ("PUT", "/config/apps/http/servers/kennel/routes/0", {"handle": []}),
    ],
)
async def test_drift_is_seen_and_put_right(
    embedded: CaddyRouter, visit: Any, method: str, path: str, value: Any
) -> None:
    async with serving("alive") as upstream:
        await embedded.switch(MAIN, {"api": upstream})
        await embedded.publish(TABLE)
        assert (await embedded.observe()).routes == frozenset(TABLE)
        await admin(embedded, method, path, value)
        assert (await embedded.observe()).routes is None
        await embedded.publish(TABLE)
        assert (await embedded.observe()).routes == frozenset(TABLE)
        assert (await visit(embedded, HOST)).text == "alive"


async def test_only_kennel_may_give_it_orders(embedded: CaddyRouter, host: Host) -> None:
    for path, mode in [
        (host.run_dir / "caddy" / "admin.sock", 0o600),
        (host.run_dir / "caddy", 0o700),
        (host.state_dir / "caddy", 0o700),
    ]:
        assert stat.S_IMODE(path.stat().st_mode) == mode
    config = await admin(embedded, "GET", "/config/")
    assert config["admin"]["config"] == {"persist": False}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", 2019)


async def test_localhost_is_only_reached_from_this_machine(embedded: CaddyRouter) -> None:
    config = await admin(embedded, "GET", "/config/")
    for server in config["apps"]["http"]["servers"].values():
        for address in server["listen"]:
            assert address.rpartition(":")[0] in ("127.0.0.1", "[::1]")


async def test_a_port_that_is_taken_is_named(make_embedded: Any, ports: tuple[int, int]) -> None:
    with (
        socket.create_server(("127.0.0.1", ports[0])),
        pytest.raises(Rejected, match=rf"port {ports[0]} of .*already in use.*`http_port`"),
    ):
        await make_embedded().__aenter__()


async def test_what_caddy_says_against_a_start_is_passed_on(make_embedded: Any) -> None:
    with pytest.raises(Rejected, match=r"does not start: .*not-a-network"):
        await make_embedded(trusted_proxies=["not-a-network"]).__aenter__()


HALF_STARTED = """\
#!{python}
import os, socket, sys, time

if sys.argv[1] == "version":
    sys.exit(print("v2.10.0"))
server = socket.socket(socket.AF_UNIX)
server.bind(os.environ["CADDY_ADMIN"].removeprefix("unix/").partition("|")[0])
server.listen()
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nnull"
for _ in range(3):
    asked, _ = server.accept()
    asked.recv(65536)
    asked.sendall(answer)
    asked.close()
sys.exit("the configuration is refused")
"""
"""What Caddy does while it loads what it will refuse: its admin API answers with nothing."""


async def test_an_admin_api_that_answers_is_not_yet_a_start(
    make_embedded: Any, place: Path
) -> None:
    slow = place / "caddy"
    slow.write_text(HALF_STARTED.format(python=sys.executable))
    slow.chmod(0o755)
    with pytest.raises(Rejected, match="does not start: the configuration is refused"):
        await make_embedded(binary=str(slow)).__aenter__()


async def test_a_path_too_long_for_a_socket_is_named(make_embedded: Any, place: Path) -> None:
    deep = place / ("x" * 100)
    where = Host(state_dir=place / "state", run_dir=deep)
    with pytest.raises(Rejected, match=r"set `run_dir` in kennel\.toml to a shorter one"):
        await make_embedded(where).__aenter__()


@pytest.mark.parametrize("version", ["v2.6.2 h1:abc=", "2.7.6", "v1.0.4"])
async def test_an_old_version_is_refused(make_embedded: Any, place: Path, version: str) -> None:
    old = place / "caddy"
    old.write_text(f"#!/bin/sh\necho '{version}'\n")
    old.chmod(0o755)
    number = version.partition(" ")[0]
    with pytest.raises(Rejected, match=rf"is Caddy {number}\. Kennel needs Caddy 2\.8 or newer"):
        await make_embedded(binary=str(old)).__aenter__()


async def test_a_program_that_is_missing_is_named(make_embedded: Any) -> None:
    with pytest.raises(Rejected, match=r"no program /nowhere/caddy.*kennel\[embedded\]"):
        await make_embedded(binary="/nowhere/caddy").__aenter__()


async def test_one_on_the_path_is_found(
    caddy_binary: str, make_embedded: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "caddy-of-mine").symlink_to(caddy_binary)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    async with make_embedded(binary="caddy-of-mine") as router:
        await router.check()
