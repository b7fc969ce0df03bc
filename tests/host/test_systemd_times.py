"""Units that run at certain times: transient timers of a real systemd."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Limits, Unit, UnitState
from kennel.errors import Rejected
from kennel.plugin.settings import Host
from kennel.testing.host import Box
from kennel.testing.probe import (
    answers,
    ask,
    environment,
    eventually,
    has_reason,
    has_state,
    make_end,
    probe,
    unit_of,
)
from kennel.testing.supervised_at_times import FAR_OFF, timed

Cut = Callable[[SystemdSupervisor], None]
pytestmark = pytest.mark.host

SECRET = "correct-horse-battery-staple"


def run_now(box: Box, unit: Unit) -> None:
    """Start a run as its timer would."""
    box.run(["systemctl", "start", "--no-block", f"{unit.name}.service"])


def listed(box: Box, unit: Unit) -> str:
    return box.run(["systemctl", "list-units", "--all", "--no-legend", f"{unit.name}*"]).stdout


async def test_a_run_has_the_limits_and_the_sandbox_of_a_service(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    service = probe(limits=Limits(memory_max=1 << 27, cpu_weight=50, tasks_max=77))
    await supervisor.ensure(service, environment(service))
    unit = timed(replace(probe(), limits=service.limits), FAR_OFF)
    await supervisor.ensure(unit, environment(unit))

    def properties(of: Unit) -> dict[str, str]:
        text = box.run(["systemctl", "show", f"{of.name}.service"]).stdout
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    one, other = properties(service), properties(unit)
    same = ["MemoryMax", "CPUWeight", "TasksMax", "Slice", "SystemCallFilter", "TimeoutStopUSec"]
    same += [name for name in one if name.startswith(("Protect", "Private", "Restrict"))]
    assert len(same) > 20
    assert {name: other[name] for name in same} == {name: one[name] for name in same}
    assert (other["Type"], other["Restart"], other["DynamicUser"]) == ("oneshot", "no", "yes")
    assert other["TimeoutStartUSec"] == "1d"
    times = box.run(["systemctl", "show", f"{unit.name}.timer", "-p", "AccuracyUSec,Persistent"])
    assert set(times.stdout.split()) == {"AccuracyUSec=100ms", "Persistent=no"}


async def test_all_is_observed_with_one_call(
    supervisor: SystemdSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [timed(probe(name=f"t{number}"), FAR_OFF) for number in range(5)]
    for unit in units:
        await supervisor.ensure(unit, environment(unit))
    called: list[str] = []
    send = supervisor._bus._send

    async def count(member: str, *args: Any) -> Any:
        called.append(member)
        return await send(member, *args)

    monkeypatch.setattr(supervisor._bus, "_send", count)
    observed = await supervisor.observe()
    assert called == ["ListUnitsByPatterns"]
    assert {name: status.state for name, status in observed.items()} == {
        unit.name: UnitState.SCHEDULED for unit in units
    }


async def test_nothing_of_it_is_left_when_it_is_removed(
    supervisor: SystemdSupervisor, box: Box, host: Host
) -> None:
    unit, failed = timed(probe(), FAR_OFF), timed(probe("fails", name="worker"), FAR_OFF)
    for each in (unit, failed):
        await supervisor.ensure(each, environment(each))
        run_now(box, each)
    await ask(unit)
    await eventually(lambda: has_reason(supervisor, failed, "its last run exited with status 3"))
    for each in (unit, failed):
        await supervisor.remove(each.name)
        assert not listed(box, each)
    assert list((host.run_dir / "env").iterdir()) == []
    assert not await answers(unit)


async def test_a_run_that_failed_is_not_held_against_the_machine(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = timed(probe("fails"), FAR_OFF)
    await supervisor.ensure(unit, environment(unit))
    run_now(box, unit)
    await eventually(lambda: has_reason(supervisor, unit, "its last run exited with status 3"))
    assert not box.run(["systemctl", "--failed", "--no-legend"]).stdout
    assert await has_reason(supervisor, unit, "its last run exited with status 3")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("exit 0", ""),
        ("exit 3", "its last run exited with status 3"),
        ("kill 9", "its last run was killed by SIGKILL"),
    ],
)
async def test_how_it_ended_while_nobody_watched_is_told(
    config: SystemdConfig, host: Host, box: Box, end: str, reason: str
) -> None:
    unit = timed(probe(), FAR_OFF)
    async with SystemdSupervisor(config, host) as first:
        await first.ensure(unit, environment(unit))
        run_now(box, unit)
        await ask(unit)
    await make_end(unit, end)
    for _ in range(2):  # the second time after systemd was made to forget
        async with SystemdSupervisor(config, host) as later:
            await eventually(lambda: has_state(later, unit, UnitState.SCHEDULED))
            assert (await later.observe())[unit.name].reason == reason
    assert not box.run(["systemctl", "--failed", "--no-legend"]).stdout
    async with SystemdSupervisor(config, host) as last:
        await last.remove(unit.name)


async def test_how_it_ended_while_d_bus_was_away_is_told(
    supervisor: SystemdSupervisor, box: Box, cut: Cut
) -> None:
    unit = timed(probe(), FAR_OFF)
    await supervisor.ensure(unit, environment(unit))
    run_now(box, unit)
    await ask(unit)
    cut(supervisor)
    await make_end(unit, "exit 7")
    await eventually(lambda: has_reason(supervisor, unit, "its last run exited with status 7"))


async def test_it_outlives_a_reload_of_systemd(supervisor: SystemdSupervisor, box: Box) -> None:
    unit = timed(probe())
    await supervisor.ensure(unit, environment(unit))
    run = (await ask(unit))["run"]
    box.run(["systemctl", "daemon-reload"])
    assert (await ask(unit))["run"] == run
    await make_end(unit, "exit 0")
    assert (await ask(unit))["run"] != run
    await supervisor.remove(unit.name)
    assert not listed(box, unit)


async def test_one_whose_timer_the_administrator_stopped_is_gone_and_comes_back(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = timed(probe(), FAR_OFF)
    await supervisor.ensure(unit, environment(unit))
    box.run(["systemctl", "stop", f"{unit.name}.timer"])
    assert unit.name not in await supervisor.observe()
    await supervisor.ensure(unit, environment(unit))
    assert await has_state(supervisor, unit, UnitState.SCHEDULED)


async def test_a_run_whose_timer_is_gone_is_no_reason_not_to_set_it_again(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = timed(probe(), FAR_OFF)
    await supervisor.ensure(unit, environment(unit))
    run_now(box, unit)
    await ask(unit)
    box.run(["systemctl", "stop", f"{unit.name}.timer"])
    assert await answers(unit)
    await supervisor.ensure(unit, environment(unit))
    assert await has_state(supervisor, unit, UnitState.SCHEDULED)


async def test_a_run_may_not_take_for_ever(config: SystemdConfig, host: Host, box: Box) -> None:
    hasty = SystemdConfig(bus=config.bus, journal=config.journal, run_timeout=0.5, stop_timeout=0.5)
    unit = timed(unit_of("/bin/sleep", "300"), FAR_OFF)
    async with SystemdSupervisor(hasty, host) as supervisor:
        await supervisor.ensure(unit, environment(unit))
        run_now(box, unit)
        await eventually(
            lambda: has_reason(supervisor, unit, "its last run took longer than it may")
        )
        await supervisor.remove(unit.name)


async def test_a_run_that_cannot_be_executed_says_so(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = timed(unit_of("/no/such/program"), FAR_OFF)
    await supervisor.ensure(unit, environment(unit))
    run_now(box, unit)
    why = "its last run failed: its program cannot be executed (203/EXEC)"
    await eventually(lambda: has_reason(supervisor, unit, why))


@pytest.mark.parametrize(
    "schedule", ["25:61", "daily\nUnit=sshd.service", "%n", "*:0/15 Nowhere/City", "daily;"]
)
async def test_what_is_no_time_is_named_and_leaves_nothing(
    supervisor: SystemdSupervisor, box: Box, host: Host, schedule: str
) -> None:
    unit = timed(probe(), schedule)
    with pytest.raises(Rejected) as refused:
        await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
    assert repr(schedule) in str(refused.value)
    assert "Mon..Fri *-*-* 08:30" in str(refused.value)
    assert not listed(box, unit)
    assert list((host.run_dir / "env").iterdir()) == []


async def test_no_secret_is_in_its_units(supervisor: SystemdSupervisor, box: Box) -> None:
    unit = timed(probe(), FAR_OFF)
    await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
    for kind in ("timer", "service"):
        for verb in ("show", "cat", "status"):
            command = ["systemctl", verb, "--no-pager", f"{unit.name}.{kind}"]
            output = box.run(command, check=False).stdout
            assert unit.name in output
            assert SECRET not in output
    run_now(box, unit)
    assert (await ask(unit))["env"]["TOKEN"] == SECRET


async def test_a_hundred_times_are_set_and_removed_side_by_side(
    supervisor: SystemdSupervisor,
) -> None:
    units = [timed(unit_of("/bin/true", name=f"t{n}"), FAR_OFF) for n in range(100)]
    await asyncio.gather(*(supervisor.ensure(unit, environment(unit)) for unit in units))
    observed = await supervisor.observe()
    assert {observed[unit.name].state for unit in units} == {UnitState.SCHEDULED}
    await asyncio.gather(*(supervisor.remove(unit.name) for unit in units))
    assert await supervisor.observe() == {}


async def test_a_foreign_timer_is_neither_shown_nor_touched(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    name = "kennel-shop--main--api--0123456789ab"
    box.run(["systemd-run", "--quiet", f"--unit={name}", "--on-calendar=2150-01-01", "true"])
    assert await supervisor.observe() == {}
    with pytest.raises(Rejected, match=rf"{name}\.(timer|service) is not Kennel's"):
        await supervisor.remove(name)
    unit = timed(replace(probe(), name=name), FAR_OFF)
    with pytest.raises(Rejected, match=name):
        await supervisor.ensure(unit, {})
    shown = box.run(["systemctl", "is-active", f"{name}.timer"]).stdout
    assert shown.strip() == "active"
    box.run(["systemctl", "stop", f"{name}.timer"])
