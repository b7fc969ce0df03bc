"""What units cost: starting, observing and stopping N of them, side by side.

    python -m benchmarks.units

`run()` answers with the seconds (and what they are per unit) for both supervisors; systemd's are
left out, with the reason, where no systemd can be booted.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from kennel.builtin.process import ProcessConfig, ProcessSupervisor
from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Key, Ref, Tenant, Unit, names
from kennel.plugin import Supervisor
from kennel.plugin.settings import Host
from kennel.testing.host import NoBox, systemd_box

UNITS = 50
OBSERVATIONS = 20


def units(count: int) -> list[Unit]:
    keys = [Key(Tenant("bench", Ref.branch("main")), f"s{number}") for number in range(count)]
    return [
        Unit(name=names.unit(key, "0123456789ab"), key=key, command=("/bin/sleep", "600"), port=1)
        for key in keys
    ]


async def timed(work: Awaitable[object]) -> float:
    before = time.perf_counter()
    await work
    return time.perf_counter() - before


async def each(action: Callable[[Unit], Coroutine[Any, Any, None]], what: list[Unit]) -> None:
    await asyncio.gather(*(action(unit) for unit in what))


async def measure(supervisor: Supervisor, count: int) -> dict[str, float]:
    """Return milliseconds: of one unit alone, of each of many at once, of one look at all."""
    one, *many = units(count + 1)
    async with supervisor:
        alone = await timed(supervisor.ensure(one, {}))
        start = await timed(each(lambda unit: supervisor.ensure(unit, {}), many))
        again = await timed(each(lambda unit: supervisor.ensure(unit, {}), many))
        observe = [await timed(supervisor.observe()) for _ in range(OBSERVATIONS)]
        stop = await timed(each(lambda unit: supervisor.remove(unit.name), [one, *many]))
    return {
        "start_one_ms": 1000 * alone,
        "start_each_ms": 1000 * start / count,
        "ensure_running_each_ms": 1000 * again / count,
        "observe_all_ms": 1000 * sorted(observe)[OBSERVATIONS // 2],
        "stop_each_ms": 1000 * stop / (count + 1),
    }


def run(count: int = UNITS) -> dict[str, Any]:
    """Measure both supervisors with `count` units."""
    with tempfile.TemporaryDirectory(prefix="kennel-bench-") as name:
        folder = Path(name)
        host = Host(state_dir=folder / "state", run_dir=folder / "run")
        host.run_dir.mkdir()
        process = asyncio.run(measure(ProcessSupervisor(ProcessConfig(), host), count))
        try:
            with systemd_box(folder / "box", bind=[host.run_dir]) as box:
                config = SystemdConfig(bus=box.bus)
                systemd: object = asyncio.run(measure(SystemdSupervisor(config, host), count))
        except NoBox as reason:
            systemd = str(reason)
    return {"units": count, "process": process, "systemd": systemd}


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
