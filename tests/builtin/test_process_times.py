"""What the process supervisor runs at certain times, and once."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from kennel.builtin.process import ProcessConfig, ProcessSupervisor, almanac, memory
from kennel.builtin.process.almanac import next_time
from kennel.domain import Limits, Unit, UnitState
from kennel.errors import Rejected, Unavailable
from kennel.plugin.settings import Host
from kennel.testing.probe import (
    PROBE,
    answers,
    ask,
    environment,
    eventually,
    has_reason,
    has_state,
    make_end,
    unit_of,
)
from kennel.testing.supervised_at_times import EVERY_SECOND, FAR_OFF, timed
from kennel.testing.supervised_once import started


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


@pytest.fixture
def config() -> ProcessConfig:
    return ProcessConfig(stop_timeout=0.5)


@pytest.fixture
async def supervisor(config: ProcessConfig, host: Host) -> AsyncIterator[ProcessSupervisor]:
    async with ProcessSupervisor(config, host) as supervisor:
        yield supervisor


def at(schedule: str) -> Unit:
    return timed(unit_of("/bin/true"), schedule)


BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2024, 1, 1, 12, 0, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("schedule", "then"),
    [
        ("08:30 Europe/Berlin", datetime(2024, 1, 2, 8, 30, tzinfo=BERLIN)),
        ("Sun *-*-* 23:59:59 Europe/Berlin", datetime(2024, 1, 7, 23, 59, 59, tzinfo=BERLIN)),
        ("2024-03-31 03:30:00 Europe/Berlin", datetime(2024, 3, 31, 3, 30, tzinfo=BERLIN)),
        ("*-*-* *:*:* Europe/Berlin", datetime(2024, 1, 1, 12, 0, 1, tzinfo=BERLIN)),
    ],
)
async def test_the_next_time_is_what_systemd_says(schedule: str, then: datetime) -> None:
    assert await next_time(at(schedule), after=MONDAY) == then.timestamp()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC", "Asia/Kolkata"])
async def test_a_time_without_a_zone_is_the_machines(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    then = datetime(2024, 7, 1, 8, 30, tzinfo=ZoneInfo(zone))
    assert await next_time(at("2024-07-01 08:30"), after=MONDAY) == then.timestamp()


async def test_what_is_over_is_never() -> None:
    assert await next_time(at("2023-01-01"), after=MONDAY) is None


@pytest.mark.parametrize("schedule", ["", "every day", "25:61", "daily\nx", "-h", "a\0b", "--help"])
async def test_what_is_no_time_is_named(schedule: str) -> None:
    with pytest.raises(Rejected) as refused:
        await next_time(at(schedule), after=MONDAY)
    assert repr(schedule) in str(refused.value)


async def test_without_the_program_it_says_what_to_install(
    supervisor: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    unit = at(FAR_OFF)
    with pytest.raises(Rejected, match="only systemd-analyze can read it: install systemd's"):
        await supervisor.ensure(unit, environment(unit))
    assert unit.name not in await supervisor.observe()


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a systemd-analyze into the PATH that does something else."""
    program = folder / "systemd-analyze"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_an_answer_that_says_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(tmp_path, monkeypatch, "echo \"unrecognized option '--base-time'\" >&2; exit 1")
    with pytest.raises(Rejected, match="does not tell when 'daily' is due: unrecognized option"):
        await next_time(at("daily"), after=MONDAY)


async def test_no_answer_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(tmp_path, monkeypatch, "exec sleep 4712")
    monkeypatch.setattr(almanac, "TIMEOUT", 0.2)
    with pytest.raises(Unavailable, match="did not answer within"):
        await next_time(at("daily"), after=MONDAY)


async def test_one_whose_times_cannot_be_told_any_more_has_failed_and_comes_back(
    supervisor: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unit = timed(unit_of("/bin/true"), EVERY_SECOND)
    await supervisor.ensure(unit, environment(unit))
    with monkeypatch.context() as patch:
        pretend(tmp_path, patch, "exit 1")
        await eventually(lambda: has_state(supervisor, unit, UnitState.FAILED))
    await supervisor.ensure(unit, environment(unit))
    assert await has_state(supervisor, unit, UnitState.SCHEDULED)


async def test_each_run_has_a_home_of_its_own(supervisor: ProcessSupervisor, host: Host) -> None:
    unit = timed(unit_of("/bin/sh", "-c", "ls $HOME; touch $HOME/mine"), EVERY_SECOND)
    await supervisor.ensure(unit, environment(unit))

    async def twice() -> bool:
        return list(await supervisor.logs(unit.name, 100)).count("tmp") >= 2

    await eventually(twice)
    assert "mine" not in await supervisor.logs(unit.name, 100)
    await supervisor.remove(unit.name)
    assert [path for path in host.run_dir.rglob("*") if unit.name in path.name] == []


async def test_what_a_run_leaves_behind_is_ended_with_it(supervisor: ProcessSupervisor) -> None:
    script = f"{sys.executable} -c '{PROBE}' serves & exit 0"
    unit = timed(unit_of("/bin/sh", "-c", script), EVERY_SECOND)
    await supervisor.ensure(unit, environment(unit))
    await eventually(lambda: _ran(supervisor, unit))
    await eventually(lambda: has_state(supervisor, unit, UnitState.SCHEDULED))
    await supervisor.remove(unit.name)
    assert not await answers(unit)


async def _ran(supervisor: ProcessSupervisor, unit: Unit) -> bool:
    status = (await supervisor.observe())[unit.name]
    return status.state is UnitState.RUNNING


async def test_a_run_may_not_take_for_ever(host: Host) -> None:
    config = ProcessConfig(stop_timeout=0.5, run_timeout=0.3)
    unit = timed(unit_of("/bin/sleep", "300"), EVERY_SECOND)
    async with ProcessSupervisor(config, host) as supervisor:
        await supervisor.ensure(unit, environment(unit))
        why = "its last run took longer than 0.3 s"
        await eventually(lambda: has_reason(supervisor, unit, why))
        lines = await supervisor.logs(unit.name, 100)
        assert f"{unit.name}: it took longer than 0.3 s" in lines


async def test_a_run_that_cannot_be_executed_says_so(supervisor: ProcessSupervisor) -> None:
    unit = timed(unit_of("/no/such/program"), EVERY_SECOND)
    await supervisor.ensure(unit, environment(unit))

    async def said() -> bool:
        return "/no/such/program cannot be run" in (await supervisor.observe())[unit.name].reason

    await eventually(said)


async def test_a_clock_that_is_set_forward_makes_times_come(
    supervisor: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kennel.builtin.process.timetable.NAP", 0.02)
    unit = timed(unit_of("/bin/echo", "hello"), "*-*-* 04:00 UTC")
    await supervisor.ensure(unit, environment(unit))
    assert await has_state(supervisor, unit, UnitState.SCHEDULED)
    now = time.time
    monkeypatch.setattr("kennel.builtin.process.timetable.time.time", lambda: now() + 24 * 60 * 60)

    async def logged() -> bool:
        return list(await supervisor.logs(unit.name, 10)) == ["hello"]

    await eventually(logged)


TAKES = "held = bytearray(400_000_000); print('had it')"


async def test_a_want_of_memory_is_said(supervisor: ProcessSupervisor) -> None:
    unit = unit_of(sys.executable, "-c", TAKES, limits=Limits(memory_max=200_000_000))
    why = await started(supervisor, unit)
    assert why == "it used more memory than it may (exited with status 1)"


async def test_words_of_memory_mean_nothing_without_a_limit(supervisor: ProcessSupervisor) -> None:
    unit = unit_of("/bin/sh", "-c", "echo MemoryError; exit 1")
    assert await started(supervisor, unit) == "exited with status 1"


@pytest.mark.parametrize(
    ("kills", "why"), [(0, "killed by SIGKILL"), (1, "killed by SIGKILL (the machine ran out of")]
)
async def test_a_machine_without_memory_is_said(
    supervisor: ProcessSupervisor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kills: int,
    why: str,
) -> None:
    monkeypatch.setattr(memory, "VMSTAT", tmp_path / "vmstat")
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 41\n")
    unit = unit_of(sys.executable, "-c", PROBE, "serves")
    task = started(supervisor, unit)
    await ask(unit)
    (tmp_path / "vmstat").write_text(f"nr_free_pages 7\noom_kill {41 + kills}\n")
    await make_end(unit, "kill 9")
    said = await task
    assert said
    assert said.startswith(why)


async def test_nobody_is_killed_where_the_kernel_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "VMSTAT", tmp_path / "vmstat")
    assert memory.oom_kills() == 0
    (tmp_path / "vmstat").write_text("nr_free_pages 7\n")
    assert memory.oom_kills() == 0


KENNEL = """
import asyncio, sys
from pathlib import Path
from kennel.builtin.process import ProcessConfig, ProcessSupervisor
from kennel.domain import Key, Ref, Tenant, Unit
from kennel.plugin.settings import Host
from kennel.testing.probe import PROBE, environment

async def main():
    folder = Path(sys.argv[1])
    host = Host(state_dir=folder / "state", run_dir=folder / "run")
    key = Key(Tenant("shop", Ref.branch("main")), "api")
    unit = Unit(name=sys.argv[2], key=key, port=int(sys.argv[3]),
                command=(sys.executable, "-c", PROBE, "serves"))
    async with ProcessSupervisor(ProcessConfig(), host) as supervisor:
        await supervisor.run(unit, environment(unit), within=60)

asyncio.run(main())
"""


async def test_a_run_dies_with_a_killed_kennel_and_the_next_runs_it_again(
    config: ProcessConfig, host: Host, tmp_path: Path
) -> None:
    unit = unit_of(sys.executable, "-c", PROBE, "serves")
    kennel = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KENNEL, str(tmp_path), unit.name, str(unit.port)),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    run = (await ask(unit))["run"]
    kennel.send_signal(signal.SIGKILL)
    await kennel.wait()
    async with ProcessSupervisor(config, host) as supervisor:
        assert not await answers(unit)
        task = started(supervisor, unit)
        assert (await ask(unit))["run"] != run
        await make_end(unit, "exit 0")
        assert await task is None
