"""A Valkey number for a tenant, beside the commands that one would type."""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from kennel_valkey import DatabaseProvisioner, access, kennel_provisioners

from benchmarks.report import Cell, Table, middle, ratio, worst
from benchmarks.scale import Scale
from kennel.domain import Ref, Tenant
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host
from kennel.testing.valkey import Release, ValkeyServer, valkey_server
from kennel.testing.valkey_client import admin

RELEASE: Release = "valkey-8"
URL = "KENNEL_BENCHMARK_VALKEY"


def run(scale: Scale) -> dict[str, Any]:
    """Return milliseconds. The server keeps nothing; Kennel's book is on the disk."""
    os.environ[URL] = ""
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            valkey_server(RELEASE, databases=2 * scale.tenants + 2) as server,
        ):
            os.environ[URL] = server.url
            return asyncio.run(_measured(server, Path(folder), scale.tenants))
    finally:
        del os.environ[URL]


async def _measured(server: ValkeyServer, folder: Path, many: int) -> dict[str, Any]:
    settings = PluginSettings(
        {"valkey": {"url": f"env:{URL}"}}, Host(state_dir=folder, run_dir=folder)
    )
    (valkey,) = kennel_provisioners(settings)
    assert isinstance(valkey, DatabaseProvisioner)
    one_by_one = [Tenant("bench", Ref.branch(f"one-{number}")) for number in range(many)]
    at_once = [Tenant("bench", Ref.branch(f"many-{number}")) for number in range(many)]
    async with valkey:
        made = [await _timed(lambda: valkey.ensure(tenant, {})) for tenant in one_by_one]  # noqa: B023
        again = [await _timed(lambda: valkey.ensure(tenant, {})) for tenant in one_by_one]  # noqa: B023
        together = await _timed(lambda: _all(valkey, at_once))
        idle = [await _timed(lambda: valkey.lacking(one_by_one)) for _ in range(20)]
        gone = [await _timed(lambda: valkey.remove(tenant)) for tenant in one_by_one]  # noqa: B023
    by_hand = [_made_by_hand(server, number) for number in range(many)]
    gone_by_hand = [_removed_by_hand(server, number) for number in range(many)]
    return {
        "tenants": many,
        "made_ms": middle(made),
        "made_worst_ms": worst(made),
        "made_by_hand_ms": middle(by_hand),
        "again_ms": middle(again),
        "together_each_ms": round(1000 * together / many, 2),
        "pass_ms": middle(idle),
        "removed_ms": middle(gone),
        "removed_by_hand_ms": middle(gone_by_hand),
    }


async def _all(valkey: DatabaseProvisioner, tenants: Sequence[Tenant]) -> None:
    await asyncio.gather(*(valkey.ensure(tenant, {}) for tenant in tenants))


async def _timed(what: Callable[[], Awaitable[object]]) -> float:
    before = time.perf_counter()
    await what()
    return time.perf_counter() - before


def _made_by_hand(server: ValkeyServer, number: int) -> float:
    """Connect and set a user, as `valkey-cli` would; nothing is written down anywhere."""
    tenant = Tenant("hand", Ref.branch(str(number)))
    with admin(server) as client:
        known = frozenset(client.execute_command("COMMAND LIST"))
    abilities = access.Abilities(
        commands=known,
        confines=False,
        separates_scripts=False,
    )
    rules = access.rules(tenant, number, "0" * 64, abilities, scripts=False)
    before = time.perf_counter()
    with admin(server) as client:
        client.execute_command("ACL", "SETUSER", access.user(tenant), *rules)
    return time.perf_counter() - before


def _removed_by_hand(server: ValkeyServer, number: int) -> float:
    tenant = Tenant("hand", Ref.branch(str(number)))
    before = time.perf_counter()
    with admin(server, number) as client:
        client.execute_command("ACL", "DELUSER", access.user(tenant))
        client.execute_command("FLUSHDB", "ASYNC")
    return time.perf_counter() - before


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    """Return what there is to show."""
    made, removed = figures["made_by_hand_ms"], figures["removed_by_hand_ms"]
    rows: list[Sequence[Cell]] = [
        ["a number", figures["made_ms"], made, ratio(figures["made_ms"], made)],
        ["at worst", figures["made_worst_ms"], None, None],
        ["the same again", figures["again_ms"], None, None],
        ["each, all at once", figures["together_each_ms"], None, None],
        ["a removal", figures["removed_ms"], removed, ratio(figures["removed_ms"], removed)],
        ["a pass, nothing changes", figures["pass_ms"], None, None],
    ]
    title = f"{figures['tenants']} tenants of a Valkey server (ms)"
    return [Table(title, ["", "kennel", "by hand", "ratio"], rows)]
