"""What `Supervisor.run` must do, written as tests."""

import asyncio
from dataclasses import replace

import pytest

from kennel.domain import Unit, UnitState
from kennel.errors import ProviderError, Rejected
from kennel.plugin import Supervisor
from kennel.testing.probe import (
    AWKWARD,
    LITERAL,
    answers,
    ask,
    environment,
    eventually,
    make_end,
)
from kennel.testing.supervised import MakeSupervisor, MakeUnit, Supervised, seconds

LONG = 60.0
"""Seconds that no run of these tests takes."""


class Once(Supervised):
    """A unit that is run once, to its end."""

    async def test_a_run_that_ends_well_has_no_reason(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("ends")
        assert await supervisor.run(unit, environment(unit), within=LONG) is None
        await eventually(lambda: self.logged(supervisor, unit, "probe: ends"))

    async def test_a_run_that_fails_says_why(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("fails")
        why = await supervisor.run(unit, environment(unit), within=LONG)
        assert why == "exited with status 3"
        await eventually(lambda: self.logged(supervisor, unit, "probe: fails"))

    @pytest.mark.parametrize(
        ("end", "why"),
        [("exit 0", None), ("exit 4", "exited with status 4"), ("kill 9", "killed by SIGKILL")],
    )
    async def test_a_run_is_waited_for_and_observed(
        self, supervisor: Supervisor, make_unit: MakeUnit, end: str, why: str | None
    ) -> None:
        unit = make_unit()
        task = started(supervisor, unit)
        await ask(unit)
        status = (await supervisor.observe())[unit.name]
        assert status.state in {UnitState.STARTING, UnitState.RUNNING}
        await asyncio.sleep(0.1)
        assert not task.done()
        await make_end(unit, end)
        assert await task == why
        over = (await supervisor.observe()).get(unit.name)
        assert over is None or over.state is UnitState.FAILED

    async def test_a_run_finds_what_a_service_finds(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("serves", *LITERAL)
        task = asyncio.create_task(supervisor.run(unit, environment(unit, AWKWARD), within=LONG))
        seen = await ask(unit)
        assert {name: seen["env"].get(name) for name in AWKWARD} == AWKWARD
        assert tuple(seen["args"]) == LITERAL
        assert seen["writes"] == [True, True]
        await make_end(unit, "exit 0")
        assert await task is None

    async def test_a_run_that_takes_too_long_is_ended(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        why = await supervisor.run(unit, environment(unit), within=0.7)
        assert why == "it took longer than 0.7 s"
        assert not await answers(unit)

    @pytest.mark.parametrize("mode", ["stubborn", "family"])
    async def test_a_run_that_takes_too_long_leaves_no_process(
        self, supervisor: Supervisor, make_unit: MakeUnit, mode: str
    ) -> None:
        await self.optional(self.python)
        unit = make_unit(mode)
        why = await supervisor.run(unit, environment(unit), within=0.7)
        assert why == "it took longer than 0.7 s"
        assert not await answers(unit)

    async def test_a_run_is_ended_in_time_without_kennel(
        self, make_supervisor: MakeSupervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        async with make_supervisor() as first:
            task = started(first, unit, within=1.5)
            await ask(unit)
            await cut_off(task)
        await eventually(lambda: _silent(unit))
        async with make_supervisor() as second:
            if second.survives:
                why = await second.run(unit, environment(unit), within=1.5)
                assert why == "it took longer than 1.5 s"
            await second.remove(unit.name)

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9], ids="after {:.0%}".format)
    async def test_a_run_that_was_cut_off_is_not_started_again(
        self, supervisor: Supervisor, make_unit: MakeUnit, part: float
    ) -> None:
        took = await seconds(started(supervisor, make_unit("ends")))
        unit = make_unit()
        task = started(supervisor, unit)
        await asyncio.wait({task}, timeout=took * part)
        await cut_off(task)
        again = started(supervisor, unit)
        await ask(unit)
        await make_end(unit, "exit 3")
        assert await again == "exited with status 3"
        assert await self.runs(supervisor, unit) == 1

    async def test_the_end_that_nobody_saw_is_told(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        task = started(supervisor, unit)
        await ask(unit)
        await cut_off(task)
        assert await answers(unit), "a run goes on when nobody waits for it"
        await make_end(unit, "exit 3")
        for _ in range(2):
            assert await started(supervisor, unit) == "exited with status 3"
        assert await self.runs(supervisor, unit) == 1

    async def test_a_new_start_waits_for_a_run_that_survived(
        self, make_supervisor: MakeSupervisor, make_unit: MakeUnit
    ) -> None:
        unit, other = make_unit(), make_unit()
        async with make_supervisor() as first:
            for each in (unit, other):
                task = started(first, each)
                await ask(each)
                await cut_off(task)
            if first.survives:
                await make_end(other, "exit 4")
        async with make_supervisor() as second:
            again = started(second, unit)
            await ask(unit)
            await make_end(unit, "exit 0")
            assert await again is None
            if second.survives:
                assert await started(second, other) == "exited with status 4"
                assert await self.runs(second, unit) == 1
                assert await self.runs(second, other) == 1
            for each in (unit, other):
                await second.remove(each.name)
                assert not await answers(each)

    async def test_one_run_may_be_waited_for_twice(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        tasks = [started(supervisor, unit) for _ in range(3)]
        await ask(unit)
        await make_end(unit, "exit 3")
        assert await asyncio.gather(*tasks) == ["exited with status 3"] * 3
        assert await self.runs(supervisor, unit) == 1

    async def test_a_removed_run_may_come_back(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("fails")
        assert await started(supervisor, unit)
        await supervisor.remove(unit.name)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()
        words = ("ends" if word == "fails" else word for word in unit.command)
        assert await started(supervisor, replace(unit, command=tuple(words))) is None

    async def test_a_run_may_be_removed(self, supervisor: Supervisor, make_unit: MakeUnit) -> None:
        unit = make_unit()
        task = started(supervisor, unit)
        await ask(unit)
        await supervisor.remove(unit.name)
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, (str, ProviderError))
        assert not await answers(unit)
        assert unit.name not in await supervisor.observe()

    async def test_runs_go_side_by_side(self, supervisor: Supervisor, make_unit: MakeUnit) -> None:
        many = [make_unit("fails" if number % 2 else "ends") for number in range(8)]
        ends = await asyncio.gather(*(started(supervisor, unit) for unit in many))
        assert ends == [None, "exited with status 3"] * 4

    @pytest.mark.parametrize("command", ["/no/such/program", "/etc/passwd"])
    async def test_a_run_of_what_cannot_be_executed_is_rejected(
        self, supervisor: Supervisor, make_unit: MakeUnit, command: str
    ) -> None:
        await self.optional(self.python)
        unit = make_unit("ends")
        with pytest.raises(Rejected, match=command):
            await started(supervisor, replace(unit, command=(command, "x")))
        assert unit.name not in await supervisor.observe()
        assert await started(supervisor, unit) is None

    async def test_a_run_with_a_variable_that_cannot_be_is_rejected(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("ends")
        with pytest.raises(Rejected) as refused:
            await supervisor.run(unit, environment(unit, {"NUL": "hush\0hush"}), within=LONG)
        assert "NUL" in str(refused.value)
        assert "hush" not in str(refused.value)


def started(supervisor: Supervisor, unit: Unit, within: float = LONG) -> asyncio.Task[str | None]:
    """Begin a run."""
    return asyncio.create_task(supervisor.run(unit, environment(unit), within=within))


async def cut_off(task: asyncio.Task[str | None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _silent(unit: Unit) -> bool:
    return not await answers(unit)
