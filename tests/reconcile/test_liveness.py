"""What is live and does not answer any more is seen, shown, and started anew if it hangs."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from kennel.domain import Env, Manifest, Ready, Ref, Service, Tenant, Unit, UnitState, UnitStatus
from kennel.errors import Unavailable
from kennel.lifecycle import Terms
from kennel.reconcile.liveness import _Case
from kennel.reconcile.probe import Trouble
from kennel.store import tenants
from kennel.testing.memory_supervisor import Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Town

SHOP = Tenant("shop", Ref.branch("main"))


class Moody:
    """A program that answers as it is told to: a status, or nothing at all."""

    def __init__(self) -> None:
        self.mood = "200"
        self.asked = 0
        self.lasting = True
        """Whether a new start helps."""
        self.runs = 0

    async def __call__(self, unit: Unit, env: Env, say: Say) -> None:
        self.runs += 1
        run = self.runs

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                if await reader.readline():
                    self.asked += 1
                mood = self.mood if self.lasting or run == 1 else "200"
                if mood == "hang":
                    await reader.read()  # until whoever asks gives up
                else:
                    writer.write(f"HTTP/1.1 {mood} X\r\nContent-Length: 0\r\n\r\n".encode())
            finally:
                writer.close()

        server = await asyncio.start_server(serve, unit.address, unit.port)
        async with server:
            await asyncio.sleep(3600)


def manifest(*names: str, path: str | None = "/health") -> Manifest:
    ready = Ready(path=path, timeout=1)
    return Manifest(services={n: Service(name=n, package=n, ready=ready) for n in names})


@pytest.fixture
def moody() -> Moody:
    return Moody()


@pytest.fixture
async def watched(
    town: "Town", moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator["Town"]:
    """Give a town with a service that is live, and a loop that runs in it."""
    monkeypatch.setattr("kennel.reconcile.probe.TIMEOUT", 0.2)
    town.supervisor._program = moody
    town.look_every = 0.1
    town.restarted()
    await town.built(manifest("api"))
    await town.settle()
    loop = asyncio.create_task(town.reconciler.run())
    yield town
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def begins_to(moody: Moody, mood: str, town: "Town") -> None:
    """Change a mood, and run a pass in which it is time to look."""
    moody.mood = mood
    await asyncio.sleep(0.15)
    town.reconciler.wake()


async def ailing(town: "Town") -> str:
    """Return what is wrong with the only service there is."""
    world = await town.reconciler.look()
    return "; ".join(world.actual.ailing.values())


async def test_a_service_that_answers_with_an_error_is_shown_and_left_alone(
    watched: "Town", moody: Moody, eventually: "Eventually"
) -> None:
    async def is_shown() -> bool:
        watched.reconciler.wake()
        return bool(
            re.fullmatch(r"GET http://127\.0\.0\.1:\d+/health: status 500", await ailing(watched))
        )

    async def is_well() -> bool:
        return not await ailing(watched)

    moody.mood = "500"
    await eventually(is_shown)
    asked = moody.asked
    while moody.asked < asked + 6:
        await asyncio.sleep(0.05)
    assert moody.runs == 1, "it answers: it is not started anew"
    moody.mood = "302"
    await eventually(is_well)


async def test_a_service_that_hangs_is_seen_by_the_next_pass_and_started_anew(
    watched: "Town", moody: Moody, eventually: "Eventually"
) -> None:
    [before] = await watched.units()
    moody.lasting = False
    await begins_to(moody, "hang", watched)

    async def is_shown() -> bool:
        return "/health: no answer within 0.2 s" in await ailing(watched)

    async def is_well() -> bool:
        return moody.runs == 2 and not await ailing(watched)

    await eventually(is_shown)
    assert moody.runs == 1, "once is not enough"
    await eventually(is_well)
    assert await watched.units() == {before}
    assert watched.supervisor.host.units[before].status.state is UnitState.RUNNING


async def test_a_service_without_a_path_is_asked_for_a_connection(
    town: "Town", moody: Moody, monkeypatch: pytest.MonkeyPatch, eventually: "Eventually"
) -> None:
    town.look_every = 0.05
    town.restarted()
    await town.built(manifest("api", path=None))
    await town.settle()
    [unit] = await town.units()
    there = town.supervisor.host.units[unit]
    assert there.task
    there.task.cancel()  # it is there, and listens no more
    await asyncio.wait([there.task])

    async def is_shown() -> bool:
        await asyncio.sleep(0.06)
        await town.reconciler.run_pass()
        return "connecting to 127.0.0.1:" in await ailing(town)

    async def is_back() -> bool:
        await asyncio.sleep(0.06)
        await town.reconciler.run_pass()
        return town.supervisor.host.units.get(unit) not in (None, there)

    await eventually(is_shown)
    await eventually(is_back)
    await town.settle()
    assert await ailing(town) == ""


async def test_a_service_that_hangs_all_the_time_is_started_later_and_later(
    watched: "Town", moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []
    ensure = watched.supervisor.ensure

    async def noted(unit: Unit, env: Env) -> None:
        starts.append(time.monotonic())
        await ensure(unit, env)

    monkeypatch.setattr(watched.supervisor, "ensure", noted)
    await begins_to(moody, "hang", watched)
    async with asyncio.timeout(20):
        while len(starts) < 4:
            await asyncio.sleep(0.05)
    assert starts[2] - starts[1] >= 1
    assert starts[3] - starts[2] >= 2


async def test_nothing_is_stopped_that_could_not_be_started_again(
    watched: "Town", moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object) -> Env:
        raise Unavailable("memory: the server is down")

    monkeypatch.setattr("kennel.reconcile.provisioning.Provisioning.given", down)
    await begins_to(moody, "hang", watched)
    async with asyncio.timeout(10):
        while SHOP not in watched.reconciler.troubles:
            await asyncio.sleep(0.05)
    assert len(await watched.units()) == 1
    assert moody.runs == 1


@pytest.mark.parametrize("how", ["asleep", "stopped"])
async def test_who_rests_is_not_asked(
    watched: "Town", moody: Moody, how: str, eventually: "Eventually"
) -> None:
    [one] = await watched.reconciler.wanted()
    record = one.record
    change: dict[str, Any] = {"stopped": True}
    if how == "asleep":
        watched.terms = Terms(sleep_after=60.0)
        change = {"active_at": time.time() - 61}
    await watched.store.write(partial(tenants.change, tenant_id=record.id, **change))
    watched.reconciler.wake()

    async def rests() -> bool:
        return await watched.units() == set()

    await eventually(rests)
    asked = moody.asked
    for _ in range(5):
        watched.reconciler.wake()
        await asyncio.sleep(0.1)
    assert moody.asked == asked
    assert (await watched.reconciler.look()).actual.ailing == {}


async def test_what_the_supervisor_starts_again_is_not_asked_and_not_started_by_kennel(
    watched: "Town", moody: Moody
) -> None:
    [unit] = await watched.units()
    there = watched.supervisor.host.units[unit]
    there.status = replace(there.status, state=UnitState.RESTARTING)
    await asyncio.sleep(0.3)
    asked = moody.asked
    moody.mood = "hang"
    for _ in range(8):
        watched.reconciler.wake()
        await asyncio.sleep(0.1)
    assert moody.asked == asked
    assert moody.runs == 1


async def test_what_is_being_started_is_waited_for_and_not_called_failing(
    watched: "Town", moody: Moody, eventually: "Eventually"
) -> None:
    opened = asyncio.Event()

    async def slow(unit: Unit, env: Env, say: Say) -> None:
        await opened.wait()
        await moody(unit, env, say)

    watched.supervisor._program = slow
    [unit] = await watched.units()
    await watched.supervisor.remove(unit)
    watched.reconciler.wake()

    async def is_waited_for() -> bool:
        watched.reconciler.wake()
        return bool(watched.reconciler._settling) and await ailing(watched) == ""

    await eventually(is_waited_for)
    opened.set()

    async def is_back() -> bool:
        return moody.runs == 2 and not watched.reconciler._settling

    await eventually(is_back)


async def test_a_pass_waits_for_no_service(
    watched: "Town", moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kennel.reconcile.probe.TIMEOUT", 30)
    moody.mood = "hang"
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    for _ in range(5):
        await watched.reconciler.run_pass()
    assert time.monotonic() - begun < 1


async def test_looking_costs_no_call_and_no_write(
    watched: "Town", moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    observe = watched.supervisor.observe

    async def counted() -> Mapping[str, UnitStatus]:
        nonlocal calls
        calls += 1
        return await observe()

    await asyncio.sleep(0.3)
    monkeypatch.setattr(watched.supervisor, "observe", counted)
    writes, asked = watched.store.changes, moody.asked
    for _ in range(5):
        await watched.reconciler.run_pass()
        await asyncio.sleep(0.15)
    assert (calls, watched.store.changes) == (5, writes)
    assert moody.asked > asked


# When a unit hangs.

SILENT = Trouble(what="no answer")
COMPLAINS = Trouble(what="status 500", answers=True)


def seen(*troubles: Trouble | None, start: float = 60.0) -> bool:
    """Return whether a unit hangs of which this was seen."""
    case = _Case(restarts=0)
    for trouble in troubles:
        case.note(trouble, start=start)
    return case.hangs


def test_what_has_answered_hangs_after_three_looks_on_end() -> None:
    assert not seen(None, SILENT, SILENT)
    assert seen(None, SILENT, SILENT, SILENT)
    assert not seen(None, SILENT, SILENT, None, SILENT, SILENT)
    assert not seen(None, SILENT, SILENT, COMPLAINS, SILENT, SILENT)
    assert not seen(None, *[COMPLAINS] * 9)


def test_what_was_started_again_has_its_time_to_get_ready() -> None:
    assert not seen(*[SILENT] * 9)
    assert seen(*[SILENT] * 3, start=0.0)
