"""Names of custom domains: published while they are live, and no longer."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kennel import crashpoint, status
from kennel.domain import Manifest, Ref, Tenant
from kennel.errors import ConfigError, Rejected, Unavailable
from kennel.opening import refuse_without_target
from kennel.plugin.manager import Ports
from kennel.settings import Settings
from kennel.store import projects, publications
from kennel.testing import MemoryDnsProvider

if TYPE_CHECKING:
    from tests.reconcile.conftest import Serving, Town

TARGET, OTHER = "203.0.113.7", "198.51.100.1"
HOST, WWW = "shop.example.org", "www.example.org"
SHOP = Tenant("shop", Ref.branch("main"))


class Zone(MemoryDnsProvider):
    """A provider that notes what is asked of it."""

    def __init__(self, *zones: str, name: str = "zone") -> None:
        super().__init__(zones or ("example.org",))
        self.name = name  # type: ignore[misc]
        self.calls: list[str] = []

    async def observe(self) -> Mapping[str, str]:
        self.calls.append("observe")
        return await super().observe()

    async def ensure(self, host: str, target: str) -> None:
        self.calls.append(f"ensure {host}")
        await super().ensure(host, target)

    async def remove(self, host: str) -> None:
        self.calls.append(f"remove {host}")
        await super().remove(host)


@pytest.fixture
def zone(town: "Town") -> Zone:
    zone = Zone()
    town.dns = {"zone": zone}
    town.restarted()
    return zone


def asking(serving: "Serving", host: str | None = HOST) -> Manifest:
    manifest = serving("api")
    api = replace(manifest.services["api"], custom_domains=() if host is None else (host,))
    return replace(manifest, services={"api": api})


async def settled(town: "Town") -> None:
    """Settle, and wait until what follows from that is published."""
    await town.settle()
    await town.reconciler.names.settled()
    await town.reconciler.run_pass()
    await town.reconciler.names.settled()


async def live(town: "Town", manifest: Manifest, **more: object) -> None:
    await town.project(domains=("*.example.org",))
    await town.built(manifest, **more)  # type: ignore[arg-type]
    await settled(town)


async def test_a_custom_domain_leads_here_while_it_is_live(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    await live(town, asking(serving))
    assert zone.server == {HOST: (TARGET, True)}
    await live(town, asking(serving, WWW), version=2)
    assert zone.server == {WWW: (TARGET, True)}
    await town.gone()
    await settled(town)
    assert zone.server == {}
    assert await town.store.read(publications.by_provider) == {}


async def test_several_hosts_and_redirects_lead_here(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    manifest = asking(serving)
    api = replace(
        manifest.services["api"], custom_domains=(HOST, "a.example.org"), redirects=(WWW,)
    )
    await live(town, replace(manifest, services={"api": api}))
    assert zone.server == dict.fromkeys((HOST, "a.example.org", WWW), (TARGET, True))
    routes = (await town.router.observe()).routes
    assert routes is not None
    [route] = routes
    assert (route.hosts[-1], route.redirects) == (HOST, (WWW,))
    await live(town, asking(serving, WWW), version=2)
    assert zone.server == {WWW: (TARGET, True)}


async def test_a_host_of_a_preview_is_not_published(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    zone.zones = ("example.org", "example.net")
    await live(town, asking(serving), ref=Ref.pull_request(1))
    assert zone.server == {}
    assert zone.calls == []


async def test_the_wildcard_is_published_on_request(town: "Town", serving: "Serving") -> None:
    zone = Zone("example.net")
    town.dns, town.wildcard = {"zone": zone}, True
    town.restarted()
    await settled(town)
    assert zone.server == {"*.example.net": (TARGET, True)}


async def test_nothing_changes_while_nothing_changes(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    await live(town, asking(serving))
    zone.calls.clear()
    for _ in range(5):
        await town.reconciler.run_pass()
        await town.reconciler.names.settled()
    assert zone.calls == []
    town.restarted()
    await settled(town)
    assert zone.calls == ["observe"]


async def test_what_somebody_changed_is_put_right(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    await live(town, asking(serving))
    zone.server[HOST] = (OTHER, True)
    town.restarted()
    await settled(town)
    assert zone.server == {HOST: (TARGET, True)}


async def test_a_foreign_record_stays_and_is_told(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    zone.server[HOST] = (OTHER, False)
    await live(town, asking(serving))
    assert zone.server == {HOST: (OTHER, False)}
    assert "not Kennel's" in town.reconciler.names.troubles[SHOP]
    world = await town.reconciler.look()
    [line] = status.deployments(
        world.wanted,
        plan=world.plan,
        builds={},
        units=world.actual.units,
        troubles={},
        unpublished=town.reconciler.names.troubles,
        url=town.router.url,
    )
    assert (line.state, "not Kennel's" in line.why) == ("live", True)
    await town.gone()
    await settled(town)
    assert zone.server == {HOST: (OTHER, False)}
    assert town.reconciler.names.troubles == {}


async def test_records_of_another_kennel_stay(town: "Town", serving: "Serving", zone: Zone) -> None:
    zone.server[WWW] = (OTHER, True)
    await live(town, asking(serving))
    await town.gone()
    await settled(town)
    assert zone.server == {WWW: (OTHER, True)}


async def test_a_provider_that_is_away_holds_up_nobody(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    zone.problem = Unavailable("zone: it is away")
    await live(town, asking(serving))
    assert await town.live() != {}
    assert town.reconciler.names.troubles == {SHOP: "zone: it is away"}
    zone.problem = None
    town.restarted()
    await settled(town)
    assert zone.server == {HOST: (TARGET, True)}
    assert town.reconciler.names.troubles == {}


async def test_what_could_not_be_removed_is_removed_later(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    await live(town, asking(serving))
    zone.problem = Rejected("zone: the token may not")
    await town.gone()
    await settled(town)
    zone.problem = None
    town.restarted()
    await settled(town)
    assert zone.server == {}


async def test_each_host_goes_to_the_first_that_has_its_zone(
    town: "Town", serving: "Serving"
) -> None:
    first, second = Zone("other.org", name="a"), Zone("example.org", name="b")
    town.dns = {"b": second, "a": first, "c": Zone("example.org", name="c")}
    town.restarted()
    await live(town, asking(serving))
    assert (first.server, second.server) == ({}, {HOST: (TARGET, True)})
    assert first.calls == []


async def test_a_slow_provider_holds_up_no_pass(
    town: "Town", serving: "Serving", zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> Mapping[str, str]:
        await asyncio.sleep(1000)
        return {}

    monkeypatch.setattr(zone, "observe", never)
    await town.project(domains=("*.example.org",))
    await town.built(asking(serving))
    async with asyncio.timeout(10):
        await town.settle()
    await town.reconciler.stop()
    assert zone.server == {}


@pytest.mark.parametrize("place", ["name-noted", "name-removed"])
async def test_whatever_it_is_killed_between_nothing_is_left(
    town: "Town", serving: "Serving", zone: Zone, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: int) -> None:
        raise Killed

    async def published() -> None:
        await town.reconciler.names.settled()
        await town.reconciler.run_pass()
        await town.reconciler.names.settled()

    async def with_a_death() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(crashpoint, "_CHOSEN", place)
            patched.setattr(crashpoint, "os", SimpleNamespace(kill=die, getpid=int))
            await town.settle()
            with pytest.raises(Killed):
                await published()
        town.restarted()

    await town.project(domains=("*.example.org",))
    await town.built(asking(serving))
    if place == "name-noted":
        await with_a_death()
    await settled(town)
    assert zone.server == {HOST: (TARGET, True)}
    await town.gone()
    if place == "name-removed":
        await with_a_death()
    await settled(town)
    assert zone.server == {}
    assert await town.store.read(publications.by_provider) == {}


async def test_an_empty_store_takes_nothing_away(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    zone.server[HOST] = (TARGET, True)
    await live(town, serving("api"))
    assert zone.server == {HOST: (TARGET, True)}
    await live(town, asking(serving), version=2)
    noted = await town.store.read(publications.by_provider)
    assert noted == {"zone": {HOST}}, "it is ours again: it goes with its tenant"


async def test_a_start_without_a_target_is_refused() -> None:
    ports = Ports(dns_providers={"zone": Zone()})
    with pytest.raises(ConfigError, match=r"\[domains\] target is missing: say where .* zone pu"):
        refuse_without_target(Settings(), ports)
    refuse_without_target(Settings(), Ports())


async def test_a_domain_that_was_granted_once_is_given_back(
    town: "Town", serving: "Serving", zone: Zone
) -> None:
    await live(town, asking(serving))
    await live(town, serving("api"), version=2)
    assert zone.server == {}
    named = await town.store.read(partial(projects.by_name, name="shop"))
    assert named.domains == ("*.example.org",)
