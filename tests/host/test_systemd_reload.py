"""`systemctl daemon-reload`, which every upgrade of a package does, costs nothing."""

import re
from dataclasses import replace

import pytest

from kennel.builtin.systemd import SystemdSupervisor
from kennel.domain import Limits, Unit, UnitState
from kennel.testing.host import Box
from kennel.testing.probe import (
    AWKWARD,
    LITERAL,
    PROBE,
    answers,
    ask,
    environment,
    eventually,
    has_state,
    make_end,
    unit_of,
)
from kennel.testing.supervised_at_times import FAR_OFF, timed
from kennel.testing.supervised_once import started

pytestmark = pytest.mark.host

CHANGING = re.compile(r"ExecStart|StateChange|CPUUsage|(?:Memory|Tasks)Current")


def properties(box: Box, full: str) -> dict[str, set[str]]:
    """Return everything that systemd says of a unit, but what changes by itself.

    What is executed is told apart: by executing it.
    """
    text = box.run(["systemctl", "show", full]).stdout
    found = re.findall(r"^([A-Z]\w+)=(.*)$", text, re.MULTILINE)
    return {name: set(value.split()) for name, value in found if not CHANGING.match(name)}


def probe() -> Unit:
    unit = unit_of("/usr/bin/python3", "-c", PROBE, "serves", *LITERAL)
    return replace(unit, limits=Limits(memory_max=1 << 27, cpu_weight=50, tasks_max=77))


async def test_a_service_stays_what_it_is(supervisor: SystemdSupervisor, box: Box) -> None:
    unit = probe()
    await supervisor.ensure(unit, environment(unit, AWKWARD))
    run = (await ask(unit))["run"]
    before = properties(box, f"{unit.name}.service")
    box.run(["systemctl", "daemon-reload"])
    assert before["RestrictNamespaces"] not in ({"no"}, {"yes"})
    assert properties(box, f"{unit.name}.service") == before
    assert await has_state(supervisor, unit, UnitState.RUNNING)
    await supervisor.ensure(unit, environment(unit, AWKWARD))
    assert (await ask(unit))["run"] == run


async def test_a_service_is_started_again_as_it_was(
    supervisor: SystemdSupervisor, box: Box
) -> None:
    unit = probe()
    await supervisor.ensure(unit, environment(unit, AWKWARD))
    run = (await ask(unit))["run"]
    box.run(["systemctl", "daemon-reload"])
    await make_end(unit, "exit 3")

    async def again() -> bool:
        return bool((await ask(unit))["run"] != run)

    await eventually(again)
    seen = await ask(unit)
    assert tuple(seen["args"]) == LITERAL
    assert {name: seen["env"].get(name) for name in AWKWARD} == AWKWARD
    assert seen["writes"] == [True, True]
    await supervisor.remove(unit.name)
    assert not await answers(unit)
    assert await supervisor.observe() == {}


async def test_what_has_times_keeps_them(supervisor: SystemdSupervisor, box: Box) -> None:
    unit, idle = timed(probe()), timed(probe(), FAR_OFF)
    for each in (unit, idle):
        await supervisor.ensure(each, environment(each, AWKWARD))
    run = (await ask(unit))["run"]
    before = {kind: properties(box, f"{idle.name}.{kind}") for kind in ("timer", "service")}
    box.run(["systemctl", "daemon-reload"])
    after = {kind: properties(box, f"{idle.name}.{kind}") for kind in ("timer", "service")}
    assert after == before
    assert await has_state(supervisor, idle, UnitState.SCHEDULED)
    assert (await ask(unit))["run"] == run
    await make_end(unit, "exit 0")
    seen = await ask(unit)
    assert seen["run"] != run
    assert tuple(seen["args"]) == LITERAL
    for each in (unit, idle):
        await supervisor.remove(each.name)
    listed = box.run(["systemctl", "list-units", "--all", "--no-legend", "kennel-*"]).stdout
    assert unit.name not in listed
    assert idle.name not in listed


async def test_what_is_run_once_goes_on(supervisor: SystemdSupervisor, box: Box) -> None:
    unit = probe()
    task = started(supervisor, unit)
    run = (await ask(unit))["run"]
    box.run(["systemctl", "daemon-reload"])
    assert (await ask(unit))["run"] == run
    await make_end(unit, "exit 4")
    assert await task == "exited with status 4"
    box.run(["systemctl", "daemon-reload"])
    assert await started(supervisor, unit) == "exited with status 4"
