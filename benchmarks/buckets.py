"""What a bucket and its key cost, beside the four commands of Garage's own that make the same.

    python -m benchmarks buckets

A real Garage of one node. By hand an operator makes the key, the bucket, and lets one use the other
with `garage`'s commands; the same calls without Kennel, by a plain HTTP client, are beside it too.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from kennel_garage import GarageConfig, GarageProvisioner, provisioner

from benchmarks import town
from benchmarks.report import Cell, Table, middle, ratio, worst
from benchmarks.scale import Scale
from kennel.domain import Ref, Tenant
from kennel.testing.garage import GarageServer, find, garage_server

TOKEN = "KENNEL_BENCHMARK_GARAGE_TOKEN"  # the name of a variable
ALLOW = {"read": True, "write": True, "owner": False}


def run(scale: Scale) -> dict[str, Any]:
    town.quiet()
    with garage_server() as server:
        os.environ[TOKEN] = server.token
        return asyncio.run(_run(scale, server))


async def _run(scale: Scale, server: GarageServer) -> dict[str, Any]:
    config = GarageConfig(admin_token=f"env:{TOKEN}", admin_url=server.admin, endpoint=server.s3)
    tenants = [Tenant("shop", Ref.branch(f"b{number}")) for number in range(scale.buckets)]
    async with provisioner(config) as garage:
        made = [await _timed(garage, tenant) for tenant in tenants]
        again = [await _timed(garage, tenant) for tenant in tenants]
        begun = time.perf_counter()
        together = [Tenant("many", Ref.branch(f"b{number}")) for number in range(scale.buckets)]
        await asyncio.gather(*(garage.ensure(tenant, {}) for tenant in together))
        each = (time.perf_counter() - begun) / scale.buckets
        begun = time.perf_counter()
        assert not await garage.lacking([*tenants, *together])
        looked = time.perf_counter() - begun
        gone = [await _timed_removal(garage, tenant) for tenant in tenants]
    return {
        "buckets": scale.buckets,
        "made": _figures(made),
        "again": _figures(again),
        "together_each_ms": middle([each]),
        "idle_look_ms": middle([looked]),
        "removed": _figures(gone),
        "calls": _figures([_calls(server, f"calls-{n}") for n in range(scale.buckets)]),
        "by_hand": _figures([_by_hand(server, f"hand-{n}") for n in range(scale.buckets)]),
    }


async def _timed(garage: GarageProvisioner, tenant: Tenant) -> float:
    begun = time.perf_counter()
    await garage.ensure(tenant, {})
    return time.perf_counter() - begun


async def _timed_removal(garage: GarageProvisioner, tenant: Tenant) -> float:
    begun = time.perf_counter()
    await garage.remove(tenant)
    return time.perf_counter() - begun


def _calls(server: GarageServer, name: str) -> float:
    """Make a key and a bucket with as few calls as can be."""
    begun = time.perf_counter()
    key = server.ask("CreateKey", {"name": name})["accessKeyId"]
    local = {"accessKeyId": key, "alias": name, "allow": ALLOW}
    assert server.ask("CreateBucket", {"globalAlias": name, "localAlias": local})
    return time.perf_counter() - begun


def _by_hand(server: GarageServer, name: str) -> float:
    """Make the same with Garage's commands."""
    begun = time.perf_counter()
    for words in (
        ["bucket", "create", name],
        ["key", "create", name],
        ["bucket", "allow", "--read", "--write", name, "--key", name],
    ):
        command = [str(find()), "-c", str(server.config), *words]
        subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def _figures(seconds: Sequence[float]) -> dict[str, float]:
    return {"median_ms": middle(seconds), "worst_ms": worst(seconds)}


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    names = {
        "made": "a new bucket and key",
        "again": "the same again: it is there",
        "calls": "the two calls that make one, bare",
        "by_hand": "three commands by hand",
        "removed": "removing an empty one",
    }
    rows: list[list[Cell]] = [
        [text, figures[key]["median_ms"], figures[key]["worst_ms"]] for key, text in names.items()
    ]
    beside = ratio(figures["made"]["median_ms"], figures["by_hand"]["median_ms"])
    rows.append(["new, beside by hand", beside, None])
    note = (
        f"{figures['buckets']} at once: {figures['together_each_ms']} ms each."
        f" Whether any is lacking: {figures['idle_look_ms']} ms, one request."
    )
    return [Table("a bucket and a key on Garage", ["", "median ms", "worst ms"], rows, [note])]
