"""What a pass costs in which nothing changes, beside a look at each deployment in turn.

    python -m benchmarks passes

Every deployment is a unit of a real systemd with the whole sandbox, started by the reconciler; its
route is in a real Caddy. The peer does on the same systemd, Caddy and store what a daemon would do
that goes from deployment to deployment: for each one query, one call over D-Bus and one request to
Caddy's API.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from benchmarks import town
from benchmarks.counting import Counting
from benchmarks.report import Cell, Table, middle, ratio, worst
from benchmarks.scale import Scale
from kennel.builtin.caddy import CaddyRouter
from kennel.builtin.systemd import SystemdSupervisor
from kennel.cli.demo.place import Place
from kennel.daemon import Parts
from kennel.store.tables import deployments

ROUTES = "/config/apps/http/servers/kennel/routes/0/handle/0/routes"


def run(scale: Scale) -> dict[str, Any]:
    """Measure at every size. Raises NoBox."""
    with town.site() as (place, _):
        return asyncio.run(_run(scale, place))


async def _run(scale: Scale, place: Place) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    so_far = 0
    async with town.parts_at(place) as parts:
        counting = Counting(parts, place.root)
        try:
            for size in scale.deployments:
                begun = time.perf_counter()
                await town.grow(parts, place, so_far=so_far, to=size)
                took = time.perf_counter() - begun
                measured = await _at(parts, counting, scale)
                figures[str(size)] = {
                    "start_each_ms": round(1000 * took / (size - so_far), 1),
                    **measured,
                }
                so_far = size
        finally:
            await parts.reconciler.stop()
    return figures


async def _at(parts: Parts, counting: Counting, scale: Scale) -> dict[str, Any]:
    return {
        "pass": await _passes(parts, counting, scale.passes),
        "one_by_one": await _one_by_one(parts),
    }


async def _timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def _passes(parts: Parts, counting: Counting, times: int) -> dict[str, Any]:
    """Measure passes in which there is nothing to do."""
    await parts.reconciler.settled()
    with counting.on():
        took = [await _timed(parts.reconciler.run_pass()) for _ in range(times)]
    assert parts.reconciler.world is not None
    assert parts.reconciler.world.plan.is_empty
    after_a_write = []
    for _ in range(max(1, times // 5)):
        await parts.store.write(lambda _: None)
        after_a_write.append(await _timed(parts.reconciler.run_pass()))
    return {
        "median_ms": middle(took),
        "worst_ms": worst(took),
        "after_a_write_ms": middle(after_a_write),
        **counting.each(times),
    }


async def _one_by_one(parts: Parts) -> dict[str, Any]:
    """Look at every deployment in turn."""
    supervisor, router = parts.providers.supervisor, parts.providers.router
    assert isinstance(supervisor, SystemdSupervisor)
    assert isinstance(router, CaddyRouter)
    live = [deployed for one in await parts.reconciler.wanted() for deployed in one.live]

    async def look() -> None:
        for number, deployed in enumerate(live):
            assert deployed.generation is not None
            query = sa.select(deployments).where(
                deployments.c.generation_id == deployed.generation.id
            )
            assert await parts.store.read(partial(_one, query=query))
            assert await supervisor._units.find(deployed.generation.unit)
            (await router._admin._ask("GET", f"{ROUTES}/{number}")).raise_for_status()

    took = [await _timed(look()) for _ in range(3)]
    return {"median_ms": middle(took), "external_calls": 2 * len(live), "queries": len(live)}


def _one(db: Connection, query: sa.Select[Any]) -> sa.Row[Any]:
    return db.execute(query).one()


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    rows: list[list[Cell]] = []
    for size, found in figures.items():
        one, naive = found["pass"], found["one_by_one"]
        rows.append(
            [
                *(int(size), one["median_ms"], one["worst_ms"], one["after_a_write_ms"]),
                *(naive["median_ms"], ratio(one["median_ms"], naive["median_ms"])),
                *(one["dbus_calls"] + one["caddy_reads"], naive["external_calls"]),
                one["caddy_writes"] + one["store_writes"] + one["file_writes"],
                found["start_each_ms"],
            ]
        )
    table = Table(
        "A pass in which nothing changes (ms)",
        [
            *("deployments", "median", "worst", "after a write", "one by one", "ratio"),
            *("calls", "one by one", "writes", "deploying each"),
        ],
        rows,
        [
            "`after a write`: something was written to the store, so it is read again.",
            "`deploying each`: from built to live, a unit with the whole sandbox, 16 at a time.",
        ],
    )
    return [table]
