"""What a new database costs, empty and from a template, beside the same by hand.

    python -m benchmarks databases

A real PostgreSQL that writes to the disk as it does in production. By hand is what an operator
types for the same result: one `psql` with the statements. The server's own is one CREATE DATABASE
over a connection that is open. They take turns, so that what else the machine does hits all.
"""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kennel_postgres import PostgresConfig, PostgresProvisioner, provisioner
from psycopg import AsyncConnection

from benchmarks import town
from benchmarks.report import Cell, Table, middle, ratio, worst
from benchmarks.scale import Scale
from kennel.domain import Ref, Tenant
from kennel.plugin.settings import Host
from kennel.testing.postgresql import PostgresqlServer, postgresql, rows

SET_UP = """
CREATE ROLE kennel LOGIN CREATEDB CREATEROLE;
GRANT CONNECT ON DATABASE postgres TO kennel;
CREATE ROLE demo_owner;
GRANT demo_owner TO kennel;
CREATE DATABASE demo OWNER kennel;
"""
FILL = """
SET ROLE demo_owner;
CREATE SCHEMA shop;
CREATE TABLE shop.things AS SELECT i, repeat(md5(i::text), 6) AS t FROM generate_series(1, {}) AS i;
"""
NEW = " TEMPLATE template0"
BY_HAND = """
CREATE ROLE "{0}" LOGIN PASSWORD 'secret' CONNECTION LIMIT 20;
GRANT "{0}" TO kennel;
CREATE DATABASE "{0}" OWNER "{0}" TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE "{0}" FROM PUBLIC;
COMMENT ON DATABASE "{0}" IS 'by hand';
"""


def run(scale: Scale) -> dict[str, Any]:
    town.quiet()
    return {what: _on_a_server(scale, what) for what in ("synced", "unsynced")}


def _on_a_server(scale: Scale, what: str) -> dict[str, Any]:
    """Measure on a server that writes to the disk, as one has to, or leaves that to chance."""
    with (
        tempfile.TemporaryDirectory(prefix="kennel-databases-") as folder,
        postgresql(settings=f"fsync = {'on' if what == 'synced' else 'off'}") as server,
    ):
        for statement in SET_UP.strip().splitlines():
            rows(server.url, statement)
        demo = server.url_of("postgres", "demo")
        for statement in (
            "GRANT CREATE ON DATABASE demo TO demo_owner",
            FILL.format(scale.rows),
            "VACUUM FREEZE",
        ):
            rows(demo, statement)
        return asyncio.run(_run(scale, Path(folder), server))


async def _run(scale: Scale, folder: Path, server: PostgresqlServer) -> dict[str, Any]:
    config = PostgresConfig(
        socket_dir=server.folder,
        user="kennel",
        templates={"start": "demo"},
        backup_before_drop="never",
    )
    took: dict[str, list[float]] = {}
    async with (
        provisioner(config, Host(state_dir=folder, run_dir=folder)) as databases,
        await AsyncConnection.connect(server.url_of("kennel"), autocommit=True) as bare,
    ):
        await databases.observe()  # its connection is open from here on
        for number in range(1, scale.databases + 1):
            for what, seconds in (await _round(databases, bare, server, number)).items():
                took.setdefault(what, []).append(seconds)
    [(size,)] = rows(server.url, "SELECT pg_database_size('demo')")
    return {
        "databases": scale.databases,
        "template_bytes": size,
        "median_ms": {what: middle(seconds) for what, seconds in took.items()},
        "worst_ms": {what: worst(seconds) for what, seconds in took.items()},
    }


async def _round(
    databases: PostgresProvisioner,
    bare: AsyncConnection[Any],
    server: PostgresqlServer,
    number: int,
) -> dict[str, float]:
    """Make one of each kind, and take it away again. Return seconds by what was done."""
    empty = Tenant("shop", Ref.pull_request(2 * number))
    copy = Tenant("shop", Ref.pull_request(2 * number + 1))
    hand = f"hand_{number}"
    steps: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("new", lambda: databases.ensure(empty, {})),
        ("new, by hand", lambda: asyncio.to_thread(_by_hand, server, hand)),
        ("new, the server's own", lambda: bare.execute(f"CREATE DATABASE bare{NEW}".encode())),
        ("copy", lambda: databases.ensure(copy, {"template": "start"})),
        ("copy, the server's own", lambda: bare.execute("CREATE DATABASE twin TEMPLATE demo")),
    ]
    after: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("again", lambda: databases.ensure(empty, {})),
        ("gone", lambda: databases.remove(empty)),
        ("gone, the server's own", lambda: bare.execute("DROP DATABASE bare")),
    ]
    turned = -1 if number % 2 else 1
    found = {}
    for what, step in [*steps[::turned], *after[::turned]]:
        if what == "again" and "gone" in found:
            continue
        await asyncio.to_thread(rows, server.url, "CHECKPOINT")  # nobody pays for another one
        found[what] = await _timed(step())
    await databases.remove(copy)
    await bare.execute("DROP DATABASE twin")
    return found


def _by_hand(server: PostgresqlServer, name: str) -> None:
    words = [word for line in BY_HAND.format(name).strip().splitlines() for word in ("-c", line)]
    command = [str(server.programs / "psql"), "-X", "-q", "-d", server.url_of("kennel"), *words]
    subprocess.run(command, check=True, timeout=60)


async def _timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def tables(figures: dict[str, Any]) -> list[Table]:
    return [_table(figures["synced"], "synced"), _table(figures["unsynced"], "not synced")]


def _table(figures: dict[str, Any], how: str) -> Table:
    found, most = figures["median_ms"], figures["worst_ms"]
    lines: list[list[Cell]] = []
    for what in ("new", "copy", "gone"):
        own, hand = found[f"{what}, the server's own"], found.get(f"{what}, by hand")
        lines.append([what, found[what], most[what], own, ratio(found[what], own), hand])
    lines.append(["again", found["again"], most["again"], None, None, None])
    megabytes = figures["template_bytes"] / 1_000_000
    return Table(
        f"{figures['databases']} databases of PostgreSQL, {how} to the disk (medians, ms)",
        ["", "kennel", "worst", "server's own", "ratio", "by hand"],
        lines,
        [f"The template holds {megabytes:.0f} MB."],
    )
