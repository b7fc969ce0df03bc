"""What becomes of a deployment after it is live: how long it takes, and whether anybody notices.

    python -m benchmarks life

A rollback, beside pushing the old text again. Waking a preview by a request, beside starting its
program by hand. Taking a branch away. And requests at a rate to a branch that is redeployed,
rolled back and restarted, and to a preview that falls asleep between bursts of them.
"""

import asyncio
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.live import PATIENCE, Live, kennel
from benchmarks.load import Load
from benchmarks.report import Table, middle, ratio, worst
from benchmarks.scale import Scale
from kennel.cli.demo.forge import PROJECT
from kennel.cli.demo.place import DRAIN, free_ports
from kennel.cli.outcome import Failure
from kennel.testing.host import NoBox

SUPERVISORS = ("systemd", "process")
SLEEPY = "\n[environments.preview]\nsleep_after = 1\n"
FIRST, SECOND = "Hello from Kennel", "Hello again"
MAIN, NAPPING = "refs/heads/main", "napping"


def run(scale: Scale) -> dict[str, Any]:
    """Measure with both supervisors; where there is no systemd, the reason stands for it."""
    figures: dict[str, Any] = {}
    for supervisor in SUPERVISORS:
        try:
            with kennel(supervisor, SLEEPY) as live:
                figures[supervisor] = _measured(live, scale)
        except NoBox as reason:
            figures[supervisor] = str(reason)
    return figures


def _measured(live: Live, scale: Scale) -> dict[str, Any]:
    times = scale.pushes
    _push(live, FIRST, SECOND)
    pushed = [_push(live, *_turned(number)) for number in range(times)]
    latest = _turned(times)[0]
    rolled = [_rollback(live, latest) for _ in range(times)]
    branch = live.push(f"refs/heads/{NAPPING}")
    live.tell(f"refs/heads/{NAPPING}", branch)
    live.until_live(NAPPING)
    woken = [_wake(live) for _ in range(times)]
    by_hand = [_started_by_hand(live) for _ in range(times)]
    gone = [_gone(live, number) for number in range(times)]
    return {
        "times": times,
        "rollback_ms": middle(rolled),
        "rollback_worst_ms": worst(rolled),
        "push_again_ms": middle(pushed),
        "wake_ms": middle(woken),
        "wake_worst_ms": worst(woken),
        "start_by_hand_ms": middle(by_hand),
        "teardown_ms": middle(gone),
        "teardown_worst_ms": worst(gone),
        **asyncio.run(_under_load(live, scale, latest)),
    }


def _turned(number: int) -> tuple[str, str]:
    """Return the text that is live before a push of this number, and after it."""
    return (SECOND, FIRST) if number % 2 == 0 else (FIRST, SECOND)


def _push(live: Live, old: str, new: str) -> float:
    """Push a text, and return how long it takes until it is read."""
    visitor = live.visitor(f"{PROJECT}-main.localhost")
    commit = live.push(MAIN, old=f'"{old}"', new=f'"{new}"')
    live.tell(MAIN, commit)
    took = visitor.until(new) - live.sent_at
    visitor.close()
    _recorded(live)
    return took


def _rollback(live: Live, latest: str) -> float:
    """Roll back to the build before the newest, or forward again; return how long until it is read.

    `latest`: the text of the newest build.
    """
    newest, before = (b.id for b in live.server.daemon.builds(PROJECT, "main", 2))
    visitor = live.visitor(f"{PROJECT}-main.localhost")
    back = visitor.first_line() == latest
    begun = time.perf_counter()
    live.server.daemon.rollback(PROJECT, "main", before if back else newest)
    took = visitor.until((FIRST if latest == SECOND else SECOND) if back else latest) - begun
    visitor.close()
    _recorded(live)
    return took


def _recorded(live: Live) -> None:
    """Wait until nothing is on its way to live, and what was replaced is stopped."""
    _until(lambda: all(b.state != "built" for b in live.server.daemon.builds(PROJECT, "main", 2)))
    time.sleep(1.5)


def _until(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not question():
        if time.monotonic() > deadline:
            raise Failure("it never came true")
        time.sleep(0.02)


def _wake(live: Live) -> float:
    """Wait until the preview sleeps, and return how long the request takes that wakes it."""
    _asleep(live)
    visitor = live.visitor(f"{PROJECT}-{NAPPING}.localhost")
    begun = time.perf_counter()
    text = visitor.first_line()
    took = time.perf_counter() - begun
    visitor.close()
    if not text:
        raise Failure("the preview did not answer who woke it")
    return took


def _asleep(live: Live) -> None:
    def rests() -> bool:
        mine = [d for d in live.server.daemon.status(PROJECT) if d.ref == NAPPING]
        steps = [step for step in live.server.daemon.plan() if NAPPING in step.tenant]
        return any(d.state == "asleep" for d in mine) and not steps

    _until(rests)
    time.sleep(DRAIN + 0.2)  # its process goes on for so long
    _until(rests)


def _started_by_hand(live: Live) -> float:
    """Start the program of the service, and return how long it takes until it listens."""
    [port] = free_ports(1)
    more = {"HOST": "127.0.0.1", "PORT": str(port)}
    begun = time.perf_counter()
    with subprocess.Popen(
        [str(live.script)],
        env={**os.environ, **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        while not _listens(port):
            time.sleep(0.001)
        took = time.perf_counter() - begun
        started.kill()
    return took


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _gone(live: Live, number: int) -> float:
    """Take a branch away, and return how long it takes until nothing is known of it."""
    branch = f"going-{number}"
    commit = live.push(f"refs/heads/{branch}")
    live.tell(f"refs/heads/{branch}", commit)
    live.until_live(branch)
    live.forge.push(f":refs/heads/{branch}")
    live.tell(f"refs/heads/{branch}", "0" * 40, before=commit)
    live.until_gone(branch)
    return time.perf_counter() - live.sent_at


async def _under_load(live: Live, scale: Scale, latest: str) -> dict[str, Any]:
    authority = next(live.place.state.rglob("authorities/local/root.crt"))
    context = ssl.create_default_context(cafile=str(authority))
    port = live.place.https
    main = Load(f"{PROJECT}-main.localhost", port, context, scale.rate)
    async with main.on():
        for _ in range(max(2, scale.redeploys // 4)):
            await asyncio.to_thread(_rollback, live, latest)
            await asyncio.to_thread(_restart, live)
    napping = Load(f"{PROJECT}-{NAPPING}.localhost", port, context, scale.rate)
    for _ in range(max(2, scale.redeploys // 4)):
        await asyncio.to_thread(_asleep, live)
        async with napping.on():
            await asyncio.sleep(1.0)
    return {"changing": _counted(main), "napping": _counted(napping)}


def _restart(live: Live) -> None:
    live.server.daemon.restart(PROJECT, "main")
    _recorded(live)


def _counted(load: Load) -> dict[str, Any]:
    return {
        "requests": len(load.took) + sum(load.failures.values()),
        "failed": sum(load.failures.values()),
        "failures": dict(load.failures),
        "p50_ms": middle(load.took),
        "worst_ms": worst(load.took),
    }


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    """Return how long each turn takes, and what visitors see of it."""
    turns, visits, notes = [], [], []
    for supervisor, found in figures.items():
        if isinstance(found, str):
            notes.append(f"{supervisor}: {found}")
            continue
        for what, key, beside, other in (
            ("rollback", "rollback", "push it again", found["push_again_ms"]),
            ("wake", "wake", "start it by hand", found["start_by_hand_ms"]),
            ("teardown", "teardown", "", None),
        ):
            took = found[f"{key}_ms"]
            turns.append(
                [
                    supervisor,
                    what,
                    took,
                    found[f"{key}_worst_ms"],
                    beside,
                    other,
                    ratio(took, other),
                ]
            )
        for what, key in (
            ("rolled back and restarted", "changing"),
            ("asleep between bursts", "napping"),
        ):
            one = found[key]
            keys = ("requests", "failed", "p50_ms", "worst_ms")
            visits.append([supervisor, what, *(one[key] for key in keys)])
            notes += [f"{supervisor}, {what}: {n} x {why}" for why, n in one["failures"].items()]
    columns = ["supervisor", "turn", "median ms", "worst ms", "beside", "ms", "ratio"]
    seen = ["supervisor", "while it is", "requests", "failed", "p50 ms", "worst ms"]
    return [
        Table("Turns in the life of a deployment", columns, turns),
        Table("Requests meanwhile", seen, visits, notes),
    ]
