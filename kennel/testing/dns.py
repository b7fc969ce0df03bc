"""What every DNS provider must do, written as tests; and one that keeps records in a dict."""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, TypeAlias

import pytest

from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import DnsProvider
from kennel.testing.contract import Contract

MakeDnsProvider: TypeAlias = Callable[[Mapping[str, str]], DnsProvider]

IPV4, OTHER_IPV4, IPV6, NAME = "192.0.2.1", "192.0.2.2", "2001:db8::1", "edge.example.com"
TARGETS = pytest.mark.parametrize("target", [IPV4, IPV6, NAME])


class DnsProviderContract(Contract):
    """The conformance suite of a DNS provider.

        class TestBind(DnsProviderContract):
            @pytest.fixture
            def make_dns_provider(self, bind: Bind) -> MakeDnsProvider:
                def make(foreign: Mapping[str, str]) -> DnsProvider:
                    bind.add(foreign)
                    return BindProvider(BindConfig(zones=[self.zone], server=bind.address))
                return make

    Each test starts with a zone in which nothing is but the foreign records; what the fixture
    returns is called again with none for a new start of Kennel.
    """

    zone: ClassVar[str] = "example.org"
    """The only zone that the provider is configured with."""

    @pytest.fixture
    def make_dns_provider(self) -> MakeDnsProvider:
        """Return what makes a provider, not yet opened, for a zone with these foreign records.

        It is given host → target of records that are somebody else's, and must be there too.
        """
        self.needs(
            "make_dns_provider",
            returns="what makes a DnsProvider: (foreign: Mapping[str, str]) -> DnsProvider",
        )

    def inventory(self) -> dict[str, str]:
        """Return host → target of every record of the zone, whoever made it."""
        raise NotImplementedError

    def unreachable(self) -> DnsProvider:
        """Return a provider, not yet opened, whose server does not answer."""
        raise NotImplementedError

    def host(self, label: str = "shop") -> str:
        return f"{label}.{self.zone}"

    async def test_is_well(self, make_dns_provider: MakeDnsProvider) -> None:
        async with make_dns_provider({}) as dns:
            await dns.check()

    async def test_covers_its_zone(self, make_dns_provider: MakeDnsProvider) -> None:
        async with make_dns_provider({}) as dns:
            for host in (self.zone, self.host(), self.host("a.b.c")):
                assert dns.covers(host), host

    async def test_a_zone_ends_where_a_label_does(self, make_dns_provider: MakeDnsProvider) -> None:
        parent = self.zone.partition(".")[2]
        async with make_dns_provider({}) as dns:
            for host in (
                f"not{self.zone}",
                f"{self.zone}.invalid",
                f"shop.not-{self.zone}",
                parent,
                f"shop.{parent}",
                "",
            ):
                assert not dns.covers(host), host

    @TARGETS
    async def test_ensured_hosts_are_observed(
        self, make_dns_provider: MakeDnsProvider, target: str
    ) -> None:
        async with make_dns_provider({}) as dns:
            assert await dns.observe() == {}
            await dns.ensure(self.host(), target)
            assert await dns.observe() == {self.host(): target}

    @TARGETS
    async def test_ensure_may_be_repeated(
        self, make_dns_provider: MakeDnsProvider, target: str
    ) -> None:
        async with make_dns_provider({}) as dns:
            await dns.ensure(self.host(), target)
            await dns.ensure(self.host(), target)
            assert await dns.observe() == {self.host(): target}

    @pytest.mark.parametrize(
        ("before", "after"),
        [(IPV4, OTHER_IPV4), (IPV4, IPV6), (IPV4, NAME), (NAME, IPV4)],
        ids=["same type", "other family", "address to name", "name to address"],
    )
    async def test_a_target_may_change(
        self, make_dns_provider: MakeDnsProvider, before: str, after: str
    ) -> None:
        async with make_dns_provider({}) as dns:
            await dns.ensure(self.host(), before)
            await dns.ensure(self.host("other"), before)
            await dns.ensure(self.host(), after)
            assert await dns.observe() == {self.host(): after, self.host("other"): before}

    async def test_remove_takes_away_only_that_host(
        self, make_dns_provider: MakeDnsProvider
    ) -> None:
        async with make_dns_provider({}) as dns:
            for label in ("shop", "www.shop", "shop2"):
                await dns.ensure(self.host(label), IPV4)
            await dns.remove(self.host())
            assert await dns.observe() == {self.host("www.shop"): IPV4, self.host("shop2"): IPV4}

    async def test_remove_may_be_repeated(self, make_dns_provider: MakeDnsProvider) -> None:
        async with make_dns_provider({}) as dns:
            await dns.remove(self.host())
            await dns.ensure(self.host(), IPV4)
            await dns.remove(self.host())
            await dns.remove(self.host())
            assert await dns.observe() == {}

    async def test_a_new_start_knows_its_own(self, make_dns_provider: MakeDnsProvider) -> None:
        async with make_dns_provider({}) as dns:
            await dns.ensure(self.host(), IPV4)
        async with make_dns_provider({}) as successor:
            assert await successor.observe() == {self.host(): IPV4}
            await successor.ensure(self.host(), OTHER_IPV4)
            await successor.remove(self.host())
            assert await successor.observe() == {}

    @pytest.mark.parametrize("foreign", [IPV4, IPV6, NAME])
    async def test_foreign_records_are_rejected_and_stay(
        self, make_dns_provider: MakeDnsProvider, foreign: str
    ) -> None:
        async with make_dns_provider({self.host(): foreign}) as dns:
            assert await dns.observe() == {}
            for target in (OTHER_IPV4, foreign):
                with pytest.raises(Rejected, match=self.host()):
                    await dns.ensure(self.host(), target)
            await dns.remove(self.host())
            with pytest.raises(Rejected, match=self.host()):
                await dns.ensure(self.host(), OTHER_IPV4)
            assert await dns.observe() == {}

    async def test_foreign_records_are_untouched(self, make_dns_provider: MakeDnsProvider) -> None:
        foreign = {self.host(): IPV4, self.host("mail"): NAME}
        async with make_dns_provider(foreign) as dns:
            before = await self.optional(self.inventory)
            with pytest.raises(Rejected):
                await dns.ensure(self.host(), OTHER_IPV4)
            await dns.ensure(self.host("new"), IPV4)
            await dns.remove(self.host("new"))
            await dns.remove(self.host("mail"))
            assert await self.optional(self.inventory) == before

    async def test_a_host_outside_its_zones_is_rejected(
        self, make_dns_provider: MakeDnsProvider
    ) -> None:
        async with make_dns_provider({}) as dns:
            with pytest.raises(Rejected, match=r"elsewhere\.invalid"):
                await dns.ensure("elsewhere.invalid", IPV4)
            assert await dns.observe() == {}

    async def test_a_server_out_of_reach_is_unavailable(self) -> None:
        away = await self.optional(self.unreachable)
        await self.says_so(
            Unavailable,
            away,
            away.observe,
            lambda: away.ensure(self.host(), IPV4),
            lambda: away.remove(self.host()),
            away.check,
        )


class MemoryDnsProvider(DnsProvider):
    """Keeps records in a dict.

    `server`: host → (target, whether it is Kennel's); give the same dict to another one and it
    stands for a new start with the same server. `problem`: what every call raises, to play a
    server that is out of reach.
    """

    name = "memory"

    def __init__(
        self,
        zones: Iterable[str] = ("example.org",),
        server: dict[str, tuple[str, bool]] | None = None,
    ) -> None:
        self.zones = tuple(zones)
        self.server: dict[str, tuple[str, bool]] = {} if server is None else server
        self.problem: ProviderError | None = None

    def covers(self, host: str) -> bool:
        return any(host == zone or host.endswith(f".{zone}") for zone in self.zones)

    async def check(self) -> None:
        if self.problem:
            raise self.problem

    async def observe(self) -> Mapping[str, str]:
        await self.check()
        return {host: target for host, (target, ours) in self.server.items() if ours}

    async def ensure(self, host: str, target: str) -> None:
        await self.check()
        if not self.covers(host):
            raise Rejected(f"memory: {host} is in none of the zones {', '.join(self.zones)}")
        if not self.server.get(host, ("", True))[1]:
            raise Rejected(f"memory: {host} has a record that is not Kennel's: remove it")
        self.server[host] = target, True

    async def remove(self, host: str) -> None:
        await self.check()
        if self.server.get(host, ("", False))[1]:
            del self.server[host]
