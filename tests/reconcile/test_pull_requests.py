"""Pull requests that come back while they go, and that want what is not theirs."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from kennel.domain import Key, Ref, Route, Tenant
from kennel.store import tenants
from kennel.testing import MemoryProvisioner

if TYPE_CHECKING:
    from tests.reconcile.conftest import Serving, Town

PREVIEW = Ref.pull_request(5)
SHOP = Tenant("shop", PREVIEW)


class Thorough(MemoryProvisioner):
    """Takes away what a tenant has, and is not done before it may be."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def remove(self, tenant: Tenant) -> None:
        self.begun.set()
        await self.may_end.wait()
        await super().remove(tenant)


async def test_one_that_is_reopened_while_it_is_taken_away_is_not_lost(
    town: "Town", serving: "Serving"
) -> None:
    town.provisioner = slow = Thorough()
    town.restarted()
    manifest = serving("api", resources=(slow.name,))
    await town.built(manifest, ref=PREVIEW)
    await town.settle()
    [box] = slow.server.values()
    box.text = "of the first"
    await town.gone(ref=PREVIEW)
    await town.reconciler.run_pass()
    await slow.begun.wait()
    second = await town.built(manifest, ref=PREVIEW)
    await town.reconciler.run_pass()
    assert (await town.build(second)).state == "built", "it waits until all of the first is gone"
    slow.may_end.set()
    await town.settle()
    assert (await town.build(second)).state == "done"
    assert set(await town.live(PREVIEW)) == {"api"}
    assert await slow.observe() == {SHOP}
    assert [box.text for box in slow.server.values()] == [None], "what it had is gone"
    assert len(await town.units()) == 1


async def test_one_never_gets_the_host_of_production(town: "Town", serving: "Serving") -> None:
    """It is granted to the project, and its manifest asks for it."""
    await town.project("shop", domains=("*.example.org",))
    manifest = serving("api")
    asks = replace(
        manifest.services["api"],
        custom_domains=("shop.example.org", "two.example.org"),
        redirects=("www.example.org",),
    )
    manifest = replace(manifest, services={"api": asks})
    await town.built(manifest, ref=PREVIEW)
    await town.settle()
    assert await hosts(town) == {SHOP: ("shop-pr-5.example.net",)}
    assert (await town.router.observe()).routes == frozenset(
        {Route(key=Key(SHOP, "api"), hosts=("shop-pr-5.example.net",), indexed=False)}
    )
    await town.built(manifest)
    await town.settle()
    found = await hosts(town)
    assert found[SHOP] == ("shop-pr-5.example.net",)
    assert "shop.example.org" in found[Tenant("shop", Ref.branch("main"))]


async def hosts(town: "Town") -> dict[Tenant, tuple[str, ...]]:
    """Return where each tenant answers."""
    routes = (await town.router.observe()).routes
    assert routes is not None
    return {one.key.tenant: one.hosts for one in routes}


async def test_one_that_is_closed_leaves_what_is_called_like_it(
    town: "Town", serving: "Serving"
) -> None:
    branch = Ref.branch("pr-5")
    manifest = serving("api", site=True, resources=(town.provisioner.name,))
    for ref in (PREVIEW, branch):
        await town.built(manifest, ref=ref)
    await town.settle()
    await town.gone(ref=PREVIEW)
    await town.settle()
    assert [one.record.tenant.ref for one in await town.reconciler.wanted()] == [branch]
    assert await town.provisioner.observe() == {Tenant("shop", branch)}
    assert len(await town.units()) == 1
    assert set(await town.live(branch)) == {"api", "docs"}


async def test_one_that_waits_for_approval_costs_nothing(town: "Town") -> None:
    """It has a row, and nothing is started, routed or provisioned for it."""
    number = await town.project()
    seen = partial(tenants.seen, project_id=number, ref=PREVIEW, trusted=False, now=1.0)
    await town.store.write(partial(seen, head="1" * 40))
    await town.settle()
    assert (await town.reconciler.look()).plan.is_empty
    assert await town.units() == set()
    assert (await town.router.observe()).routes == frozenset()
    assert await town.provisioner.observe() == set()
