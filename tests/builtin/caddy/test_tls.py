"""Certificates, and what people's addresses look like."""

import asyncio
import os
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias

import httpx
import pytest

from kennel.builtin.caddy import CaddyRouter, Config
from kennel.errors import Rejected
from kennel.plugin.settings import Host
from kennel.testing.missing import missing
from kennel.testing.router import MAIN, OTHER, SETTLES, service
from kennel.testing.serving import serving

HOST = "api.contract.localhost"
CURL_DOES_NOT_TRUST, CURL_HAS_NO_CONNECTION = 60, 35
QUIC_1 = 1

Curl: TypeAlias = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def secure(make_embedded: Any, host: Host, api: Any) -> AsyncIterator[CaddyRouter]:
    where = Host(
        state_dir=host.state_dir, run_dir=host.run_dir, domain=host.domain, api_url=api.url
    )
    async with make_embedded(where, tls="internal") as router, serving("safe") as upstream:
        await router.switch(MAIN, {"api": upstream})
        await router.publish([service(MAIN, "api", HOST)])
        yield router


async def test_certificates_verify_with_the_root(secure: CaddyRouter, visit: Any, api: Any) -> None:
    trust = ssl.create_default_context(cafile=str(secure.ca_certificate))
    assert (await visit(secure, HOST, verify=trust)).text == "safe"
    assert api.asked == [HOST]
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await visit(secure, HOST, verify=ssl.create_default_context())


async def test_hosts_that_kennel_does_not_know_get_no_certificate(
    secure: CaddyRouter, visit: Any, api: Any
) -> None:
    for name in ("denied.contract.localhost", "bank.example"):
        with pytest.raises(httpx.ConnectError):
            await visit(secure, name)
        assert name in api.asked


async def test_plain_http_is_sent_on(
    secure: CaddyRouter, ports: tuple[int, int], visit: Any
) -> None:
    await asyncio.sleep(SETTLES)
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"http://127.0.0.1:{ports[0]}/a?b=c", headers={"Host": f"{HOST}:{ports[0]}"}
        )
    assert answer.status_code == 308
    assert answer.headers["location"] == f"{secure.url(HOST)}/a?b=c"


async def test_the_root_stays_over_a_restart(
    secure: CaddyRouter, make_embedded: Any, host: Host
) -> None:
    assert secure.ca_certificate
    before = secure.ca_certificate.read_text()
    assert secure.ca_certificate.is_relative_to(host.state_dir)
    await secure.__aexit__(None, None, None)
    async with make_embedded(tls="internal") as successor:
        assert successor.ca_certificate.read_text() == before


@pytest.fixture
async def curl(secure: CaddyRouter) -> Curl:
    """Return what asks with curl, which knows nothing of Kennel: (url, trust=, more options)."""
    program = shutil.which("curl") or missing("there is no program curl")

    async def ask(url: str, *options: str, trust: bool = True) -> tuple[int, str]:
        asked = httpx.URL(url)
        root = ["--cacert", str(secure.ca_certificate)] if trust else []
        process = await asyncio.create_subprocess_exec(
            *(program, "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"),
            *("--resolve", f"{asked.host}:{asked.port}:127.0.0.1", *root, *options, url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    return ask


async def test_curl_verifies_the_chain_up_to_the_root(
    secure: CaddyRouter, curl: Curl, ports: tuple[int, int]
) -> None:
    """What a person does who trusts the root certificate, and one who does not."""
    await asyncio.sleep(SETTLES)
    assert await curl(f"{secure.url(HOST)}/") == (0, "safe")
    status, said = await curl(f"{secure.url(HOST)}/", trust=False)
    assert (status, "certificate" in said) == (CURL_DOES_NOT_TRUST, True)
    status, _ = await curl(secure.url("bank.example"))
    assert status == CURL_HAS_NO_CONNECTION
    plain = f"http://{HOST}:{ports[0]}/a?b=c"
    redirected = ("--output", os.devnull, "--write-out", "%{response_code} %{redirect_url}")
    assert await curl(plain, *redirected) == (0, f"308 {secure.url(HOST)}/a?b=c")


async def test_a_redirect_has_a_certificate_of_its_own(
    secure: CaddyRouter, curl: Curl, api: Any
) -> None:
    www = f"www.{HOST}"
    await secure.publish([replace(service(MAIN, "api", HOST), redirects=(www,))])
    await asyncio.sleep(SETTLES)
    out = ("--output", os.devnull, "--write-out", "%{response_code} %{redirect_url}")
    assert await curl(f"{secure.url(www)}/a?b=c", *out) == (0, f"308 {secure.url(HOST)}/a?b=c")
    assert www in api.asked


async def test_http_3_is_offered_and_spoken(secure: CaddyRouter, visit: Any, ports: Any) -> None:
    """A packet of a version that nobody has is answered with those that there are: RFC 9000, 6."""
    trust = ssl.create_default_context(cafile=str(secure.ca_certificate))
    page = await visit(secure, HOST, verify=trust)
    assert f'h3=":{ports[1]}"' in page.headers["alt-svc"]
    assert QUIC_1 in await versions_of_quic(ports[1])


async def test_http_3_can_be_left_out(
    make_embedded: Any, host: Host, api: Any, visit: Any, ports: Any
) -> None:
    where = Host(
        state_dir=host.state_dir, run_dir=host.run_dir, domain=host.domain, api_url=api.url
    )
    async with make_embedded(where, tls="internal", protocols=("h1", "h2")) as router:
        await router.publish([service(MAIN, "api", HOST)])
        trust = ssl.create_default_context(cafile=str(router.ca_certificate))
        assert "alt-svc" not in (await visit(router, HOST, verify=trust)).headers
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", ports[1]))  # it is free


async def test_a_udp_port_that_is_taken_is_named(make_embedded: Any, ports: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", ports[1]))
        with pytest.raises(Rejected, match=rf"cannot listen on UDP port {ports[1]}.*`https_port`"):
            async with make_embedded(tls="internal"):
                pass


async def versions_of_quic(port: int) -> list[int]:
    """Return the versions of QUIC that are spoken at a port of this machine."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    class Asking(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: object) -> None:
            answer.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Asking, remote_addr=("127.0.0.1", port))
    try:
        head = struct.pack("!BI", 0xC0, 0x0A1A2A3A) + b"\x08" + bytes(8) + b"\x08" + b"k" * 8
        transport.sendto(head.ljust(1200, b"\0"))
        said = await asyncio.wait_for(answer, 20)
    finally:
        transport.close()
    assert said[1:5] == bytes(4)
    lengths = said[5], said[6 + said[5]]
    versions = said[7 + sum(lengths) :]
    return [version for (version,) in struct.iter_unpack("!I", versions)]


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        (Config(tls="on_demand"), 365 * 24 * 3600),
        (Config(admin="unix//run/caddy/admin.sock"), 365 * 24 * 3600),
        (Config(tls="internal"), 0),
        (Config(tls="external"), 0),
        (Config(tls="none"), 0),
        (Config(tls="none", hsts=60), 0),
        (Config(tls="external", hsts=60), 60),
        (Config(tls="on_demand", hsts=0), 0),
    ],
)
def test_browsers_are_told_to_keep_to_https_where_anybody_can_verify_it(
    config: Config, seconds: int
) -> None:
    assert config.hsts_seconds == seconds


async def test_every_answer_tells_browsers_to_keep_to_https(
    make_embedded: Any, host: Host, api: Any, visit: Any
) -> None:
    """Those of services, of Kennel, and redirects; a service may say otherwise of itself."""
    where = Host(
        state_dir=host.state_dir, run_dir=host.run_dir, domain=host.domain, api_url=api.url
    )
    www, own = f"www.{HOST}", f"own.{HOST}"
    headers = {"Strict-Transport-Security": "max-age=1; preload"}
    async with (
        make_embedded(where, tls="internal", hsts=60) as router,
        serving("safe") as upstream,
        serving("own", headers=headers) as opinionated,
    ):
        await router.switch(MAIN, {"api": upstream, "own": opinionated})
        route = replace(service(MAIN, "api", HOST), redirects=(www,))
        away = service(OTHER, "api", f"away.{HOST}")
        await router.publish([route, service(MAIN, "own", own), away])
        for name, status, said in (
            (HOST, 200, "max-age=60"),
            (www, 308, "max-age=60"),
            (f"away.{HOST}", 503, "max-age=60"),
            (own, 200, "max-age=1; preload"),
        ):
            page = await visit(router, name)
            assert page.status == status
            assert page.headers.get_list("strict-transport-security") == [said]


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (Config(https_port=443, http_port=80), "https://a.example"),
        (Config(https_port=8443, http_port=8080), "https://a.example:8443"),
        (Config(https_port=443, http_port=80, tls="none"), "http://a.example"),
        (Config(https_port=8443, http_port=8080, tls="none"), "http://a.example:8080"),
        (Config(https_port=8443, http_port=8080, tls="external"), "https://a.example"),
        (Config(admin="unix//run/caddy/admin.sock"), "https://a.example"),
        (Config(admin="http://127.0.0.1:2019", tls="external"), "https://a.example"),
        (Config(admin="http://127.0.0.1:2019", tls="none", http_port=81), "http://a.example:81"),
    ],
)
def test_addresses(host: Host, config: Config, url: str) -> None:
    assert CaddyRouter(config, host).url("a.example") == url


def test_only_its_own_authority_has_a_root(host: Host) -> None:
    for config in (
        Config(tls="on_demand"),
        Config(tls="none"),
        Config(admin="unix//run/caddy.sock", tls="internal"),
    ):
        assert CaddyRouter(config, host).ca_certificate is None
