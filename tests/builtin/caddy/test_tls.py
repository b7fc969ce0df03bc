"""Certificates, and what people's addresses look like."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kennel.builtin.caddy import CaddyRouter, Config
from kennel.plugin.settings import Host
from kennel.testing.router import MAIN, SETTLES, service
from kennel.testing.serving import serving

HOST = "api.contract.localhost"


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
