"""The supervisor of the embedded default, with real processes."""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from kennel.builtin.process import ProcessConfig, ProcessSupervisor, kennel_supervisors
from kennel.builtin.process.logfile import LogFile, prune
from kennel.domain import Limits, Unit, UnitState
from kennel.errors import ConfigError, Rejected
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host
from kennel.testing.probe import (
    PROBE,
    answers,
    ask,
    environment,
    eventually,
    make_end,
    unit_of,
)
from kennel.testing.supervisor import MakeSupervisor, SupervisorContract


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


@pytest.fixture
def config() -> ProcessConfig:
    return ProcessConfig(restart_delay=0.05, start_limit=3, stop_timeout=0.5)


@pytest.fixture
async def supervisor(config: ProcessConfig, host: Host) -> AsyncIterator[ProcessSupervisor]:
    async with ProcessSupervisor(config, host) as supervisor:
        yield supervisor


def probe(mode: str = "serves") -> Unit:
    return unit_of(sys.executable, "-c", PROBE, mode)


class TestProcessSupervisor(SupervisorContract):
    @pytest.fixture
    def make_supervisor(self, config: ProcessConfig, host: Host) -> MakeSupervisor:
        return lambda: ProcessSupervisor(config, host)

    def python(self) -> str:
        return sys.executable


async def test_says_at_the_start_that_it_has_no_walls(
    config: ProcessConfig, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async with ProcessSupervisor(config, host):
        assert [r.message for r in caplog.records if "without a sandbox" in r.message]


async def test_the_environment_is_what_is_given_and_no_more(supervisor: ProcessSupervisor) -> None:
    unit = probe()
    await supervisor.ensure(unit, environment(unit, {"PATH": "/elsewhere"}))
    seen = (await ask(unit))["env"]
    seen.pop("LC_CTYPE", None)  # Python's own doing
    assert set(seen) == {"HOME", "HOST", "PATH", "PORT", "TMPDIR"}
    assert seen["PATH"] == "/elsewhere"


async def test_nothing_of_a_removed_unit_stays_in_the_run_dir(
    supervisor: ProcessSupervisor, host: Host
) -> None:
    unit = probe()
    await supervisor.ensure(unit, environment(unit))
    home = Path((await ask(unit))["env"]["HOME"])
    assert home.is_relative_to(host.run_dir)
    assert home.stat().st_mode & 0o077 == 0 or home.parent.stat().st_mode & 0o077 == 0
    await supervisor.remove(unit.name)
    assert [path for path in host.run_dir.rglob("*") if unit.name in path.name] == []


async def test_why_it_failed_is_said(supervisor: ProcessSupervisor) -> None:
    unit = unit_of("/bin/sh", "-c", "exit 7")
    await supervisor.ensure(unit, environment(unit))

    async def failed() -> bool:
        return (await supervisor.observe())[unit.name].state is UnitState.FAILED

    await eventually(failed)
    assert (await supervisor.observe())[unit.name].reason == "exited with status 7"
    lines = await supervisor.logs(unit.name, 10)
    assert lines[-1] == f"{unit.name}: exited with status 7; given up after 3 starts"


async def test_a_signal_is_called_by_its_name(supervisor: ProcessSupervisor) -> None:
    unit = unit_of("/bin/sh", "-c", "kill -SEGV $$")
    await supervisor.ensure(unit, environment(unit))

    async def said() -> bool:
        return (await supervisor.observe())[unit.name].reason == "killed by SIGSEGV"

    await eventually(said)


async def test_what_ends_well_is_not_started_again(supervisor: ProcessSupervisor) -> None:
    unit = probe()
    await supervisor.ensure(unit, environment(unit))
    await ask(unit)
    await make_end(unit, "exit 0")

    async def gone() -> bool:
        return unit.name not in await supervisor.observe()

    await eventually(gone)
    await asyncio.sleep(0.2)
    assert not await answers(unit)


async def test_it_is_started_again_later_and_later(host: Host) -> None:
    config = ProcessConfig(restart_delay=0.1, start_limit=4)
    unit = unit_of("/bin/sh", "-c", "date +%s.%N; exit 1")
    async with ProcessSupervisor(config, host) as supervisor:
        await supervisor.ensure(unit, environment(unit))

        async def failed() -> bool:
            return (await supervisor.observe())[unit.name].state is UnitState.FAILED

        await eventually(failed)
        lines = await supervisor.logs(unit.name, 20)
    starts = [float(line) for line in lines if line[0].isdigit()]
    waits = [later - sooner for sooner, later in pairwise(starts)]
    assert len(starts) == 4
    assert waits[0] >= 0.1
    assert waits[1] >= 0.2
    assert waits[2] >= 0.4


async def test_a_program_that_cannot_be_executed_says_why(supervisor: ProcessSupervisor) -> None:
    for command, why in (
        ("/no/such/program", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
    ):
        unit = unit_of(command)
        with pytest.raises(Rejected, match=f"{command} cannot be run: {why}"):
            await supervisor.ensure(unit, environment(unit))


async def test_a_program_that_exits_like_a_wrapper_was_executed(
    supervisor: ProcessSupervisor,
) -> None:
    unit = unit_of("/bin/sh", "-c", "exit 127")
    await supervisor.ensure(unit, environment(unit))
    assert unit.name in await supervisor.observe()


async def test_memory_and_core_dumps_are_limited(supervisor: ProcessSupervisor) -> None:
    tell = (
        "import json, resource as r;"
        "print(json.dumps([r.getrlimit(r.RLIMIT_DATA)[0], r.getrlimit(r.RLIMIT_CORE)[0],"
        " r.getrlimit(r.RLIMIT_AS)[0]]))"
    )
    unit = unit_of(sys.executable, "-c", tell, limits=Limits(memory_max=300_000_000))
    await supervisor.ensure(unit, environment(unit))

    async def told() -> bool:
        return bool(await supervisor.logs(unit.name, 1))

    await eventually(told)
    limits = json.loads((await supervisor.logs(unit.name, 1))[0])
    assert limits == [300_000_000, 0, resource.getrlimit(resource.RLIMIT_AS)[0]]


async def test_more_memory_than_allowed_is_not_to_be_had(supervisor: ProcessSupervisor) -> None:
    take = "held = bytearray(400_000_000); print('had it')"
    unit = unit_of(sys.executable, "-c", take, limits=Limits(memory_max=200_000_000))
    await supervisor.ensure(unit, environment(unit))

    async def refused() -> bool:
        return "MemoryError" in await supervisor.logs(unit.name, 50)

    await eventually(refused)


KENNEL = """
import asyncio, os, sys
from pathlib import Path
from kennel.builtin.process import ProcessConfig, ProcessSupervisor
from kennel.domain import Key, Ref, Tenant, Unit
from kennel.plugin.settings import Host
from kennel.testing.probe import PROBE, ask, environment

async def main():
    folder = Path(sys.argv[1])
    host = Host(state_dir=folder / "state", run_dir=folder / "run")
    key = Key(Tenant("shop", Ref.branch("main")), "api")
    unit = Unit(name=sys.argv[2], key=key, port=int(sys.argv[3]),
                command=(sys.executable, "-c", PROBE, "family"))
    async with ProcessSupervisor(ProcessConfig(), host) as supervisor:
        await supervisor.ensure(unit, environment(unit))
        print(os.getsid((await ask(unit))["run"]), flush=True)  # any of the family may answer
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_services_die_with_a_killed_kennel_and_the_next_start_sweeps(
    config: ProcessConfig, host: Host, tmp_path: Path
) -> None:
    unit = probe()
    kennel = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", KENNEL, str(tmp_path), unit.name, str(unit.port)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert kennel.stdout
    leader = int(await kennel.stdout.readline())
    kennel.send_signal(signal.SIGKILL)
    await kennel.wait()

    async def leader_is_gone() -> bool:
        return not Path(f"/proc/{leader}/cmdline").exists() or not await asyncio.to_thread(
            Path(f"/proc/{leader}/cmdline").read_bytes
        )

    try:
        await eventually(leader_is_gone, within=5)
        assert await answers(unit), "its children hold the port: there is something to sweep"
    finally:
        async with ProcessSupervisor(config, host) as supervisor:
            assert not await answers(unit)
            assert await supervisor.observe() == {}


def test_a_log_keeps_its_end_and_does_not_grow(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", 4096)
    for number in range(2000):
        log.append(f"line {number}\n".encode())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4096
    assert log.tail(100) == [f"line {number}" for number in range(1900, 2000)]
    assert len(log.tail(10**6)) > 100
    assert log.tail(0) == []


def test_a_single_write_larger_than_a_log_keeps_its_end(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", 4096)
    log.append(b"x" * 10_000 + b"\nend\n")
    assert log.tail(1) == ["end"]
    assert (tmp_path / "a.log").stat().st_size <= 4096


def test_old_logs_go(tmp_path: Path) -> None:
    for name, days in (("old.log", 8), ("new.log", 6)):
        (tmp_path / name).write_text("x")
        when = (tmp_path / name).stat().st_mtime - days * 86400
        os.utime(tmp_path / name, (when, when))
    prune(tmp_path, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["new.log"]


def test_is_on_with_its_table(host: Host) -> None:
    assert list(kennel_supervisors(PluginSettings({}, host))) == []
    (supervisor,) = kennel_supervisors(PluginSettings({"process": {"log_days": 3}}, host))
    assert supervisor.name == "process"
    with pytest.raises(ConfigError, match="log_day"):
        list(kennel_supervisors(PluginSettings({"process": {"log_day": 3}}, host)))
