"""What is run once, such as migrations, on a real systemd."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Limits
from kennel.errors import Unavailable
from kennel.plugin.settings import Host
from kennel.testing.host import Box
from kennel.testing.probe import answers, ask, environment, eventually, make_end, probe, unit_of
from kennel.testing.supervised_once import cut_off, started

Cut = Callable[[SystemdSupervisor], None]
pytestmark = pytest.mark.host

SECRET = "correct-horse-battery-staple"


async def test_its_limits_are_those_of_a_service_and_systemd_ends_it(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = probe(limits=Limits(memory_max=1 << 27, cpu_weight=50, tasks_max=77))
    task = started(supervisor, unit, within=90)
    await ask(unit)
    assert box.show(
        unit.name, "MemoryMax", "CPUWeight", "TasksMax", "Slice", "TimeoutStartUSec", "DynamicUser"
    ) == {
        "MemoryMax": str(1 << 27),
        "CPUWeight": "50",
        "TasksMax": "77",
        "Slice": "kennel.slice",
        "TimeoutStartUSec": "1min 30s",
        "DynamicUser": "yes",
    }
    await make_end(unit, "exit 0")
    assert await task is None


@pytest.mark.parametrize("command", ["exit 0", "exit 3"])
async def test_its_end_stays_until_it_is_removed_and_then_nothing_does(
    supervisor: SystemdSupervisor, box: Box, host: Host, command: str
) -> None:
    unit = unit_of("/bin/sh", "-c", command)
    await started(supervisor, unit)
    assert unit.name in box.run(["systemctl", "list-units", "--all", "kennel-*"]).stdout
    await supervisor.remove(unit.name)
    assert unit.name not in box.run(["systemctl", "list-units", "--all", "kennel-*"]).stdout
    assert not box.run(["systemctl", "--failed", "--no-legend"]).stdout
    assert list((host.run_dir / "env").iterdir()) == []


async def test_no_secret_is_in_its_unit(supervisor: SystemdSupervisor, box: Box) -> None:
    unit = probe()
    env = environment(unit, {"TOKEN": SECRET})
    task = asyncio.create_task(supervisor.run(unit, env, within=60))
    assert (await ask(unit))["env"]["TOKEN"] == SECRET
    for verb in ("show", "cat", "status"):
        command = ["systemctl", verb, "--no-pager", f"{unit.name}.service"]
        output = box.run(command, check=False).stdout
        assert unit.name in output
        assert SECRET not in output
    await make_end(unit, "exit 0")
    await task


async def test_an_administrator_who_stops_it_does_not_make_it_fail(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = probe()
    task = started(supervisor, unit)
    await ask(unit)
    box.run(["systemctl", "stop", f"{unit.name}.service"])
    with pytest.raises(Unavailable, match="stopped by somebody"):
        await task


async def test_its_end_is_told_though_d_bus_was_away(
    supervisor: SystemdSupervisor, cut: Cut
) -> None:
    unit = probe()
    task = started(supervisor, unit)
    await ask(unit)
    for _ in range(3):
        cut(supervisor)
        await asyncio.sleep(0.2)
    assert not task.done()
    cut(supervisor)
    await make_end(unit, "exit 5")
    assert await task == "exited with status 5"


async def test_what_it_leaves_behind_goes_when_it_is_removed(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = unit_of("/bin/sh", "-c", "sleep 4711 & exit 0")
    assert await started(supervisor, unit) is None
    await supervisor.remove(unit.name)
    assert box.run(["pgrep", "-f", "^sleep 4711"], check=False).returncode == 1


async def test_files_of_runs_stay_as_long_as_the_runs(
    config: SystemdConfig, host: Host, box: Box
) -> None:
    unit = probe()
    async with SystemdSupervisor(config, host) as first:
        task = started(first, unit)
        await ask(unit)
        await cut_off(task)
    async with SystemdSupervisor(config, host) as second:
        assert [path.name for path in (host.run_dir / "env").iterdir()] == [f"{unit.name}.env"]
        await make_end(unit, "exit 0")
        assert await started(second, unit) is None
        await second.remove(unit.name)
    assert list((host.run_dir / "env").iterdir()) == []


KENNEL = """
import asyncio, json, sys
from pathlib import Path
from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Key, Ref, Tenant, Unit
from kennel.plugin.settings import Host
from kennel.testing.probe import environment

async def main():
    given = json.loads(sys.argv[1])
    host = Host(state_dir=Path(given["state"]), run_dir=Path(given["run"]))
    key = Key(Tenant("contract", Ref.branch("feature/x")), "api")
    unit = Unit(name=given["name"], key=key, port=given["port"], command=tuple(given["command"]))
    config = SystemdConfig(bus=given["bus"], journal=Path(given["journal"]))
    async with SystemdSupervisor(config, host) as supervisor:
        await supervisor.run(unit, environment(unit), within=60)

asyncio.run(main())
"""


@pytest.mark.parametrize(("line", "why"), [("exit 0", None), ("exit 3", "exited with status 3")])
async def test_a_killed_kennel_does_not_cost_it(
    config: SystemdConfig, host: Host, line: str, why: str | None
) -> None:
    unit = probe()
    given = {
        "state": str(host.state_dir),
        "run": str(host.run_dir),
        "name": unit.name,
        "port": unit.port,
        "command": unit.command,
        "bus": config.bus,
        "journal": str(config.journal),
    }
    kennel = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KENNEL, json.dumps(given)),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    run = (await ask(unit))["run"]
    kennel.send_signal(signal.SIGKILL)
    await kennel.wait()
    assert (await ask(unit))["run"] == run
    await make_end(unit, line)
    async with SystemdSupervisor(config, host) as successor:
        assert await started(successor, unit) == why
        assert list(await successor.logs(unit.name, 100)).count("probe: serves") == 1
        await successor.remove(unit.name)
        assert not await answers(unit)


@pytest.mark.parametrize("after", [0.0, 0.002, 0.005, 0.01, 0.02, 0.04])
async def test_it_is_run_once_wherever_kennel_is_cut_off(
    config: SystemdConfig, host: Host, after: float
) -> None:
    unit = unit_of("/bin/sh", "-c", "echo begun; sleep 0.2; exit 4")
    async with SystemdSupervisor(config, host) as first:
        task = started(first, unit)
        await asyncio.sleep(after)
        await cut_off(task)
    async with SystemdSupervisor(config, host) as second:
        assert await started(second, unit) == "exited with status 4"

        async def logged() -> bool:
            return "begun" in await second.logs(unit.name, 100)

        await eventually(logged)
        assert list(await second.logs(unit.name, 100)).count("begun") == 1
        await second.remove(unit.name)
