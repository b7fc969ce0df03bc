"""What Kennel itself takes up while many deployments run.

    python -m benchmarks memory

`kennel serve` on a real systemd, with its own Caddy; the deployments are put into its store as
built, and it starts them. `resident`: VmRSS, with what it shares with others; `own`: Pss, where
shared pages count in part. The peer is the Caddy that serves the same hosts.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import town
from benchmarks.report import Table, ratio
from benchmarks.scale import Scale
from kennel import settings
from kennel.cli.demo.place import Place
from kennel.cli.demo.server import Server
from kennel.store import Store

PATIENCE = 600.0
PASSES = 3
"""Passes after the last start: what starting took has been given back then."""


def run(scale: Scale) -> dict[str, Any]:
    """Measure at one size. Raises NoBox."""
    with town.site() as (place, _):
        asyncio.run(_fill(place, scale.resident))
        with Server(place) as server, server.daemon:
            pid = server._process.pid if server._process else 0
            empty = memory(pid)
            _until_live(server, scale.resident)
            _idle(server)
            caddy = memory(_child(pid))
            return {
                "deployments": scale.resident,
                "at_start": empty,
                "kennel": memory(pid),
                "caddy": caddy,
            }


async def _fill(place: Place, count: int) -> None:
    command = str(town.program(place))
    store = Store(settings.load(place.config).database_url)
    await store.open()
    await store.write(partial(town.fill, first=0, last=count, command=command))
    await store.close()


def _until_live(server: Server, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while sum(d.state == "live" for d in server.daemon.status()) < count:
        server.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all live: {server.daemon.plan()[:3]}")
        time.sleep(1.0)


def _idle(server: Server) -> None:
    """Wait until nothing is left to do, and for some more passes."""
    while server.daemon.plan():
        time.sleep(0.5)
    seen = server.daemon.health().passes
    deadline = time.monotonic() + 45
    while server.daemon.health().passes < seen + PASSES and time.monotonic() < deadline:
        time.sleep(0.5)


def memory(pid: int) -> dict[str, float]:
    """Return megabytes (10^6 bytes) of a process."""
    status = _fields(Path(f"/proc/{pid}/status"))
    rollup = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    return {
        "resident_mb": round(status["VmRSS"] * 1024 / 1e6, 1),
        "peak_mb": round(status["VmHWM"] * 1024 / 1e6, 1),
        "own_mb": round(rollup["Pss"] * 1024 / 1e6, 1),
    }


def _fields(file: Path) -> dict[str, int]:
    """Return the lines of a file of /proc that are in kB."""
    lines = (line.split() for line in file.read_text().splitlines() if line.endswith(" kB"))
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


def _child(pid: int) -> int:
    """Return the child that is Caddy."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "caddy" in Path(f"/proc/{child}/comm").read_text():
                return int(child)
    raise RuntimeError("Kennel runs no Caddy")


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    kennel, caddy = figures["kennel"], figures["caddy"]
    keys = ("resident_mb", "peak_mb", "own_mb")
    count = figures["deployments"]
    rows = [
        ["kennel serve, just started", *(figures["at_start"][key] for key in keys)],
        [f"kennel serve, {count} deployments", *(kennel[key] for key in keys)],
        [f"its Caddy, {count} deployments", *(caddy[key] for key in keys)],
        ["both", *(round(kennel[key] + caddy[key], 1) for key in keys)],
        ["ratio", *(ratio(kennel[key], caddy[key]) for key in keys)],
    ]
    return [Table("Memory (MB)", ["", "resident", "peak", "own"], rows)]
