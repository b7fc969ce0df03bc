"""What a deployment that goes wrong changes: nothing. What was live goes on."""

import asyncio
import re
import time
from typing import TYPE_CHECKING

import pytest

from kennel.domain import Env, Manifest, Ready, Service, Unit, UnitState, UnitStatus
from kennel.errors import Rejected, Unavailable
from kennel.reconcile.probe import Trouble
from kennel.reconcile.ready import NotReady, answers, runs
from kennel.testing.memory_supervisor import Exit, Program, Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Town


async def exits_0(_unit: Unit, _env: Env, say: Say) -> None:
    say("nothing to do")


async def crashes(_unit: Unit, _env: Env, say: Say) -> None:
    say("no configuration")
    raise Exit(3)


async def eats(_unit: Unit, _env: Env, say: Say) -> None:
    say("MemoryError")
    raise RuntimeError("it used more memory than it may (oom-kill)")


async def deaf(_unit: Unit, _env: Env, say: Say) -> None:
    say("listening to nobody")
    await asyncio.sleep(3600)


async def sick(unit: Unit, _env: Env, say: Say) -> None:
    """Answer 500 to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    say("a table is missing")
    server = await asyncio.start_server(serve, unit.address, unit.port)
    async with server:
        await asyncio.sleep(3600)


CASES = {
    "it exits 0 at once": (exits_0, 2.0, r"it ended before it was ready: GET URL: nothing listens"),
    "it crashes again and again": (
        crashes,
        3.0,
        r"it failed \(exited with status 3\) before it was ready: GET URL: nothing listens there",
    ),
    "it eats more memory than it may": (
        eats,
        3.0,
        r"it failed \(it used more memory than it may \(oom-kill\)\) before it was ready: GET URL:",
    ),
    "it never listens": (deaf, 3.0, r"not ready after 1 s: GET URL: nothing listens there"),
    "it answers 500": (sick, 3.0, r"not ready after 1 s: GET URL: status 500"),
}
LAST_WORDS = {
    exits_0: "nothing to do",
    crashes: "no configuration",
    eats: "MemoryError",
    deaf: "listening to nobody",
    sick: "a table is missing",
}


def several(*names: str, timeout: float = 1.0) -> Manifest:
    ready = Ready(path="/health", timeout=timeout)
    return Manifest(services={n: Service(name=n, package=n, ready=ready) for n in names})


async def serving_the_old(town: "Town") -> tuple[dict[str, str], set[str]]:
    """Make a first version live. Return its targets and units."""
    await town.built(several("api"))
    await town.settle()
    return await town.live(), await town.units()


@pytest.mark.parametrize("case", CASES)
async def test_a_bad_version_changes_nothing_and_says_why(town: "Town", case: str) -> None:
    program, within, why = CASES[case]
    before, units = await serving_the_old(town)
    requests = (await town.router.observe()).live
    town.supervisor._program = program
    number = await town.built(several("api"), version=2)
    begun = time.monotonic()
    await town.settle()
    assert time.monotonic() - begun < within
    build = await town.build(number)
    assert build.state == "failed"
    expected = why.replace("URL", r"http://127\.0\.0\.1:\d+/health")
    assert re.match("api: " + expected, build.reason), build.reason
    assert re.search(f"its last lines:\n(  .*\n)*  {LAST_WORDS[program]}", build.reason)
    assert (await town.live(), await town.units()) == (before, units)
    assert (await town.router.observe()).live == requests


async def test_what_cannot_be_executed_changes_nothing(
    town: "Town", monkeypatch: pytest.MonkeyPatch
) -> None:
    before, units = await serving_the_old(town)

    async def refuse(unit: Unit, env: Env) -> None:
        raise Rejected(f"{unit.key}: {unit.command[0]} cannot be run: Exec format error")

    monkeypatch.setattr(town.supervisor, "ensure", refuse)
    number = await town.built(several("api"), version=2)
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert "/nix/store/api-2/bin/x cannot be run: Exec format error" in build.reason
    assert (await town.live(), await town.units()) == (before, units)


@pytest.mark.parametrize("program", [exits_0, crashes, eats, deaf, sick])
async def test_with_one_bad_among_three_none_is_switched(town: "Town", program: Program) -> None:
    await town.built(several("a", "b", "c"))
    await town.settle()
    before, units = await town.live(), await town.units()
    requests, good = (await town.router.observe()).live, town.supervisor._program

    async def mixed(unit: Unit, env: Env, say: Say) -> None:
        await (program if unit.key.name == "b" else good)(unit, env, say)

    town.supervisor._program = mixed
    number = await town.built(several("a", "b", "c"), version=2)
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert build.reason.startswith("b: ")
    assert (await town.live(), await town.units()) == (before, units)
    assert (await town.router.observe()).live == requests


async def test_a_slow_service_is_not_waited_for_once_another_has_failed(town: "Town") -> None:
    async def mixed(unit: Unit, env: Env, say: Say) -> None:
        await (deaf if unit.key.name == "slow" else exits_0)(unit, env, say)

    town.supervisor._program = mixed
    number = await town.built(several("bad", "slow", "worse", timeout=60))
    begun = time.monotonic()
    await town.settle()
    assert time.monotonic() - begun < 4
    reason = (await town.build(number)).reason
    assert "bad: it ended" in reason
    assert "worse: it ended" in reason, "what is wrong with the others is told as well"
    assert "slow" not in reason
    assert await town.units() == set()


async def test_a_first_version_that_is_bad_leaves_nothing(town: "Town") -> None:
    town.supervisor._program = deaf
    number = await town.built(several("api"))
    await town.settle()
    assert (await town.build(number)).state == "failed"
    assert await town.units() == set()
    [one] = await town.reconciler.wanted()
    assert one.generations == ()
    state = await town.router.observe()
    assert (state.live, state.routes) == ({}, frozenset())


async def test_a_version_after_a_bad_one_goes_live(town: "Town") -> None:
    good = town.supervisor._program
    town.supervisor._program = deaf
    await town.built(several("api"))
    await town.settle()
    town.supervisor._program = good
    number = await town.built(several("api"), version=2)
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert len(await town.units()) == 1


async def test_only_the_last_20_lines_are_told(town: "Town") -> None:
    async def talks(unit: Unit, env: Env, say: Say) -> None:
        for line in range(100):
            say(f"line {line:02}")
        await asyncio.sleep(3600)

    town.supervisor._program = talks
    number = await town.built(several("api", timeout=0.3))
    await town.settle()
    reason = (await town.build(number)).reason
    assert [f"line {line:02}" for line in range(80, 100)] == re.findall(r"line \d\d", reason)


async def path_of(town: "Town") -> str | None:
    """Return what the only live service is asked for from now on."""
    [one] = await town.reconciler.wanted()
    paths = [d.generation.service.ready.path for d in one.live if d.generation]
    return paths[0]


async def test_another_ready_path_alone_holds_from_then_on_and_restarts_nothing(
    town: "Town",
) -> None:
    await town.built(several("api"))
    await town.settle()
    units = await town.units()
    api = Service(name="api", package="api", ready=Ready(path="/other", timeout=1.0))
    number = await town.built(Manifest(services={"api": api}))
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert await town.units() == units
    assert await path_of(town) == "/other"


async def test_another_ready_path_that_does_not_answer_fails_and_stops_nothing(
    town: "Town",
) -> None:
    await town.built(Manifest(services={"api": Service(name="api", package="api")}))
    await town.settle()
    units = await town.units()
    for unit in units:
        there = town.supervisor.host.units[unit]
        assert there.task
        there.task.cancel()
        await asyncio.wait([there.task])
        there.task = asyncio.create_task(sick(there.unit, there.env, print))
    number = await town.built(several("api"))
    await town.settle()
    build = await town.build(number)
    assert build.state == "failed"
    assert "/health: status 500" in build.reason
    assert await town.units() == units
    assert await path_of(town) is None


async def test_the_ready_path_of_a_bad_version_does_not_hold_for_what_is_live(
    town: "Town",
) -> None:
    await town.built(several("api"))
    await town.settle()
    api = Service(name="api", package="api", ready=Ready(path="/other", timeout=1.0))
    bad = several("bad").services
    good = town.supervisor._program

    async def mixed(unit: Unit, env: Env, say: Say) -> None:
        await (exits_0 if unit.key.name == "bad" else good)(unit, env, say)

    town.supervisor._program = mixed
    number = await town.built(Manifest(services={"api": api, **bad}))
    await town.settle()
    assert (await town.build(number)).state == "failed"
    assert await path_of(town) == "/health"


# Deciding that it is enough.


class Told:
    """A supervisor that says of a unit what it is told to, look by look."""

    def __init__(self, *statuses: UnitStatus | None) -> None:
        self._left = list(statuses)

    async def __call__(self) -> UnitStatus | None:
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


RUNNING = UnitStatus(state=UnitState.RUNNING)


def crashed(times: int) -> UnitStatus:
    return UnitStatus(state=UnitState.RESTARTING, reason="exited with status 3", restarts=times)


async def nobody() -> Trouble | None:
    return Trouble(what="GET http://x/: nothing listens there")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kennel.reconcile.ready.LIFE_EVERY", 0.02)


@pytest.mark.parametrize(
    "life",
    [
        pytest.param(Told(*(crashed(n) for n in range(9))), id="counted"),
        pytest.param(Told(*[RUNNING, crashed(0)] * 9, RUNNING), id="not counted, but seen"),
    ],
)
async def test_what_crashes_three_times_is_not_waited_for(life: Told) -> None:
    with pytest.raises(NotReady, match=r"started again 3 times \(exited with status 3\)"):
        await answers(nobody, life, within=60, settle=2)


async def test_what_crashes_twice_is_waited_for() -> None:
    life = Told(crashed(0), crashed(1), crashed(2), UnitStatus(state=UnitState.RUNNING, restarts=2))
    with pytest.raises(NotReady, match=r"not ready after 0\.3 s: .* \(exited with status 3\)"):
        await answers(nobody, life, within=0.3, settle=0.1)


async def test_crashes_of_long_ago_do_not_count() -> None:
    life = Told(UnitStatus(state=UnitState.RUNNING, restarts=9))
    with pytest.raises(NotReady, match=r"^not ready after 0\.3 s"):
        await answers(nobody, life, within=0.3, settle=0.1)


async def test_what_answers_between_its_crashes_is_not_ready() -> None:
    looks = iter([Trouble(what="refused")] * 8)

    async def between() -> Trouble | None:
        return next(looks, None)

    life = Told(*(crashed(n) for n in range(9)))
    with pytest.raises(NotReady, match="started again 3 times"):
        await answers(between, life, within=60, settle=5)


async def test_what_answers_after_a_crash_and_goes_on_is_ready() -> None:
    looks = iter([Trouble(what="refused")] * 8)

    async def at_last() -> Trouble | None:
        return next(looks, None)

    life = Told(RUNNING, crashed(1), UnitStatus(state=UnitState.RUNNING, restarts=1))
    begun = time.monotonic()
    await answers(at_last, life, within=60, settle=0.5)
    assert time.monotonic() - begun >= 0.5


async def test_a_supervisor_that_is_away_is_no_verdict() -> None:
    async def away() -> UnitStatus | None:
        raise Unavailable("no bus")

    with pytest.raises(Unavailable):
        await answers(nobody, away, within=60, settle=1)
    with pytest.raises(Unavailable):
        await runs(away, within=60, settle=1)
