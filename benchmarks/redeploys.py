"""Requests and WebSockets during redeployments: none should fail, none should be cut.

    python -m benchmarks redeploys

Pushes to one branch follow each other as soon as the one before is live, while visitors ask for
its page over HTTPS, at a rate, one in ten over a new connection; and while visitors of another
branch talk over WebSockets. Afterwards new branches appear and go, which changes Caddy's table of
hosts, under the same load.
"""

import asyncio
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.live import Live, kennel
from benchmarks.load import Load, Talkers
from benchmarks.report import Table, middle
from benchmarks.scale import Scale
from kennel.cli.demo.forge import PROJECT
from kennel.testing.host import NoBox

SUPERVISORS = ("systemd", "process")
TALKER = Path(__file__).with_name("talker.py")
FIRST = "Hello from Kennel"
SOCKETS = 20
NEW_BRANCHES = 5


def run(scale: Scale) -> dict[str, Any]:
    """Measure with both supervisors; where there is no systemd, the reason stands for it."""
    figures: dict[str, Any] = {}
    for supervisor in SUPERVISORS:
        try:
            with kennel(supervisor) as live:
                figures[supervisor] = asyncio.run(_run(live, scale))
        except NoBox as reason:
            figures[supervisor] = str(reason)
    return figures


async def _run(live: Live, scale: Scale) -> dict[str, Any]:
    await asyncio.to_thread(_prepare, live)
    authority = next(live.place.state.rglob("authorities/local/root.crt"))
    context = ssl.create_default_context(cafile=str(authority))
    port = live.place.https
    talkers = Talkers(f"{PROJECT}-chat.localhost", port, context, SOCKETS)
    redeploying = Load(f"{PROJECT}-main.localhost", port, context, scale.rate)
    changing = Load(f"{PROJECT}-main.localhost", port, context, scale.rate)
    async with talkers.on():
        async with redeploying.on():
            await asyncio.sleep(0.5)
            begun = time.perf_counter()
            for number in range(scale.redeploys):
                await _redeploy(live, redeploying, number)
            took = time.perf_counter() - begun
            await asyncio.sleep(3.0)  # the last of the old ones is stopped
        during = {"messages": talkers.messages, "cut": len(talkers.cut)}
        async with changing.on():
            for number in range(min(NEW_BRANCHES, scale.redeploys)):
                await asyncio.to_thread(_appear_and_go, live, f"new-{number}")
            await asyncio.sleep(1.0)
    return {
        "redeploys": scale.redeploys,
        "each_s": round(took / scale.redeploys, 2),
        **_counted(redeploying),
        "websockets": SOCKETS,
        "websocket_messages": during["messages"],
        "websockets_cut": during["cut"],
        "new_hosts": {
            "branches": min(NEW_BRANCHES, scale.redeploys),
            **_counted(changing),
            "websockets_cut": len(talkers.cut) - during["cut"],
        },
    }


def _prepare(live: Live) -> None:
    """Have a service live, on two branches, that knows WebSockets."""
    shebang = live.script.read_text().partition("\n")[0]
    live.script.write_text(f"{shebang}\n{TALKER.read_text().partition(chr(10))[2]}")
    live.tell("refs/heads/chat", live.push("refs/heads/chat"))
    live.tell("refs/heads/main", live.push("refs/heads/main"))
    live.until_live("chat")
    visitor = live.visitor(f"{PROJECT}-main.localhost")
    visitor.until(FIRST)
    visitor.close()


async def _redeploy(live: Live, load: Load, number: int) -> None:
    old = FIRST if number == 0 else f"redeployment {number - 1}"
    new = f"redeployment {number}"

    def push() -> None:
        live.tell("refs/heads/main", live.push("refs/heads/main", old=f'"{old}"', new=f'"{new}"'))

    await asyncio.to_thread(push)
    await load.until(new)


def _appear_and_go(live: Live, branch: str) -> None:
    commit = live.push(f"refs/heads/{branch}")
    live.tell(f"refs/heads/{branch}", commit)
    live.until_live(branch)
    live.forge.push(f":refs/heads/{branch}")
    live.tell(f"refs/heads/{branch}", "0" * 40, before=commit)
    live.until_gone(branch)


def _counted(load: Load) -> dict[str, Any]:
    took = sorted(load.took)
    return {
        "requests": len(took) + sum(load.failures.values()),
        "failed": sum(load.failures.values()),
        "failures": dict(load.failures),
        "retried": load.retried,
        "p50_ms": middle(took),
        "p99_ms": round(1000 * took[int(len(took) * 0.99)], 1),
    }


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    rows, notes = [], []
    for supervisor, found in figures.items():
        if isinstance(found, str):
            notes.append(f"{supervisor}: {found}")
            continue
        for what, one, times in (
            ("redeployments", found, found["redeploys"]),
            ("new branches", found["new_hosts"], found["new_hosts"]["branches"]),
        ):
            keys = ("requests", "failed", "retried", "p50_ms", "p99_ms", "websockets_cut")
            rows.append([supervisor, f"{times} {what}", *(one[key] for key in keys)])
            notes += [f"{supervisor}, {what}: {n} x {why}" for why, n in one["failures"].items()]
    columns = ["supervisor", "during", "requests", "failed", "retried", "p50 ms", "p99 ms", "cut"]
    notes.append(
        "`retried`: a kept connection was closed before the answer, as Caddy does when its table of"
        " hosts changes; asked again over a new one, as browsers do. `cut`: WebSockets."
    )
    return [Table("Requests that fail, and WebSockets that are cut", columns, rows, notes)]
