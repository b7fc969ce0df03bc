"""The contract catches careless supervisors: each breaks one rule, and a test says so."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from string import Template

import pytest
from blockbuster import BlockingError, blockbuster_ctx

from kennel.domain import Env, Secret, Unit, UnitState, UnitStatus
from kennel.plugin import Supervisor
from kennel.testing.memory_supervisor import MemoryUnit
from kennel.testing.probe import unit_of
from kennel.testing.supervisor import MakeUnit, MemorySupervisor, SupervisorContract


class StartsAnew(MemorySupervisor):
    async def ensure(self, unit: Unit, env: Env) -> None:
        await self.remove(unit.name)
        await super().ensure(unit, env)


class Expands(MemorySupervisor):
    async def ensure(self, unit: Unit, env: Env) -> None:
        known = {name: secret.value for name, secret in env.items()}
        expanded = {
            name: Secret(Template(value).safe_substitute({"HOME": "/root", **known}))
            for name, value in known.items()
        }
        await super().ensure(unit, expanded)


class Strips(MemorySupervisor):
    async def ensure(self, unit: Unit, env: Env) -> None:
        await super().ensure(unit, {name: Secret(s.value.strip()) for name, s in env.items()})


class HandsDown(MemorySupervisor):
    async def ensure(self, unit: Unit, env: Env) -> None:
        ours = {name: Secret(value) for name, value in os.environ.items()}
        await super().ensure(unit, {**ours, **env})


class ForgetsOnly(MemorySupervisor):
    async def remove(self, unit: str) -> None:
        self.host.units.pop(unit, None)


class RemovesAll(MemorySupervisor):
    async def remove(self, unit: str) -> None:
        for name in list(self.host.units):
            await super().remove(name)


class GivesUp(MemorySupervisor):
    def __init__(self) -> None:
        super().__init__(delay=3600)


class LosesLogs(MemorySupervisor):
    async def remove(self, unit: str) -> None:
        await super().remove(unit)
        self.host.lines.pop(unit, None)


class NewestFirst(MemorySupervisor):
    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        return list(reversed(await super().logs(unit, lines)))


class Blocks(MemorySupervisor):
    async def ensure(self, unit: Unit, env: Env) -> None:
        time.sleep(0.001)
        await super().ensure(unit, env)


class RunsAtOnce(MemorySupervisor):
    async def ensure(self, unit: Unit, env: Env) -> None:
        await super().ensure(unit, env)
        if unit.schedule is not None:
            self.elapse(unit.name)


class Doubles(MemorySupervisor):
    def elapse(self, unit: str) -> None:
        there = self.host.units[unit]
        there.task = asyncio.create_task(self._elapsed(there))


class ForgetsReasons(MemorySupervisor):
    async def observe(self) -> Mapping[str, UnitStatus]:
        seen = await super().observe()
        return {name: UnitStatus(state=status.state) for name, status in seen.items()}


class RemembersReasons(MemorySupervisor):
    reason = ""

    async def _elapsed(self, unit: MemoryUnit) -> None:
        await super()._elapsed(unit)
        self.reason = unit.status.reason or self.reason
        unit.status = replace(unit.status, reason=self.reason)


class TakesAnyTime(MemorySupervisor):
    async def ensure(self, unit: Unit, env: Env) -> None:
        await super().ensure(replace(unit, schedule=unit.schedule and "daily"), env)


class KeepsTimes(MemorySupervisor):
    async def remove(self, unit: str) -> None:
        there = self.host.units.get(unit)
        await super().remove(unit)
        if there and there.unit.schedule:
            self.host.units[unit] = there
            there.status = UnitStatus(state=UnitState.SCHEDULED)


class TakesAllForWell(MemorySupervisor):
    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        await super().run(unit, env, within=within)
        return None


class DoesNotWait(MemorySupervisor):
    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        task = asyncio.create_task(super().run(unit, env, within=within))
        await asyncio.wait({task}, timeout=0.05)
        return None


class RunsForEver(MemorySupervisor):
    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        return await super().run(unit, env, within=3600)


class RunsAgain(MemorySupervisor):
    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        await self.remove(unit.name)
        return await super().run(unit, env, within=within)


class RunsBeside(MemorySupervisor):
    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        self.host.units.pop(unit.name, None)
        return await super().run(unit, env, within=within)


class DropsWhenCutOff(MemorySupervisor):
    async def run(self, unit: Unit, env: Env, *, within: float) -> str | None:
        try:
            return await super().run(unit, env, within=within)
        except asyncio.CancelledError:
            await self.remove(unit.name)
            raise


class RemembersRuns(MemorySupervisor):
    async def remove(self, unit: str) -> None:
        there = self.host.units.get(unit)
        if there is None or there.run is None or not there.run.done():
            await super().remove(unit)


def make_unit(mode: str = "serves", *args: str) -> Unit:
    return unit_of("python", "-c", "probe", mode, *args)


Test = Callable[[Supervisor, MakeUnit], Awaitable[None]]


class OfMemory(SupervisorContract):
    """The contract, with times that come when they are wanted."""

    async def elapse(self, supervisor: Supervisor, unit: Unit) -> None:
        assert isinstance(supervisor, MemorySupervisor)
        if unit.name in supervisor.host.units:
            supervisor.elapse(unit.name)
        await asyncio.sleep(0.01)


CONTRACT = OfMemory()


async def crashes(supervisor: Supervisor, make_unit: MakeUnit) -> None:
    await CONTRACT.test_what_crashes_is_started_again(supervisor, make_unit, "exit 3")


async def keeps_to_itself(supervisor: Supervisor, make_unit: MakeUnit) -> None:
    with pytest.MonkeyPatch.context() as patch:
        await CONTRACT.test_kennels_own_environment_stays_its_own(supervisor, make_unit, patch)


async def rejects_times(supervisor: Supervisor, make_unit: MakeUnit) -> None:
    await CONTRACT.test_times_that_are_none_are_rejected(supervisor, make_unit, "now and then")


async def is_waited_for(supervisor: Supervisor, make_unit: MakeUnit) -> None:
    await CONTRACT.test_a_run_is_waited_for_and_observed(supervisor, make_unit, "exit 0", None)


async def is_not_started_again(supervisor: Supervisor, make_unit: MakeUnit) -> None:
    await CONTRACT.test_a_run_that_was_cut_off_is_not_started_again(supervisor, make_unit, 0.9)


TESTS: list[Test] = [
    CONTRACT.test_ensured_units_run_and_are_observed,
    CONTRACT.test_ensure_may_be_repeated,
    CONTRACT.test_the_environment_arrives_as_it_is,
    keeps_to_itself,
    CONTRACT.test_removed_units_are_gone,
    crashes,
    CONTRACT.test_logs_stay_when_the_unit_is_removed,
    CONTRACT.test_logs_are_the_last_lines_oldest_first,
    CONTRACT.test_before_its_time_a_unit_does_not_run,
    CONTRACT.test_a_run_under_way_is_not_doubled,
    CONTRACT.test_how_the_last_run_failed_is_said,
    CONTRACT.test_what_is_removed_has_no_times,
    rejects_times,
    CONTRACT.test_a_run_that_fails_says_why,
    is_waited_for,
    CONTRACT.test_a_run_that_takes_too_long_is_ended,
    is_not_started_again,
    CONTRACT.test_the_end_that_nobody_saw_is_told,
    CONTRACT.test_a_removed_run_may_come_back,
]


@pytest.mark.parametrize(
    ("careless", "test"),
    [
        (StartsAnew, CONTRACT.test_ensure_may_be_repeated),
        (Expands, CONTRACT.test_the_environment_arrives_as_it_is),
        (Strips, CONTRACT.test_the_environment_arrives_as_it_is),
        (HandsDown, keeps_to_itself),
        (ForgetsOnly, CONTRACT.test_removed_units_are_gone),
        (RemovesAll, CONTRACT.test_removed_units_are_gone),
        (GivesUp, crashes),
        (LosesLogs, CONTRACT.test_logs_stay_when_the_unit_is_removed),
        (NewestFirst, CONTRACT.test_logs_are_the_last_lines_oldest_first),
        (RunsAtOnce, CONTRACT.test_before_its_time_a_unit_does_not_run),
        (Doubles, CONTRACT.test_a_run_under_way_is_not_doubled),
        (ForgetsReasons, CONTRACT.test_how_the_last_run_failed_is_said),
        (RemembersReasons, CONTRACT.test_how_the_last_run_failed_is_said),
        (KeepsTimes, CONTRACT.test_what_is_removed_has_no_times),
        (TakesAnyTime, rejects_times),
        (TakesAllForWell, CONTRACT.test_a_run_that_fails_says_why),
        (DoesNotWait, is_waited_for),
        (RunsForEver, CONTRACT.test_a_run_that_takes_too_long_is_ended),
        (RunsBeside, is_not_started_again),
        (RunsAgain, CONTRACT.test_the_end_that_nobody_saw_is_told),
        (DropsWhenCutOff, CONTRACT.test_the_end_that_nobody_saw_is_told),
        (RemembersRuns, CONTRACT.test_a_removed_run_may_come_back),
        (Blocks, CONTRACT.test_ensured_units_run_and_are_observed),
    ],
)
async def test_the_careless_are_caught(
    careless: type[MemorySupervisor], test: Test, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kennel.testing.probe.PATIENCE", 0.5)
    caught = (pytest.fail.Exception, AssertionError, BlockingError, TimeoutError)
    with pytest.raises(caught), blockbuster_ctx():
        async with asyncio.timeout(2):
            await lived(careless(), test)


@pytest.mark.parametrize("test", TESTS)
async def test_the_careful_are_not(test: Test) -> None:
    with blockbuster_ctx():
        await lived(MemorySupervisor(), test)


async def lived(supervisor: MemorySupervisor, test: Test) -> None:
    """Run a test of the contract; leave nothing running, whatever the supervisor forgot."""
    before = asyncio.all_tasks()
    try:
        await test(supervisor, make_unit)
    finally:
        for task in asyncio.all_tasks() - before:
            task.cancel()
            await asyncio.wait({task})
        await asyncio.sleep(0.01)  # what they had open is closed
