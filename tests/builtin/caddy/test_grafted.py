"""A Caddy that is somebody else's: Kennel's part is in it, and nothing else changes."""

import asyncio
import copy
import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from kennel.builtin.caddy import CaddyRouter, Config
from kennel.builtin.caddy.graft import Graft, server_on
from kennel.errors import Rejected
from kennel.plugin.settings import Host
from kennel.testing.router import MAIN, OTHER, service
from kennel.testing.serving import serving

HOST, THEIRS = "api.contract.localhost", "wiki.contract.localhost"
TABLE = [service(MAIN, "api", HOST)]
MORE = [*TABLE, service(OTHER, "api", "other.contract.localhost")]


def says(text: str, *hosts: str) -> dict[str, Any]:
    match = {"match": [{"host": list(hosts)}]} if hosts else {}
    return {**match, "handle": [{"handler": "static_response", "body": text}], "terminal": True}


def server(port: int, *routes: dict[str, Any]) -> dict[str, Any]:
    return {
        "listen": [f":{port}"],
        "routes": list(routes),
        "automatic_https": {"disable": True},
    }


def without_kennel(value: Any) -> Any:
    """Return a configuration without everything that is marked as Kennel's."""
    if isinstance(value, dict):
        return {k: without_kennel(v) for k, v in value.items() if not is_kennels(v)}
    if isinstance(value, list):
        return [without_kennel(v) for v in value if not is_kennels(v)]
    return value


def is_kennels(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("@id", "")).startswith("kennel")


async def test_others_are_served_as_before(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int], visit: Any
) -> None:
    routes = [says("the wiki", THEIRS), says("a wildcard", "*.contract.localhost")]
    theirs = {"http": {"servers": {"srv7": server(ports[0], *routes), "srv0": server(ports[1])}}}
    foreign = await make_foreign(theirs)
    async with make_grafted(foreign) as router, serving("deployed") as upstream:
        await router.switch(MAIN, {"api": upstream})
        for table in (TABLE, MORE, TABLE):
            await router.publish(table)
            config = await foreign.get()
            assert without_kennel(config) == foreign.config
            names = [
                route.get("@id") for route in config["apps"]["http"]["servers"]["srv7"]["routes"]
            ]
            assert names == ["kennel", None, None, "kennel-unknown"]
            assert (await visit(router, HOST)).text == "deployed"
            assert (await visit(router, THEIRS)).text == "the wiki"
            assert (await visit(router, "any.contract.localhost")).text == "a wildcard"
        await router.publish([])
        assert await foreign.get() == foreign.config


async def test_routes_that_contradict_each_other_break_nothing(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int], visit: Any
) -> None:
    """The store sees to it that there are none; if there were, one of them is served."""
    foreign = await make_foreign({"http": {"servers": {"srv0": server(ports[0])}}})
    table = [*TABLE, service(OTHER, "api", HOST), service(OTHER, "none")]
    async with make_grafted(foreign, tls="none") as router:
        await router.publish(table)
        assert (await router.observe()).routes == frozenset(table)
        assert (await visit(router, HOST)).status == 503
    config = Config(admin=foreign.admin, tls="internal")
    graft = Graft(config=config, live=Path("/live"), domain="contract.localhost", permission="")
    policy = graft.document({}, table)["apps"]["tls"]["automation"]["policies"][0]
    assert policy["subjects"] == [HOST]


async def test_what_nobody_has_is_404_below_kennels_domain_only(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int], visit: Any
) -> None:
    foreign = await make_foreign({"http": {"servers": {"theirs": server(ports[0])}}})
    async with make_grafted(foreign) as router:
        await router.publish(TABLE)
        assert (await visit(router, "nobody.contract.localhost")).status == 404
        assert (await visit(router, "elsewhere.example")).status == 200


async def test_without_a_server_kennel_makes_one(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int], visit: Any
) -> None:
    foreign = await make_foreign({})
    async with make_grafted(foreign) as router, serving("deployed") as upstream:
        await router.switch(MAIN, {"api": upstream})
        await router.publish(TABLE)
        assert (await visit(router, HOST)).text == "deployed"
        assert without_kennel(await foreign.get())["apps"] == {"http": {"servers": {}}}
        await router.publish([])
        assert (await foreign.get())["apps"] == {"http": {"servers": {}}}


@pytest.mark.parametrize("empty", [None, {}, {"apps": {}}])
async def test_a_caddy_without_any_configuration(
    make_foreign: Any, make_grafted: Any, visit: Any, empty: Any
) -> None:
    foreign = await make_foreign({})
    admin = {"admin": foreign.config["admin"]}
    await foreign.send("POST", "/load", {**admin, **(empty or {})})
    async with make_grafted(foreign) as router:
        await router.publish(TABLE)
        assert (await router.observe()).routes == frozenset(TABLE)
        assert (await visit(router, HOST)).status == 503


async def test_a_reload_by_somebody_is_put_right(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int], visit: Any
) -> None:
    foreign = await make_foreign({"http": {"servers": {"srv0": server(ports[0])}}})
    async with make_grafted(foreign) as router, serving("deployed") as upstream:
        await router.switch(MAIN, {"api": upstream})
        await router.publish(TABLE)
        changed = copy.deepcopy(foreign.config)
        changed["apps"]["http"]["servers"] = {"renamed": server(ports[0], says("new", THEIRS))}
        await foreign.send("POST", "/load", changed)
        assert (await router.observe()).routes is None
        await router.publish(TABLE)
        assert (await router.observe()).routes == frozenset(TABLE)
        assert (await visit(router, HOST)).text == "deployed"
        assert (await visit(router, THEIRS)).text == "new"
        assert without_kennel(await foreign.get()) == changed


@pytest.mark.parametrize(
    "drift",
    [
        ("DELETE", "/id/kennel", None),
        ("DELETE", "/id/kennel-unknown", None),
        ("PUT", "/config/apps/http/servers/srv0/routes/0", says("a thief")),
        ("PATCH", "/id/kennel", {"@id": "kennel", **says("a thief")}),
        ("POST", "/id/kennel/terminal", False),
    ],
)
async def test_drift_is_put_right(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int], visit: Any, drift: Any
) -> None:
    foreign = await make_foreign({"http": {"servers": {"srv0": server(ports[0])}}})
    async with make_grafted(foreign) as router, serving("deployed") as upstream:
        await router.switch(MAIN, {"api": upstream})
        await router.publish(TABLE)
        await foreign.send(*drift)
        assert (await router.observe()).routes is None
        await router.publish(TABLE)
        assert (await router.observe()).routes == frozenset(TABLE)
        assert (await visit(router, HOST)).text == "deployed"


async def test_changes_beside_kennels_are_none_of_its_business(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int]
) -> None:
    foreign = await make_foreign({"http": {"servers": {"srv0": server(ports[0])}}})
    async with make_grafted(foreign) as router:
        await router.publish(TABLE)
        path = "/config/apps/http/servers/srv0/routes/1"
        await foreign.send("PUT", path, says("the wiki", THEIRS))
        before = foreign.writes()
        assert (await router.observe()).routes == frozenset(TABLE)
        await router.publish(TABLE)
        assert foreign.writes() == before


async def test_a_write_that_others_come_before_is_done_again(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int]
) -> None:
    """Both change the same thing, at the same time, and neither undoes the other."""
    foreign = await make_foreign({"http": {"servers": {"srv0": server(ports[0])}}})
    path = "/config/apps/http/servers/srv0/routes"

    async def others() -> None:
        for number in range(15):
            await foreign.send("POST", path, says(str(number), f"wiki{number}.example"))
            await asyncio.sleep(0.02)

    async with make_grafted(foreign) as router:
        writing = asyncio.create_task(others())
        for number in range(15):
            await router.publish(MORE if number % 2 else TABLE)
            await asyncio.sleep(0.005)
        await writing
        await router.publish(TABLE)
        assert (await router.observe()).routes == frozenset(TABLE)
    kept = without_kennel(await foreign.get())["apps"]["http"]["servers"]["srv0"]["routes"]
    assert [route["match"][0]["host"][0] for route in kept] == [
        f"wiki{n}.example" for n in range(15)
    ]


async def test_certificates_of_others_stay_theirs(
    make_foreign: Any, make_grafted: Any, ports: tuple[int, int]
) -> None:
    """A second policy, a permission that is there already, and their own hosts."""
    asked = {"permission": {"module": "http", "endpoint": "http://127.0.0.1:1/theirs"}}
    policies = [{"subjects": [THEIRS], "issuers": [{"module": "internal"}]}]
    theirs: dict[str, Any] = {
        "http": {"servers": {"srv0": {"listen": [f":{ports[1]}"], "routes": [says("w", THEIRS)]}}},
        "tls": {"automation": {"policies": policies, "on_demand": asked}},
        "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
    }
    theirs["http"] |= {"http_port": ports[0], "https_port": ports[1]}
    foreign = await make_foreign(theirs)
    async with make_grafted(foreign, tls="internal") as router:
        await router.publish(MORE)
        config = await foreign.get()
        assert without_kennel(config) == foreign.config
        ours = config["apps"]["tls"]["automation"]["policies"][0]
        assert ours["@id"] == "kennel-tls"
        assert ours["on_demand"] is True
        assert ours["subjects"] == [HOST, "other.contract.localhost"]
        await router.publish([])
        assert await foreign.get() == foreign.config


async def test_a_certificate_is_had_when_a_host_is_first_visited(
    make_foreign: Any, host: Host, api: Any, ports: tuple[int, int], visit: Any
) -> None:
    theirs = {
        "http": {
            "http_port": ports[0],
            "https_port": ports[1],
            "servers": {"srv0": {"listen": [f":{ports[1]}"]}},
        },
        "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
    }
    foreign = await make_foreign(theirs)
    known = Host(
        state_dir=host.state_dir, run_dir=host.run_dir, domain=host.domain, api_url=api.url
    )
    config = Config(admin=foreign.admin, tls="internal", http_port=ports[0], https_port=ports[1])
    async with CaddyRouter(config, known) as router, serving("safe") as upstream:
        await router.switch(MAIN, {"api": upstream})
        await router.publish(TABLE)
        await asyncio.sleep(0.5)
        certificates = foreign.folder / "storage" / "certificates"
        assert not list(certificates.rglob("*.crt"))
        assert (await visit(router, HOST)).text == "safe"
        assert [made.stem for made in certificates.rglob("*.crt")] == [HOST]
        verify = ssl._create_unverified_context()
        with pytest.raises(httpx.ConnectError):
            await visit(router, "nobody.contract.localhost", verify=verify)


async def test_certificates_are_never_ordered_where_they_are_others_business(
    host: Host, place: Path
) -> None:
    """Caddy orders one for each host that a server's own routes name."""
    config = Config(admin="unix//run/caddy/admin.sock", tls="external")
    graft = Graft(config=config, live=place, domain="contract.localhost", permission="")
    made = graft.document({"apps": {"http": {"servers": {"s": {"listen": [":443"]}}}}}, TABLE)
    routes = made["apps"]["http"]["servers"]["s"]["routes"]
    assert [route.get("match") for route in routes] == [None, None]
    assert HOST in json.dumps(routes)
    assert "tls" not in made["apps"]


async def test_an_old_version_is_refused(host: Host, place: Path) -> None:
    """Before 2.8 the ETag came after the body, where hardly any client looks for it."""

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            b'Trailer: Etag\r\n\r\n5\r\nnull\n\r\n0\r\nEtag: "/config/ 1234"\r\n\r\n'
        )
        await writer.drain()
        writer.close()

    there = await asyncio.start_unix_server(old, place / "admin.sock")
    config = Config(admin=f"unix/{place}/admin.sock")
    with pytest.raises(Rejected, match=r"older than 2\.8"):
        await CaddyRouter(config, host).__aenter__()
    there.close()


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        ({"a": [":80"], "b": [":443"]}, "b"),
        ({"a": ["127.0.0.1:443"], "b": ["0.0.0.0:443"]}, "b"),
        ({"a": ["tcp/:443"]}, "a"),
        ({"a": ["[::1]:443"]}, "a"),
        ({"a": [":8000-9000"], "b": [":400-500"]}, "b"),
        ({"a": [":80", ":443"]}, "a"),
        ({"b": [":443"], "a": [":443"]}, "a"),
        ({"a": ["udp/:443"], "b": ["unix//run/443"]}, None),
        ({"a": ["{env.ADDRESS}:{env.PORT}"], "b": []}, None),
        ({}, None),
    ],
)
def test_the_server_is_found_by_its_port(listen: dict[str, list[str]], found: str | None) -> None:
    servers = {name: {"listen": addresses} for name, addresses in listen.items()}
    assert server_on(servers, 443) == found


@pytest.mark.parametrize(
    ("admin", "warned"), [("http://127.0.0.1:9", True), ("unix//nowhere/admin.sock", False)]
)
async def test_an_admin_api_that_everybody_reaches_is_told_of(
    host: Host, caplog: pytest.LogCaptureFixture, admin: str, warned: bool
) -> None:
    async with CaddyRouter(Config(admin=admin), host):
        pass
    assert ("every program on this machine may give orders" in caplog.text) is warned
    assert ("port 9 if it is in deny_local_ports" in caplog.text) is warned
