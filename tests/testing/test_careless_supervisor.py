"""The contract catches careless supervisors: each breaks one rule, and a test says so."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from string import Template

import pytest
from blockbuster import BlockingError, blockbuster_ctx

from kennel.domain import Env, Secret, Unit
from kennel.plugin import Supervisor
from kennel.testing.probe import unit_of
from kennel.testing.supervisor import MakeUnit, MemorySupervisor, SupervisorContract

CONTRACT = SupervisorContract()


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


def make_unit(mode: str = "serves", *args: str) -> Unit:
    return unit_of("python", "-c", "probe", mode, *args)


Test = Callable[[Supervisor, MakeUnit], Awaitable[None]]


async def crashes(supervisor: Supervisor, make_unit: MakeUnit) -> None:
    await CONTRACT.test_what_crashes_is_started_again(supervisor, make_unit, "exit 3")


async def keeps_to_itself(supervisor: Supervisor, make_unit: MakeUnit) -> None:
    with pytest.MonkeyPatch.context() as patch:
        await CONTRACT.test_kennels_own_environment_stays_its_own(supervisor, make_unit, patch)


TESTS: list[Test] = [
    CONTRACT.test_ensured_units_run_and_are_observed,
    CONTRACT.test_ensure_may_be_repeated,
    CONTRACT.test_the_environment_arrives_as_it_is,
    keeps_to_itself,
    CONTRACT.test_removed_units_are_gone,
    crashes,
    CONTRACT.test_logs_stay_when_the_unit_is_removed,
    CONTRACT.test_logs_are_the_last_lines_oldest_first,
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
        (Blocks, CONTRACT.test_ensured_units_run_and_are_observed),
    ],
)
async def test_the_careless_are_caught(
    careless: type[MemorySupervisor], test: Test, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kennel.testing.probe.PATIENCE", 0.5)
    with pytest.raises((AssertionError, BlockingError, TimeoutError)), blockbuster_ctx():
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
