"""What a pass costs in which every tenant has a database, beside asking for each of them.

    python -m benchmarks resources

A real PostgreSQL and the plugin for it; a reconciler on a real store, whose supervisor and router
live in memory: they would be asked the same without any resource. Statements are counted where
psycopg sends them. The peer does what a daemon would that looks after each tenant by itself: it
asks the same question of the same server, for one at a time.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from kennel_postgres import PostgresConfig, provisioner

from benchmarks import town
from benchmarks.report import Cell, Table, middle, ratio, worst
from benchmarks.scale import Scale
from kennel.domain import Manifest, Outputs, Ref, Service, Tenant
from kennel.plan import Policy
from kennel.plugin import Provisioner
from kennel.plugin.settings import Host
from kennel.reconcile import Providers, Reconciler, Rules
from kennel.reconcile.variables import Fingerprint
from kennel.store import Store, builds, projects, tenants
from kennel.testing import MemoryRouter, MemorySupervisor
from kennel.testing.postgresql import PostgresqlServer, postgresql

PROJECT = "shop"
RESOURCE = "postgres"
ROUNDS = 3
"""Of the peer."""


def run(scale: Scale) -> dict[str, Any]:
    town.quiet()
    with tempfile.TemporaryDirectory(prefix="kennel-resources-") as folder, postgresql() as server:
        return asyncio.run(_run(scale, Path(folder), server))


async def _run(scale: Scale, folder: Path, server: PostgresqlServer) -> dict[str, Any]:
    settings = PostgresConfig(socket_dir=server.folder, user="postgres")
    store = Store(f"sqlite:///{folder}/kennel.db")
    await store.open()
    async with provisioner(settings, Host(state_dir=folder, run_dir=folder)) as databases:
        reconciler = _reconciler(store, databases, folder)
        try:
            begun = time.perf_counter()
            await _fill(store, scale.tenants)
            await reconciler.settled()
            made = time.perf_counter() - begun
            return {
                "tenants": scale.tenants,
                "made_each_ms": round(1000 * made / scale.tenants, 1),
                "pass": await _passes(reconciler, scale.passes),
                "without": await _without(store, folder, scale.passes),
                "one_by_one": await _one_by_one(databases, await databases.observe()),
            }
        finally:
            await reconciler.stop()
            await store.close()


def _reconciler(store: Store, databases: Provisioner | None, folder: Path) -> Reconciler:
    providers = Providers(
        supervisor=MemorySupervisor(),
        router=MemoryRouter(),
        provisioners={RESOURCE: databases} if databases else {},
    )
    rules = Rules(
        host="here",
        ephemeral="example.net",
        ports=range(20000, 30000),
        policy=Policy(drain=0.0),
        settle_time=0.05,
    )
    return Reconciler(store, providers, rules, Fingerprint(folder / "fingerprint.key"), every=60.0)


async def _fill(store: Store, count: int) -> None:
    """Put as many refs into the store, each built, each with a worker and a database."""
    worker = Service(name="worker", package="worker", port=False)
    manifest = Manifest(services={"worker": worker}, resources={RESOURCE: {}})
    outputs = Outputs(
        paths={"worker": "/nix/store/worker"}, programs={"worker": "/nix/store/worker/bin/worker"}
    )

    def fill(db: Any) -> None:
        project = projects.register(
            db, now=1.0, forge="forgejo", full_name=f"acme/{PROJECT}", clone_url="https://x"
        )
        for number in range(count):
            ref, now = Ref.branch(f"b{number}"), time.time()
            tenants.seen(db, project_id=project.id, ref=ref, trusted=True, now=now)
            commit = f"{number + 1:040x}"
            builds.queue(db, project_id=project.id, ref=ref, commit=commit, trusted=True, now=now)
            claimed = builds.claim(db, now=now)
            assert claimed is not None
            builds.built(db, claimed.build.id, manifest=manifest, outputs=outputs, now=now)

    await store.write(fill)


async def _timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Count the statements that are sent to PostgreSQL."""
    counts: Counter[str] = Counter()
    execute = psycopg.AsyncCursor.execute

    async def counting(cursor: Any, *given: Any, **more: Any) -> Any:
        counts["statements"] += 1
        return await execute(cursor, *given, **more)

    psycopg.AsyncCursor.execute = counting  # type: ignore[method-assign,assignment]
    try:
        yield counts
    finally:
        psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign]


async def _passes(reconciler: Reconciler, times: int) -> dict[str, Any]:
    """Measure passes in which there is nothing to do."""
    await reconciler.run_pass()
    with _counted() as counts:
        took = [await _timed(reconciler.run_pass()) for _ in range(times)]
    assert reconciler.world is not None
    assert reconciler.world.plan.is_empty
    assert not reconciler.troubles, reconciler.troubles
    return {
        "median_ms": middle(took),
        "worst_ms": worst(took),
        "queries": counts["statements"] / times,
    }


async def _without(store: Store, folder: Path, times: int) -> dict[str, Any]:
    """Measure looks at the same tenants by a Kennel that asks no provisioner."""
    reconciler = _reconciler(store, None, folder)
    await reconciler.wanted()
    took = [await _timed(reconciler.look()) for _ in range(times)]
    return {"median_ms": middle(took)}


async def _one_by_one(databases: Provisioner, every: set[Tenant]) -> dict[str, Any]:
    """Ask for every tenant in turn."""

    async def look() -> None:
        for tenant in every:
            assert not await databases.lacking({tenant})

    with _counted() as counts:
        took = [await _timed(look()) for _ in range(ROUNDS)]
    return {"median_ms": middle(took), "queries": counts["statements"] / ROUNDS}


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    one, naive = figures["pass"], figures["one_by_one"]
    rows: list[list[Cell]] = [
        ["a pass", one["median_ms"], one["worst_ms"], one["queries"]],
        ["the same, nobody asked", figures["without"]["median_ms"], None, 0],
        ["one query for each tenant", naive["median_ms"], None, naive["queries"]],
        ["ratio", ratio(one["median_ms"], naive["median_ms"]), None, None],
    ]
    note = f"Made ready: {figures['made_each_ms']} ms for each, from built to live."
    title = f"{figures['tenants']} tenants with a database, nothing changes"
    return [Table(title, ["", "median ms", "worst ms", "queries"], rows, [note])]
