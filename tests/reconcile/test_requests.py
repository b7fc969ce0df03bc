"""Requests always end somewhere: names, tables and targets change without a gap."""

import asyncio
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from kennel.domain import Ref, Route, Target, Tenant
from kennel.errors import Unavailable
from kennel.plugin import RouterState

if TYPE_CHECKING:
    from tests.reconcile.conftest import Serving, Town

MAIN = Ref.branch("main")
HOST = "shop-main.example.net"


class Watch:
    """Notes where a visit to a host ends after every change of the router."""

    def __init__(self, town: "Town", monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Target | None] = []
        router = town.router
        switch, publish = router.switch, router.publish

        async def switched(tenant: Tenant, targets: Mapping[str, Target]) -> None:
            await switch(tenant, targets)
            self.seen.append(router.target(HOST))

        async def published(routes: Collection[Route]) -> None:
            await publish(routes)
            self.seen.append(router.target(HOST))

        monkeypatch.setattr(router, "switch", switched)
        monkeypatch.setattr(router, "publish", published)


async def test_a_service_that_was_renamed_answers_all_the_time(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.built(serving("api"))
    await town.settle()
    watch = Watch(town, monkeypatch)
    await town.built(serving("server"), version=2)
    await town.settle()
    assert watch.seen
    assert None not in watch.seen
    assert str(town.router.target(HOST)) == (await town.live())["server"]
    state = await town.router.observe()
    assert state.routes is not None
    assert {route.key.name for route in state.routes} == {"server"}


async def test_two_services_that_swap_names_answer_all_the_time(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.built(serving("api", "web"))
    await town.settle()
    watch = Watch(town, monkeypatch)
    await town.built(serving("shop", "web"), version=2)
    await town.settle()
    assert None not in watch.seen
    assert str(town.router.target(HOST)) == (await town.live())["shop"]


async def test_a_table_that_cannot_be_written_leaves_the_old_version(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.built(serving("api"))
    await town.settle()
    before = town.router.target(HOST)

    async def down(routes: Collection[Route]) -> None:
        raise Unavailable("caddy: connection refused")

    publish = town.router.publish
    monkeypatch.setattr(town.router, "publish", down)
    number = await town.built(serving("api", site=True), version=2)
    await town.reconciler.run_pass()
    async with asyncio.timeout(20):
        while not town.reconciler.troubles:
            await asyncio.sleep(0.01)
    assert (await town.build(number)).state == "built"
    assert town.router.target(HOST) == before
    assert town.reconciler.troubles == {Tenant("shop", MAIN): "caddy: connection refused"}
    monkeypatch.setattr(town.router, "publish", publish)
    await town.settle()
    assert (await town.build(number)).state == "done"


async def test_a_plan_that_is_older_than_a_deployment_does_not_undo_it(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant goes live after a pass has read the store, and before it has asked the router."""
    await town.built(serving("api"))
    await town.settle()
    watch = Watch(town, monkeypatch)
    await town.built(serving("api"), version=2)
    await town.reconciler.run_pass()
    observe = town.router.observe

    async def late() -> RouterState:
        if running := [settling.task for settling in town.reconciler._settling.values()]:
            await asyncio.wait(running)
        return await observe()

    monkeypatch.setattr(town.router, "observe", late)
    for _ in range(3):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.1)
    targets = [str(target) for target in watch.seen]
    changes = [b for a, b in pairwise(targets) if a != b]
    assert len(changes) <= 1
    assert targets[-1] == (await town.live())["api"]
