"""The supervisor of production, on a real systemd."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Limits, UnitState
from kennel.errors import Rejected
from kennel.plugin import Supervisor
from kennel.plugin.settings import Host
from kennel.testing.host import Box
from kennel.testing.probe import (
    ask,
    environment,
    eventually,
    has_state,
    probe,
    unit_of,
)
from kennel.testing.supervisor import MakeSupervisor, SupervisorContract

Cut = Callable[[SystemdSupervisor], None]
pytestmark = pytest.mark.host


class TestSystemdSupervisor(SupervisorContract):
    @pytest.fixture
    def make_supervisor(self, config: SystemdConfig, host: Host) -> MakeSupervisor:
        return lambda: SystemdSupervisor(config, host)

    def unreachable(self) -> Supervisor:
        host = Host(state_dir=Path("/nowhere"), run_dir=Path("/nowhere"))
        return SystemdSupervisor(SystemdConfig(bus="unix:path=/nowhere/bus"), host)


class TestUnits:
    async def test_limits_and_slice(self, supervisor: SystemdSupervisor, box: Box) -> None:
        limits = Limits(memory_max=123_000_000 // 4096 * 4096, cpu_weight=50, tasks_max=77)
        unit = probe(limits=limits)
        await supervisor.ensure(unit, environment(unit))
        assert box.show(
            unit.name, "MemoryMax", "CPUWeight", "TasksMax", "Slice", "CollectMode", "Type"
        ) == {
            "MemoryMax": str(limits.memory_max),
            "CPUWeight": "50",
            "TasksMax": "77",
            "Slice": "kennel.slice",
            "CollectMode": "inactive-or-failed",
            "Type": "exec",
        }

    async def test_every_line_of_the_journal_says_whose_it_is(
        self, supervisor: SystemdSupervisor, box: Box
    ) -> None:
        unit = probe(fields={"KENNEL_COMMIT": "c0ffee", "KENNEL_SERVICE": "another", "_no": "x"})
        await supervisor.ensure(unit, environment(unit))
        await ask(unit, "say hello")
        text = box.run(["journalctl", "-o", "json", "KENNEL_COMMIT=c0ffee", "--no-pager"]).stdout
        entry = next(e for e in map(json.loads, text.splitlines()) if e["MESSAGE"] == "hello")
        assert entry["KENNEL_PROJECT"] == "contract"
        assert entry["KENNEL_REF"] == "feature/x"
        assert entry["KENNEL_SERVICE"] == "api"
        assert entry["SYSLOG_IDENTIFIER"] == unit.name

    async def test_a_hundred_start_and_stop_side_by_side(
        self, supervisor: SystemdSupervisor
    ) -> None:
        units = [unit_of("/bin/sleep", "300", name=f"s{number}") for number in range(100)]
        await asyncio.gather(*(supervisor.ensure(unit, environment(unit)) for unit in units))
        observed = await supervisor.observe()
        assert {observed[unit.name].state for unit in units} == {UnitState.RUNNING}
        await asyncio.gather(*(supervisor.remove(unit.name) for unit in units))
        assert await supervisor.observe() == {}

    async def test_failed_ones_do_not_linger(self, supervisor: SystemdSupervisor, box: Box) -> None:
        crashing, missing_ = probe("fails"), unit_of("/no/such/program", name="worker")
        await supervisor.ensure(crashing, environment(crashing))
        with pytest.raises(Rejected):
            await supervisor.ensure(missing_, environment(missing_))
        await eventually(lambda: has_state(supervisor, crashing, UnitState.FAILED))
        listed = box.run(["systemctl", "list-units", "--all", "--no-legend", "kennel-*"]).stdout
        assert crashing.name not in listed
        assert missing_.name not in listed
        assert not box.run(["systemctl", "--failed", "--no-legend"]).stdout

    @pytest.mark.parametrize(
        ("command", "reason"),
        [("exit 3", "exited with status 3"), ("kill -KILL $$", "killed by SIGKILL")],
    )
    async def test_why_one_failed_is_remembered(
        self, supervisor: SystemdSupervisor, command: str, reason: str
    ) -> None:
        unit = unit_of("/bin/sh", "-c", command)
        await supervisor.ensure(unit, environment(unit))
        await eventually(lambda: has_state(supervisor, unit, UnitState.FAILED))
        assert (await supervisor.observe())[unit.name].reason == reason
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()

    async def test_one_that_waits_for_its_restart_is_not_running(
        self, config: SystemdConfig, host: Host, box: Box
    ) -> None:
        patient = SystemdConfig(bus=config.bus, journal=config.journal, restart_delay=30)
        unit = unit_of("/bin/sh", "-c", "exit 3")
        async with SystemdSupervisor(patient, host) as supervisor:
            await supervisor.ensure(unit, environment(unit))
            await eventually(lambda: has_state(supervisor, unit, UnitState.RESTARTING))
            assert (await supervisor.observe())[unit.name].reason == "exited with status 3"
            await supervisor.ensure(unit, environment(unit))
            await supervisor.remove(unit.name)
            assert unit.name not in await supervisor.observe()

    async def test_one_stopped_by_the_administrator_is_gone_and_did_not_fail(
        self, supervisor: SystemdSupervisor, box: Box
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        box.run(["systemctl", "stop", f"{unit.name}.service"])
        assert unit.name not in await supervisor.observe()

    async def test_the_reason_of_an_exec_failure_is_systemds(
        self, supervisor: SystemdSupervisor
    ) -> None:
        for command, why in (
            ("/no/such/program", "No such file or directory"),
            ("/etc/passwd", "Permission denied"),
        ):
            unit = unit_of(command)
            with pytest.raises(Rejected, match=f"{command} cannot be run: {why}"):
                await supervisor.ensure(unit, environment(unit))

    async def test_it_outlives_a_supervisor_that_is_not_closed(
        self, config: SystemdConfig, host: Host, cut: Cut
    ) -> None:
        unit = probe()
        killed = SystemdSupervisor(config, host)
        await killed.__aenter__()
        await killed.ensure(unit, environment(unit))
        run = (await ask(unit))["run"]
        cut(killed)
        async with SystemdSupervisor(config, host) as successor:
            assert (await successor.observe())[unit.name].state is UnitState.RUNNING
            await successor.ensure(unit, environment(unit))
            assert (await ask(unit))["run"] == run
            await successor.remove(unit.name)
        await killed.__aexit__(None, None, None)

    async def test_what_an_old_systemd_does_not_know_is_left_out_and_said_once(
        self, supervisor: SystemdSupervisor, box: Box, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = box.run(["systemctl", "--version"]).stdout.split()[1]
        for name in ("api", "worker"):
            unit = probe(name=name)
            await supervisor.ensure(unit, environment(unit))
        said = [r for r in caplog.records if "does not know" in r.message]
        assert len(said) == (2 if int(first) < 254 else 0)


class TestForeignUnits:
    @pytest.fixture
    def foreign(self, box: Box) -> Callable[[str], None]:
        def start(name: str) -> None:
            box.run(["systemd-run", "--quiet", f"--unit={name}", "sleep", "300"])

        return start

    @pytest.mark.parametrize(
        "name",
        ["kennel", "kennel-build-7", "kennel-by-hand", "kennel-shop--main--api--0123456789ab"],
    )
    async def test_are_neither_shown_nor_touched(
        self,
        supervisor: SystemdSupervisor,
        foreign: Callable[[str], None],
        box: Box,
        name: str,
    ) -> None:
        foreign(name)
        assert await supervisor.observe() == {}
        with pytest.raises(Rejected, match=name):
            await supervisor.remove(name)
        unit = replace(unit_of("/bin/sleep", "300"), name=name)
        with pytest.raises(Rejected, match=name):
            await supervisor.ensure(unit, {})
        assert box.show(name, "ActiveState") == {"ActiveState": "active"}
        box.run(["systemctl", "stop", f"{name}.service"])
