"""The conformance suite, and what is Cloudflare's alone.

With KENNEL_TEST_CLOUDFLARE_TOKEN and KENNEL_TEST_CLOUDFLARE_ZONE set, the suite is run on that zone
as well: one with nothing in it that matters.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from kennel_cloudflare import CloudflareProvider, kennel_dns_providers
from kennel_cloudflare.records import COMMENT, type_of
from kennel_cloudflare.zones import zone_of

from kennel.errors import ConfigError, Rejected, Unavailable
from kennel.plugin import DnsProvider, PluginSettings
from kennel.plugin.settings import Host
from kennel.testing import DnsProviderContract, MakeDnsProvider
from kennel.testing.cloudflare import COMMENT_MOST, CloudflareServer

ZONE, OTHER = "example.org", "deep.example.org"
HOST, ADDRESS = f"shop.{ZONE}", "192.0.2.1"
TOKEN, REAL_ZONE = "KENNEL_TEST_CLOUDFLARE_TOKEN", "KENNEL_TEST_CLOUDFLARE_ZONE"

Make = Callable[..., CloudflareProvider]


PAGES = pytest.mark.parametrize("server", [5000, 1], indirect=True, ids="pages of {}".format)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[CloudflareServer]:
    with CloudflareServer(ZONE, OTHER, page=getattr(request, "param", 5000)) as server:
        yield server


@pytest.fixture
def make(server: CloudflareServer, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return what makes a provider; its words are settings."""
    monkeypatch.setenv("CLOUDFLARE", server.token)
    monkeypatch.setenv("READING", server.reading)

    def made(**settings: Any) -> CloudflareProvider:
        given = {"token": "env:CLOUDFLARE", "zones": [ZONE], "api_url": server.url, **settings}
        folders = Host(state_dir=Path(os.devnull), run_dir=Path(os.devnull))
        [provider] = kennel_dns_providers(PluginSettings({"cloudflare": given}, folders))
        assert isinstance(provider, CloudflareProvider)
        return provider

    return made


@PAGES
class TestCloudflare(DnsProviderContract):
    server: CloudflareServer
    make: Make

    @pytest.fixture(autouse=True)
    def parts(self, server: CloudflareServer, make: Make) -> None:
        self.server, self.make = server, make

    @pytest.fixture
    def make_dns_provider(self) -> MakeDnsProvider:
        def made(foreign: Mapping[str, str]) -> DnsProvider:
            for host, target in foreign.items():
                self.server.add(ZONE, type_of(target), host, target, comment="by hand")
            return self.make()

        return made

    def inventory(self) -> dict[str, str]:
        return {one["name"]: one["content"] for one in self.server.records()}

    def unreachable(self) -> DnsProvider:
        return self.make(api_url="http://127.0.0.1:9/client/v4")


@pytest.mark.skipif(not os.environ.get(TOKEN), reason=f"{TOKEN} and {REAL_ZONE} are not set")
class TestTheRealOne(DnsProviderContract):
    zone: ClassVar[str] = os.environ.get(REAL_ZONE, ZONE)

    def provider(self) -> CloudflareProvider:
        given = {"token": f"env:{TOKEN}", "zones": [self.zone]}
        folders = Host(state_dir=Path(os.devnull), run_dir=Path(os.devnull))
        [made] = kennel_dns_providers(PluginSettings({"cloudflare": given}, folders))
        assert isinstance(made, CloudflareProvider)
        return made

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {os.environ[TOKEN]}"}
        url = f"https://api.cloudflare.com/client/v4{path}"
        return httpx.request(method, url, headers=headers, json=body, timeout=30).json()["result"]

    def records(self) -> str:
        [zone] = self.ask("GET", f"/zones?name={self.zone}")
        return f"/zones/{zone['id']}/dns_records"

    @pytest.fixture
    def make_dns_provider(self) -> Iterator[MakeDnsProvider]:
        def clear() -> None:
            for one in self.ask("GET", f"{self.records()}?per_page=100"):
                if one["type"] in {"A", "AAAA", "CNAME"}:
                    self.ask("DELETE", f"{self.records()}/{one['id']}")

        def made(foreign: Mapping[str, str]) -> DnsProvider:
            for host, target in foreign.items():
                record = {"type": type_of(target), "name": host, "content": target, "ttl": 1}
                self.ask("POST", self.records(), record)
            return self.provider()

        clear()
        yield made
        clear()


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("example.org", "example.org"),
        ("a.b.example.org", "example.org"),
        ("a.deep.example.org", "deep.example.org"),
        ("notdeep.example.org", "example.org"),
        ("notexample.org", None),
        ("example.org.evil.net", None),
        ("org", None),
    ],
)
def test_a_host_lies_in_the_longest_zone_that_ends_where_a_label_does(
    host: str, zone: str | None
) -> None:
    assert zone_of(host, [ZONE, OTHER]) == zone


def test_the_mark_fits_on_every_plan() -> None:
    assert len(COMMENT) <= COMMENT_MOST


async def test_each_host_goes_into_its_zone_as_the_operator_says(
    make: Make, server: CloudflareServer
) -> None:
    async with make(zones=[ZONE, OTHER], ttl=300) as dns:
        await dns.ensure(HOST, ADDRESS)
        await dns.ensure(f"a.{OTHER}", "2001:db8::1")
    inside = {name: list(zone.records.values()) for name, zone in server.zones.items()}
    [[first], [second]] = inside[ZONE], inside[OTHER]
    assert (first["type"], first["ttl"], first["proxied"]) == ("A", 300, False)
    assert (second["type"], second["name"]) == ("AAAA", f"a.{OTHER}")
    async with make(proxied=True, ttl=300) as dns:
        await dns.ensure(HOST, "edge.example.com")
        before = len(server.requests)
        await dns.ensure(HOST, "edge.example.com")
        assert [method for method, _ in server.requests[before:]] == ["GET"], "nothing is written"
    [changed] = server.zones[ZONE].records.values()
    assert (changed["id"], changed["type"], changed["ttl"]) == (first["id"], "CNAME", 1)
    assert changed["proxied"] is True


async def test_what_cannot_be_beside_it_is_told(make: Make, server: CloudflareServer) -> None:
    server.add(ZONE, "TXT", HOST, "by hand")
    async with make() as dns:
        await dns.ensure(HOST, ADDRESS)
        await dns.remove(HOST)
        with pytest.raises(Rejected, match=r"goes with no CNAME .*remove it, or do not ask"):
            await dns.ensure(HOST, "edge.example.com")


async def test_a_foreign_record_is_told_with_what_it_says(
    make: Make, server: CloudflareServer
) -> None:
    server.add(ZONE, "CNAME", HOST, "idp.example.com", comment="kennel:v10 looks like it")
    async with make() as dns:
        with pytest.raises(Rejected, match=r"not Kennel's \(CNAME idp.example.com\)"):
            await dns.ensure(HOST, ADDRESS)
        await dns.remove(HOST)
    assert len(server.records()) == 1


async def test_a_pass_lists_each_zone_once(make: Make, server: CloudflareServer) -> None:
    async with make(zones=[ZONE, OTHER]) as dns:
        for number in range(30):
            server.add(ZONE, "A", f"h{number}.{ZONE}", ADDRESS, comment=COMMENT)
        await dns.observe()
        before = len(server.requests)
        assert len(await dns.observe()) == 30
        assert len(server.requests) - before == 2


async def test_who_is_throttled_asks_nothing_until_he_may(
    make: Make, server: CloudflareServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make() as dns:
        await dns.observe()
        server.throttled = 120
        with pytest.raises(Unavailable, match="too many requests: it is asked again in 120 s"):
            await dns.observe()
        server.throttled = None
        before = len(server.requests)
        for _ in range(3):
            with pytest.raises(Unavailable, match=r"asked again in \d+ s"):
                await dns.ensure(HOST, ADDRESS)
        assert len(server.requests) == before
        later = time.monotonic() + 121
        monkeypatch.setattr("kennel_cloudflare.api.time.monotonic", lambda: later)
        await dns.ensure(HOST, ADDRESS)


async def test_after_an_error_of_its_own_it_is_left_in_peace_longer_and_longer(
    make: Make, server: CloudflareServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("kennel_cloudflare.api.time.monotonic", lambda: now)
    server.broken = 3
    async with make(zone_ids={ZONE: server.zones[ZONE].id}) as dns:
        for pause in (0.5, 1.0, 2.0):
            with pytest.raises(Unavailable, match=r"a problem of its own \(502\)"):
                await dns.observe()
            before = len(server.requests)
            now += pause - 0.1
            with pytest.raises(Unavailable, match="asked again"):
                await dns.observe()
            assert len(server.requests) == before
            now += 0.2
        assert await dns.observe() == {}


async def test_a_start_says_what_the_token_lacks(
    make: Make, server: CloudflareServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make() as dns:
        await dns.check()
    async with make(token="env:READING") as dns:
        with pytest.raises(Rejected, match=f"may not change records of {ZONE}: give it the right"):
            await dns.check()
    async with make(zones=["example.net"]) as dns:
        with pytest.raises(Rejected, match=r"sees no zone example\.net: give it Zone → Z"):
            await dns.check()
    monkeypatch.setenv("WRONG", "hunter2")
    async with make(token="env:WRONG") as dns:
        with pytest.raises(Rejected, match="the token is refused") as error:
            await dns.check()
        assert "hunter2" not in str(error.value)
    async with make(token="env:READING", zone_ids={ZONE: server.zones[ZONE].id}) as dns:
        await dns.check()
        with pytest.raises(Rejected, match="the token is refused"):
            await dns.ensure(HOST, ADDRESS)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"zones": []}, "zones"),
        ({"zones": ["Example.org"]}, r"zones\[0\]: must be written like"),
        ({"zones": ["org"]}, r"zones\[0\]: must be written like"),
        ({"ttl": 0}, "ttl: must be a whole number >= 1"),
        ({"token": "hunter2"}, "token: must be written like"),
    ],
)
def test_a_wrong_setting(make: Make, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as error:
        make(**settings)
    assert "hunter2" not in str(error.value)


async def test_what_is_not_the_api_is_unavailable(make: Make, server: CloudflareServer) -> None:
    async with make(api_url=server.url.replace("/client/v4", "/elsewhere")) as dns:
        with pytest.raises((Rejected, Unavailable)):
            await dns.observe()
