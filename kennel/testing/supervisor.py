"""What every supervisor must do, written as tests; and one that runs coroutines."""

import asyncio
from dataclasses import replace

import pytest

from kennel.domain import Unit, UnitState
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Supervisor
from kennel.testing.memory_supervisor import MemoryHost, MemorySupervisor
from kennel.testing.probe import (
    AWKWARD,
    LITERAL,
    answers,
    ask,
    environment,
    eventually,
    has_state,
    make_end,
)
from kennel.testing.supervised import MakeSupervisor, MakeUnit, seconds
from kennel.testing.supervised_at_times import AtTimes, timed
from kennel.testing.supervised_once import Once

__all__ = ["MakeSupervisor", "MakeUnit", "MemoryHost", "MemorySupervisor", "SupervisorContract"]


class SupervisorContract(AtTimes, Once):
    """The conformance suite of a supervisor.

        class TestRunit(SupervisorContract):
            @pytest.fixture
            def make_supervisor(self, tmp_path: Path) -> MakeSupervisor:
                return lambda: RunitSupervisor(RunitConfig(stop_timeout=1), host_at(tmp_path))

    Whatever the fixture returns is called more than once: each call stands for a start of Kennel,
    one after the other, on the same host. Give it short delays, or the tests take long. Its units
    must be able to listen on the host's 127.0.0.1.
    """

    async def test_says_what_it_is(self, supervisor: Supervisor) -> None:
        assert supervisor.name.isalnum()
        assert supervisor.name.islower()
        assert isinstance(supervisor.survives, bool)

    async def test_is_well(self, supervisor: Supervisor) -> None:
        await supervisor.check()

    async def test_ensured_units_run_and_are_observed(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        assert unit.name not in await supervisor.observe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        assert (await supervisor.observe())[unit.name].state is UnitState.RUNNING

    async def test_a_unit_need_not_listen(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = replace(make_unit(), port=None)
        await supervisor.ensure(unit, environment(unit))
        await eventually(lambda: self.logged(supervisor, unit, "probe: serves"))
        await asyncio.sleep(0.1)
        assert await has_state(supervisor, unit, UnitState.RUNNING)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()

    async def test_ensure_may_be_repeated(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        first = await ask(unit)
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["run"] == first["run"]

    async def test_the_environment_arrives_as_it_is(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit, AWKWARD))
        seen = (await ask(unit))["env"]
        assert {name: seen.get(name) for name in AWKWARD} == AWKWARD
        assert (seen["HOST"], seen["PORT"]) == (unit.address, str(unit.port))

    async def test_kennels_own_environment_stays_its_own(
        self, supervisor: Supervisor, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KENNEL_OF_ITS_OWN", "secret")
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        assert "KENNEL_OF_ITS_OWN" not in (await ask(unit))["env"]

    @pytest.mark.parametrize(
        ("name", "value"), [("NUL", "hush\0hush"), ("A=B", "hush"), ("", "hush")]
    )
    async def test_a_variable_that_cannot_be_is_named_without_its_value(
        self, supervisor: Supervisor, make_unit: MakeUnit, name: str, value: str
    ) -> None:
        unit = make_unit()
        with pytest.raises(Rejected) as refused:
            await supervisor.ensure(unit, environment(unit, {name: value}))
        assert name in str(refused.value)
        assert "hush" not in str(refused.value)
        assert unit.name not in await supervisor.observe()

    async def test_arguments_are_literal(self, supervisor: Supervisor, make_unit: MakeUnit) -> None:
        unit = make_unit("serves", *LITERAL)
        await supervisor.ensure(unit, environment(unit))
        assert tuple((await ask(unit))["args"]) == LITERAL

    async def test_a_unit_may_write_to_its_home(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["writes"] == [True, True]

    async def test_units_run_side_by_side(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        many = [make_unit() for _ in range(8)]
        await asyncio.gather(*(supervisor.ensure(unit, environment(unit)) for unit in many))
        seen = await asyncio.gather(*(ask(unit) for unit in many))
        assert len({each["run"] for each in seen}) == len(many)
        assert [each["env"]["PORT"] for each in seen] == [str(unit.port) for unit in many]
        observed = await supervisor.observe()
        assert {observed[unit.name].state for unit in many} == {UnitState.RUNNING}

    async def test_removed_units_are_gone(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit, other = make_unit(), make_unit()
        for each in (unit, other):
            await supervisor.ensure(each, environment(each))
            await ask(each)
        await supervisor.remove(unit.name)
        assert not await answers(unit)
        observed = await supervisor.observe()
        assert unit.name not in observed
        assert other.name in observed
        assert await answers(other)

    async def test_remove_may_be_repeated(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.remove(unit.name)
        await supervisor.ensure(unit, environment(unit))
        await supervisor.remove(unit.name)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()

    async def test_removed_units_may_come_back(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        first = await ask(unit)
        await supervisor.remove(unit.name)
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["run"] != first["run"]

    async def test_one_unit_may_be_ensured_twice_at_once(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await asyncio.gather(*(supervisor.ensure(unit, environment(unit)) for _ in range(3)))
        first = await ask(unit)
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["run"] == first["run"]

    @pytest.mark.parametrize("end", ["exit 3", "kill 9"])
    async def test_what_crashes_is_started_again(
        self, supervisor: Supervisor, make_unit: MakeUnit, end: str
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit, AWKWARD))
        first = await ask(unit)
        await make_end(unit, end)
        await eventually(lambda: _another_run(unit, first["run"]))
        again = await ask(unit)
        assert {name: again["env"][name] for name in AWKWARD} == AWKWARD
        status = (await supervisor.observe())[unit.name]
        assert (status.state, status.restarts) == (UnitState.RUNNING, 1)

    async def test_what_fails_all_the_time_is_given_up(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("fails")
        await supervisor.ensure(unit, environment(unit))

        async def given_up() -> bool:
            status = (await supervisor.observe()).get(unit.name)
            if status and status.state in {UnitState.RESTARTING, UnitState.FAILED}:
                assert status.reason in {"", "exited with status 3"}
            return status is None or status.state is UnitState.FAILED

        await eventually(given_up, within=60)
        assert "probe: fails" in await supervisor.logs(unit.name, 100)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()

    async def test_what_was_given_up_may_be_ensured_again(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("fails")
        await supervisor.ensure(unit, environment(unit))

        async def given_up() -> bool:
            status = (await supervisor.observe()).get(unit.name)
            return status is None or status.state is UnitState.FAILED

        await eventually(given_up, within=60)
        words = ("serves" if word == "fails" else word for word in unit.command)
        mended = replace(unit, command=tuple(words))
        await supervisor.ensure(mended, environment(mended))
        await ask(mended)
        assert (await supervisor.observe())[unit.name].state is UnitState.RUNNING

    async def test_logs_are_the_last_lines_oldest_first(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit, other = make_unit(), make_unit()
        for each in (unit, other):
            await supervisor.ensure(each, environment(each))
        for word in ("one", "zwölf", "3 🐕"):
            await ask(unit, f"say {word}")
        await eventually(lambda: self.logged(supervisor, unit, "3 🐕"))
        assert list(await supervisor.logs(unit.name, 3)) == ["one", "zwölf", "3 🐕"]
        assert list(await supervisor.logs(unit.name, 1)) == ["3 🐕"]
        assert "one" not in await supervisor.logs(other.name, 100)

    async def test_logs_stay_when_the_unit_is_removed(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit, "say last words")
        await supervisor.remove(unit.name)
        await eventually(lambda: self.logged(supervisor, unit, "last words"))

    async def test_there_are_no_logs_of_what_never_was(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        assert list(await supervisor.logs(make_unit().name, 10)) == []

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9], ids="after {:.0%}".format)
    async def test_goes_on_where_it_was_cut_off(
        self, supervisor: Supervisor, make_unit: MakeUnit, part: float
    ) -> None:
        first, unit = make_unit(), make_unit()
        took = await seconds(supervisor.ensure(first, environment(first)))
        task = asyncio.create_task(supervisor.ensure(unit, environment(unit)))
        await asyncio.wait({task}, timeout=took * part)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        await supervisor.remove(unit.name)
        assert not await answers(unit)
        assert unit.name not in await supervisor.observe()

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9], ids="after {:.0%}".format)
    async def test_may_be_removed_while_it_starts(
        self, supervisor: Supervisor, make_unit: MakeUnit, part: float
    ) -> None:
        first, unit = make_unit(), make_unit()
        took = await seconds(supervisor.ensure(first, environment(first)))
        task = asyncio.create_task(supervisor.ensure(unit, environment(unit)))
        await asyncio.wait({task}, timeout=took * part)
        await supervisor.remove(unit.name)
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert outcome is None or isinstance(outcome, ProviderError)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()
        assert not await answers(unit)

    async def test_a_new_start_finds_what_survived(
        self, make_supervisor: MakeSupervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        async with make_supervisor() as first:
            await first.ensure(unit, environment(unit, AWKWARD))
            run = (await ask(unit))["run"]
        async with make_supervisor() as second:
            if not second.survives:
                assert not await answers(unit)
                assert unit.name not in await second.observe()
                return
            assert (await second.observe())[unit.name].state is UnitState.RUNNING
            await second.ensure(unit, environment(unit, AWKWARD))
            assert (await ask(unit))["run"] == run
            await make_end(unit, "exit 3")
            await eventually(lambda: _another_run(unit, run))
            await second.remove(unit.name)
            assert not await answers(unit)

    @pytest.mark.parametrize("command", ["/no/such/program", "/etc/passwd", "/"])
    async def test_what_cannot_be_executed_is_rejected(
        self, supervisor: Supervisor, make_unit: MakeUnit, command: str
    ) -> None:
        await self.optional(self.python)
        unit = make_unit()
        broken = replace(unit, command=(command, "x"))
        with pytest.raises(Rejected, match=command):
            await supervisor.ensure(broken, environment(broken, AWKWARD))
        assert unit.name not in await supervisor.observe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)

    @pytest.mark.parametrize("mode", ["stubborn", "family"])
    async def test_remove_leaves_no_process(
        self, supervisor: Supervisor, make_unit: MakeUnit, mode: str
    ) -> None:
        await self.optional(self.python)
        unit = make_unit(mode)
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        await supervisor.remove(unit.name)
        assert not await answers(unit)
        assert unit.name not in await supervisor.observe()

    async def test_what_runs_the_units_out_of_reach_is_said(self, make_unit: MakeUnit) -> None:
        away = await self.optional(self.unreachable)
        unit = make_unit()
        await self.says_so(
            (Unavailable, Rejected),
            away,
            away.observe,
            lambda: away.ensure(unit, environment(unit)),
            lambda: away.ensure(timed(unit), environment(unit)),
            lambda: away.run(unit, environment(unit), within=5),
            lambda: away.remove(unit.name),
            away.check,
        )


async def _another_run(unit: Unit, run: object) -> bool:
    seen = await ask(unit)
    return bool(seen["run"] != run)
