"""What a supervisor must do with units that have a schedule, written as tests."""

import asyncio
from dataclasses import replace

import pytest

from kennel.domain import Unit, UnitState
from kennel.errors import Rejected
from kennel.plugin import Supervisor
from kennel.testing.probe import (
    AWKWARD,
    answers,
    ask,
    environment,
    eventually,
    has_reason,
    has_state,
    make_end,
)
from kennel.testing.supervised import MakeSupervisor, MakeUnit, Supervised, seconds

EVERY_SECOND = "*-*-* *:*:*"
FAR_OFF = "2150-01-01 00:00:00"


class AtTimes(Supervised):
    """A unit that is run at certain times."""

    async def elapse(self, supervisor: Supervisor, unit: Unit) -> None:
        """Let a time of a unit come that is run `EVERY_SECOND`; override it to make it come."""
        del supervisor, unit
        await asyncio.sleep(1.3)

    async def test_before_its_time_a_unit_does_not_run(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit(), FAR_OFF)
        await supervisor.ensure(unit, environment(unit))
        status = (await supervisor.observe())[unit.name]
        assert (status.state, status.reason) == (UnitState.SCHEDULED, "")
        await supervisor.ensure(unit, environment(unit))
        assert not await answers(unit)
        assert "probe: serves" not in await supervisor.logs(unit.name, 100)

    async def test_a_time_that_is_over_never_comes(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit(), "2020-01-01 00:00:00")
        await supervisor.ensure(unit, environment(unit))
        assert await has_state(supervisor, unit, UnitState.SCHEDULED)
        assert not await answers(unit)

    async def test_at_its_times_it_runs_as_services_do(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit())
        await supervisor.ensure(unit, environment(unit, AWKWARD))
        await self.elapse(supervisor, unit)
        seen = await ask(unit)
        assert {name: seen["env"].get(name) for name in AWKWARD} == AWKWARD
        assert seen["writes"] == [True, True]
        status = (await supervisor.observe())[unit.name]
        assert status.state in {UnitState.STARTING, UnitState.RUNNING}

    async def test_it_runs_again_and_again(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit("ends"))
        await supervisor.ensure(unit, environment(unit))

        async def twice() -> bool:
            await self.elapse(supervisor, unit)
            return await self.runs(supervisor, unit) >= 2

        await eventually(twice)
        await eventually(lambda: has_state(supervisor, unit, UnitState.SCHEDULED))
        assert (await supervisor.observe())[unit.name].reason == ""

    async def test_a_run_under_way_is_not_doubled(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit())
        await supervisor.ensure(unit, environment(unit))
        await self.elapse(supervisor, unit)
        run = (await ask(unit))["run"]
        for _ in range(2):
            await self.elapse(supervisor, unit)
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["run"] == run
        assert await self.runs(supervisor, unit) == 1

    async def test_how_the_last_run_failed_is_said(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit())
        await supervisor.ensure(unit, environment(unit))
        for end, why in (
            ("exit 3", "its last run exited with status 3"),
            ("kill 9", "its last run was killed by SIGKILL"),
            ("exit 0", ""),
        ):
            await self._ends(supervisor, unit, end, why)
        await eventually(lambda: self.logged(supervisor, unit, "probe: serves"))

    async def test_what_fails_every_time_is_run_every_time(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit("fails"))
        await supervisor.ensure(unit, environment(unit))

        async def often() -> bool:
            await self.elapse(supervisor, unit)
            return await self.runs(supervisor, unit) > 5

        await eventually(often, within=40)
        await eventually(lambda: has_reason(supervisor, unit, "its last run exited with status 3"))

    async def test_what_is_removed_has_no_times(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit, idle = timed(make_unit()), timed(make_unit(), FAR_OFF)
        for each in (unit, idle):
            await supervisor.ensure(each, environment(each))
        await self.elapse(supervisor, unit)
        await ask(unit)
        for each in (unit, idle):
            await supervisor.remove(each.name)
            await supervisor.remove(each.name)
        assert not await answers(unit)
        observed = await supervisor.observe()
        assert not {unit.name, idle.name} & set(observed)
        await self.elapse(supervisor, unit)
        assert not await answers(unit)
        assert await self.runs(supervisor, unit) == 1

    async def test_what_was_removed_may_have_times_again(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = timed(make_unit())
        for _ in range(2):
            await supervisor.ensure(unit, environment(unit))
            await self.elapse(supervisor, unit)
            await ask(unit)
            await supervisor.remove(unit.name)
        assert not await answers(unit)

    @pytest.mark.parametrize("schedule", ["every now and then", "", "daily and nightly"])
    async def test_times_that_are_none_are_rejected(
        self, supervisor: Supervisor, make_unit: MakeUnit, schedule: str
    ) -> None:
        unit = timed(make_unit(), schedule)
        with pytest.raises(Rejected) as refused:
            await supervisor.ensure(unit, environment(unit))
        assert repr(schedule) in str(refused.value)
        assert "systemd.time" in str(refused.value)
        assert unit.name not in await supervisor.observe()

    async def test_a_new_start_finds_the_times_that_survived(
        self, make_supervisor: MakeSupervisor, make_unit: MakeUnit
    ) -> None:
        unit, idle = timed(make_unit()), timed(make_unit(), FAR_OFF)
        async with make_supervisor() as first:
            for each in (unit, idle):
                await first.ensure(each, environment(each))
            await self.elapse(first, unit)
            run = (await ask(unit))["run"]
        async with make_supervisor() as second:
            if not second.survives:
                assert not await answers(unit)
                assert not {unit.name, idle.name} & set(await second.observe())
                return
            assert await has_state(second, idle, UnitState.SCHEDULED)
            for each in (unit, idle):
                await second.ensure(each, environment(each))
            assert (await ask(unit))["run"] == run
            await self._ends(second, unit, "exit 3", "its last run exited with status 3")
            for each in (unit, idle):
                await second.remove(each.name)
            assert not await answers(unit)

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9], ids="after {:.0%}".format)
    async def test_times_may_be_cut_off_and_removed_while_they_are_set(
        self, supervisor: Supervisor, make_unit: MakeUnit, part: float
    ) -> None:
        unit = timed(make_unit(), FAR_OFF)
        took = await seconds(supervisor.ensure(unit, environment(unit)))
        for ending in ("cancel", "remove"):
            unit = timed(make_unit(), FAR_OFF)
            task = asyncio.create_task(supervisor.ensure(unit, environment(unit)))
            await asyncio.wait({task}, timeout=took * part)
            if ending == "cancel":
                task.cancel()
            else:
                await supervisor.remove(unit.name)
            await asyncio.gather(task, return_exceptions=True)
            await supervisor.ensure(unit, environment(unit))
            assert await has_state(supervisor, unit, UnitState.SCHEDULED)
            await supervisor.remove(unit.name)
            assert unit.name not in await supervisor.observe()

    async def _ends(self, supervisor: Supervisor, unit: Unit, end: str, why: str) -> None:
        """End one run after the other until it is observed why the last one failed."""

        async def said() -> bool:
            if not await answers(unit):
                await self.elapse(supervisor, unit)
            await ask(unit)
            await make_end(unit, end)
            for _ in range(25):  # then the next run has begun
                status = (await supervisor.observe())[unit.name]
                if status.state is UnitState.SCHEDULED:
                    assert status.reason == why
                    return True
                await asyncio.sleep(0.02)
            return False

        await eventually(said)


def timed(unit: Unit, schedule: str = EVERY_SECOND) -> Unit:
    """Return a unit with a schedule."""
    return replace(unit, schedule=schedule)
