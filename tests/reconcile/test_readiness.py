"""Nothing is sent requests before it has shown that it is ready."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kennel.domain import Env, Ready, Ref, Unit, UnitState, UnitStatus, Upstream
from kennel.reconcile import probe
from kennel.reconcile.ready import NotReady, answers
from kennel.testing.memory_supervisor import Program, Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Serving, Town

MAIN = Ref.branch("main")


class Gate:
    """A program that listens only once it is opened."""

    def __init__(self, inner: Program) -> None:
        self.opened = asyncio.Event()
        self._inner = inner

    async def __call__(self, unit: Unit, env: Env, say: Say) -> None:
        await self.opened.wait()
        await self._inner(unit, env, say)


@pytest.fixture
def gate(town: "Town") -> Gate:
    gate = Gate(town.supervisor._program)
    town.supervisor._program = gate
    return gate


async def started(town: "Town", eventually: "Eventually") -> None:
    """Run a pass, and wait until it has started a unit."""
    await town.reconciler.run_pass()

    async def runs() -> bool:
        return bool(await town.units())

    await eventually(runs)


async def test_a_unit_that_an_earlier_kennel_started_is_waited_for_too(
    town: "Town", serving: "Serving", eventually: "Eventually", gate: Gate
) -> None:
    number = await town.built(serving("api", timeout=30))
    await started(town, eventually)
    await town.reconciler.stop()
    town.restarted()
    await town.reconciler.run_pass()
    await asyncio.sleep(0.5)
    assert (await town.build(number)).state == "built"
    gate.opened.set()
    await town.settle()
    assert (await town.build(number)).state == "done"


async def test_a_unit_that_an_overtaken_build_started_is_waited_for_too(
    town: "Town", serving: "Serving", eventually: "Eventually", gate: Gate
) -> None:
    await town.built(serving("api", timeout=30))
    await started(town, eventually)
    second = await town.built(serving("api", timeout=30))
    for _ in range(3):
        await town.reconciler.run_pass()
        await asyncio.sleep(0.2)
    assert (await town.build(second)).state == "built"
    gate.opened.set()
    await town.settle()
    assert (await town.build(second)).state == "done"
    assert len(await town.units()) == 1


async def test_a_live_service_is_not_asked_again_when_another_one_changes(
    town: "Town", serving: "Serving", gate: Gate
) -> None:
    gate.opened.set()
    await town.built(serving("api"))
    await town.settle()
    [unit] = await town.units()
    before = town.supervisor.host.units[unit]
    assert before.task
    before.task.cancel()  # it hangs: it is there, and does not answer any more
    await asyncio.wait([before.task])
    number = await town.built(serving("api", site=True))
    await town.settle()
    assert (await town.build(number)).state == "done"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def asked(serve: Serve, *, timeout: float = 1.0) -> str | None:
    """Probe a server. Return why it is not ready, or None if it is."""
    served: set[asyncio.Task[None]] = set()

    async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            served.add(task)
        try:
            await serve(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    server = await asyncio.start_server(serving, "127.0.0.1", 0)
    async with server:
        at = Upstream(port=server.sockets[0].getsockname()[1])

        async def life() -> UnitStatus | None:
            return UnitStatus(state=UnitState.RUNNING)

        try:
            async with asyncio.timeout(15):
                look = partial(probe.look, at, Ready(path="/"), host="x")
                await answers(look, life, within=timeout, settle=1.0)
        except NotReady as error:
            return str(error)
        finally:
            for task in served:
                task.cancel()
            await asyncio.gather(*served, return_exceptions=True)
    return None


async def test_an_answer_without_end_is_not_read() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()
            await asyncio.sleep(0.001)

    assert await asked(endless) is None
    assert sent < 16 * 1024 * 1024


async def test_headers_that_trickle_do_not_outlast_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kennel.reconcile.probe.TIMEOUT", 0.5)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)

    why = await asked(trickle, timeout=0.6)
    assert why is not None
    assert "no answer within 0.5 s" in why


async def test_what_answers_no_http_is_named() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")

    why = await asked(nonsense, timeout=0.3)
    assert why is not None
    assert "GET http://127.0.0.1:" in why
