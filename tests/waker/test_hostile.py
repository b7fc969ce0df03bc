"""Services that want what is not theirs, visitors who go, and too many of them."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from kennel.builtin.caddy import CaddyRouter
from kennel.errors import ConfigError, Unavailable
from kennel.waker import Waker
from kennel.waker import waker as module
from kennel.waker.rooms import Rooms

from .conftest import (
    BROWSER,
    ELSEWHERE,
    HOST,
    MAIN,
    OTHER,
    Ask,
    Handler,
    Listen,
    Town,
    answer,
    echo,
    eventually,
    read_head,
    running_caddy,
)

STOLEN = answer(b"stolen", "X-From: thief")


# Services that are hostile


def thief(first: bytes, then: bytes = STOLEN) -> Handler:
    """Return a service that answers, keeps the connection, and answers what nobody asked it."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(first + then)
        await writer.drain()
        while await reader.read(65536):  # another's request, if it gets one
            writer.write(STOLEN)
            await writer.drain()

    return service


FIRSTS = {
    "keeps the connection": answer(b"mine", "Connection: keep-alive"),
    "says so twice": answer(b"mine", "Connection: keep-alive", "Keep-Alive: timeout=1000"),
    "is of an old version": answer(b"mine", "Connection: keep-alive").replace(b"1.1", b"1.0", 1),
    "has no end of lines": b"HTTP/1.1 200 OK\nContent-Length: 4\nConnection: keep-alive\n\nmine",
    "is in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmine\r\n0\r\n\r\n",
    "has two lengths": answer(b"mine", "Content-Length: 4"),
    "comes after many others": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + answer(b"mine"),
    "has nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "says it is old": b"HTTP/1.1 304 Not Modified\r\n\r\n",
}


async def test_a_header_that_would_fold_ours_away_is_refused(
    town: Town, ask: Ask, listen: Listen, waker: Waker
) -> None:
    """What begins with a blank becomes part of the line before it: of `Connection: close`."""
    folded = b"HTTP/1.1 200 OK\r\n x: y\r\nContent-Length: 4\r\n\r\nmine"
    town.services = {MAIN: await listen(thief(folded)), OTHER: await listen(echo)}
    for _ in range(20):
        assert (await ask(HOST)).status_code == 502
        assert (await ask(ELSEWHERE)).headers["x-from"] == "echo"


@pytest.mark.parametrize("first", FIRSTS.values(), ids=FIRSTS)
async def test_a_second_answer_reaches_nobody(
    town: Town, ask: Ask, listen: Listen, waker: Waker, first: bytes
) -> None:
    town.services = {MAIN: await listen(thief(first)), OTHER: await listen(echo)}
    for number in range(20):
        mine = await ask(HOST)
        theirs = await ask(ELSEWHERE, f"/{number}", method="POST" if number % 2 else "GET")
        assert mine.text in ("mine", "")
        assert mine.headers.get("x-from") is None
        assert theirs.json()["line"].split()[1] == f"/{number}"
    await eventually(lambda: not waker._visits)


ODD_HEADS = {
    "a status of two digits": b"HTTP/1.1 20 OK\r\n",
    "a status with a sign": b"HTTP/1.1 +200 OK\r\n",
    "a status of four digits": b"HTTP/1.1 1000 OK\r\n",
    "another protocol": b"HTTP/2.0 200 OK\r\n",
    "a switch that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\n",
    "a carriage return too many": b"HTTP/1.1 100 Continue\r\n\r\r\n",
    "a field that is none": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
    "a field that goes on": b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("first", ODD_HEADS.values(), ids=ODD_HEADS)
async def test_heads_that_two_may_read_in_two_ways(
    town: Town, ask: Ask, listen: Listen, waker: Waker, first: bytes
) -> None:
    town.services = {MAIN: await listen(thief(first)), OTHER: await listen(echo)}
    for number in range(10):
        mine, theirs = await asyncio.gather(ask(HOST), ask(ELSEWHERE, f"/{number}"))
        assert mine.status_code in (200, 502)
        assert theirs.json()["line"].split()[1] == f"/{number}"
    await eventually(lambda: not waker._visits)


async def test_a_web_socket_that_is_none_gets_no_others_requests(
    town: Town, caddy: CaddyRouter, ask: Ask, listen: Listen, waker: Waker
) -> None:
    """It is asked for by an accomplice, and refused in a way that keeps the connection."""
    town.services = {
        MAIN: await listen(thief(answer(b"", "Connection: keep-alive"))),
        OTHER: await listen(echo),
    }
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    for number in range(20):
        await ask(HOST, headers=upgrade)
        assert (await ask(ELSEWHERE, f"/{number}")).json()["line"].split()[1] == f"/{number}"
    await eventually(lambda: not waker._visits)


# On the socket itself: a Caddy that errs


Talk = Callable[[bytes], "asyncio.Future[bytes]"]


@asynccontextmanager
async def connected(
    place: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(str(place / "wake.sock"))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def talk(place: Path, sent: bytes) -> bytes:
    """Send something, and return all that comes back."""
    async with connected(place) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(10):
            return await reader.read()


AGENT = "Host: {}\r\nUser-Agent: x\r\n"


@pytest.mark.parametrize(
    "first",
    [
        "GET /1 HTTP/1.1\r\n" + AGENT.format(HOST) + "\r\n",
        "POST /1 HTTP/1.1\r\n" + AGENT.format(HOST) + "Content-Length: 3\r\n\r\nabc",
        "POST /1 HTTP/1.1\r\n"
        + AGENT.format(HOST)
        + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n",
    ],
)
@pytest.mark.parametrize("pause", [0.0, 0.2])
@pytest.mark.usefixtures("waker")
async def test_a_second_request_on_a_connection_goes_nowhere(
    place: Path, town: Town, listen: Listen, first: str, pause: float
) -> None:
    lines: list[str] = []

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _ = await read_head(reader)
        lines.append(line)
        lines.append((await reader.read()).decode())

    town.services[MAIN] = await listen(service)
    second = "GET /2 HTTP/1.1\r\n" + AGENT.format(ELSEWHERE) + "\r\n"
    async with connected(place) as (reader, writer):
        writer.write(first.encode())
        await asyncio.sleep(pause)
        writer.write(second.encode())
        async with asyncio.timeout(5):
            assert b" 200 " not in await reader.read()
    await eventually(lambda: len(lines) == 2)
    assert lines[0].split()[1] == "/1"
    assert "/2" not in lines[1]
    assert town.woken == [MAIN]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400 "),
        (b"GET / HTTP/1.1\r\n\r\n", b"400 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"431 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 400_000, b"431 "),
        (
            f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode(),
            b"400 ",
        ),
    ],
)
async def test_what_cannot_be_read(place: Path, waker: Waker, sent: bytes, status: bytes) -> None:
    said = await talk(place, sent)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in said


async def test_a_head_that_does_not_come(
    place: Path, waker: Waker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOWEST_HEAD", 0.2)
    for sent in (b"", b"GET / HTTP/1.1\r\nHost:"):
        assert (await talk(place, sent)).startswith(b"HTTP/1.1 408 ")
    await eventually(lambda: not waker._visits)


async def test_a_chunk_without_a_size(
    place: Path, town: Town, waker: Waker, listen: Listen
) -> None:
    town.services[MAIN] = await listen(echo)
    head = f"POST / HTTP/1.1\r\n{AGENT.format(HOST)}Transfer-Encoding: chunked\r\n\r\n"
    assert await talk(place, head.encode() + b"zz\r\n") == b""
    await eventually(lambda: not waker._visits)


# Visitors who go


@pytest.mark.parametrize("size", [0, 1000, 100_000])
async def test_who_does_not_wait_any_more_makes_room(
    town: Town, caddy: CaddyRouter, waker: Waker, size: int
) -> None:
    """Caddy notices once it has sent the whole body: more than this may have to wait here."""
    waker._most_wait = town.takes = 60
    port = httpx.URL(caddy.url(HOST)).port
    head = f"POST / HTTP/1.1\r\n{AGENT.format(HOST)}Content-Length: {size}\r\n\r\n"
    gone = []
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + b"x" * size)
        gone.append(writer)
    await eventually(lambda: town.waiting == 5)
    assert waker._rooms.taken == 5
    for writer in gone:
        writer.transport.abort()
    await nobody_is_left(waker, town)


async def nobody_is_left(waker: Waker, town: Town) -> None:
    await eventually(lambda: not waker._visits)
    assert not town.waiting
    assert waker._rooms.taken == 0
    assert not waker._farewells._watched


@pytest.mark.parametrize("size", [0, 1000, 10 << 20])
async def test_a_caddy_that_goes_makes_room(
    place: Path, town: Town, waker: Waker, size: int
) -> None:
    """Whatever is there of a body that nobody reads."""
    waker._most_wait = town.takes = 60
    head = f"POST / HTTP/1.1\r\n{AGENT.format(HOST)}Content-Length: {size}\r\n\r\n"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            _, writer = await stack.enter_async_context(connected(place))
            writer.write(head.encode() + b"x" * size)
        await eventually(lambda: town.waiting == 5)
        await asyncio.sleep(0.1)
        assert waker._rooms.taken == 5
    await nobody_is_left(waker, town)


async def test_a_service_hears_that_its_visitor_has_gone(
    town: Town, caddy: CaddyRouter, waker: Waker, listen: Listen
) -> None:
    heard, asked = asyncio.Event(), asyncio.Event()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await reader.read()
        heard.set()

    town.services[MAIN] = await listen(service)
    _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(caddy.url(HOST)).port)
    writer.write(f"GET / HTTP/1.1\r\n{AGENT.format(HOST)}\r\n".encode())
    async with asyncio.timeout(5):
        await asked.wait()
        writer.transport.abort()
        await heard.wait()


async def test_a_service_that_never_reads_keeps_nobody(
    place: Path, town: Town, waker: Waker, listen: Listen
) -> None:
    done = asyncio.Event()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    town.services[MAIN] = await listen(service)
    head = f"POST / HTTP/1.1\r\n{AGENT.format(HOST)}Content-Length: 50000000\r\n\r\n"
    async with connected(place) as (_, writer):
        writer.write(head.encode() + b"x" * 50_000_000)
        await asyncio.sleep(0.7)
        assert waker._rooms.taken == 1
        writer.transport.abort()
    await nobody_is_left(waker, town)
    done.set()


# Too many


async def test_too_many_of_one_tenant_leave_room_for_others(
    town: Town, ask: Ask, listen: Listen, waker: Waker
) -> None:
    waker._rooms = Rooms(12, 8)
    town.services, town.takes = {OTHER: await listen(echo)}, 60
    held = [ask(HOST) for _ in range(8)]
    await eventually(lambda: town.waiting == 8)
    refused = await ask(HOST)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "reload" in (await ask(HOST, headers=BROWSER)).text
    town.takes = 0.1
    assert (await ask(ELSEWHERE)).status_code == 200
    for one in held:
        one.cancel()
    await eventually(lambda: not town.waiting)
    assert waker._rooms.taken == 0


async def test_connections_beyond_all_room_are_closed(place: Path, waker: Waker) -> None:
    waker._rooms = Rooms(4, 3)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(connected(place))
        await eventually(lambda: len(waker._visits) == 6)
        assert await talk(place, b"") == b""
    await eventually(lambda: not waker._visits)
    assert (await talk(place, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


# Waking that fails


@pytest.mark.parametrize("error", [Unavailable("the database is away"), OSError("database")])
async def test_a_visit_that_cannot_be_recorded(
    town: Town, ask: Ask, listen: Listen, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def broken(tenant: object) -> None:
        raise error

    town.services[MAIN] = await listen(echo)
    with monkeypatch.context() as patch, capture_logs() as logged:
        patch.setattr(town, "wake", broken)
        answers = await asyncio.gather(*(ask() for _ in range(5)))
        for got in answers:
            assert (got.status_code, got.headers["retry-after"]) == (503, "5")
            assert "database" not in got.text
    assert {entry["tenant"] for entry in logged} == {str(MAIN)}
    assert (await ask()).status_code == 200


async def test_visits_are_recorded_now_and_then(
    town: Town, ask: Ask, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORDED", 0.5)
    town.services[MAIN] = await listen(echo)
    for _ in range(5):
        await ask()
    assert town.woken == [MAIN]
    await asyncio.sleep(0.6)
    await ask()
    assert town.woken == [MAIN, MAIN]


# Kennel comes and goes


async def test_kennel_stops_while_requests_are_held(
    caddy_binary: str, place: Path, town: Town
) -> None:
    town.takes = 60
    async with Waker(place / "wake.sock", town) as waker, running_caddy(place) as caddy:
        base = caddy.url("127.0.0.1")
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=10) as client:
            held = [
                asyncio.ensure_future(client.get("/", headers={"Host": HOST, **more}))
                for more in ({}, {}, BROWSER)
            ]
            await eventually(lambda: town.waiting == 3)
            async with asyncio.timeout(2):
                await waker.__aexit__(None, None, None)
            answers = await asyncio.gather(*held)
            assert {got.status_code for got in answers} == {503}
            assert {got.headers["retry-after"] for got in answers} == {"2"}
            assert "reload" in answers[2].text
    assert not town.waiting


async def test_what_is_under_way_may_end_when_kennel_stops(
    caddy_binary: str, place: Path, town: Town, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 1.0)
    asked = asyncio.Semaphore(0)

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _ = await read_head(reader)
        asked.release()
        await asyncio.sleep(float(line.split()[1][1:]))
        writer.write(answer(b"done"))
        await writer.drain()

    town.services[MAIN] = await listen(service)
    async with Waker(place / "wake.sock", town) as waker, running_caddy(place) as caddy:
        base = caddy.url("127.0.0.1")
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=10) as client:
            short, long = (
                asyncio.ensure_future(client.get(f"/{seconds}", headers={"Host": HOST}))
                for seconds in (0.5, 30)
            )
            for _ in range(2):
                await asked.acquire()
            async with asyncio.timeout(3):
                await waker.__aexit__(None, None, None)
            assert (await short).text == "done"
            assert (await long).status_code == 502


async def test_a_new_kennel_is_waited_for(
    caddy_binary: str, place: Path, town: Town, listen: Listen
) -> None:
    """Requests that come while it is away are not lost."""
    town.services[MAIN] = await listen(echo)
    async with running_caddy(place) as caddy, httpx.AsyncClient(trust_env=False) as client:
        url, host = caddy.url("127.0.0.1"), {"Host": HOST}
        asked = asyncio.ensure_future(client.post(url, headers=host, content=b"x", timeout=20))
        await asyncio.sleep(1.5)
        assert not asked.done()
        async with Waker(place / "wake.sock", town):
            assert (await asked).json()["size"] == 1


async def test_what_a_killed_kennel_left_is_replaced(place: Path, town: Town) -> None:
    path = place / "wake.sock"
    with socket.socket(socket.AF_UNIX) as left:
        await asyncio.to_thread(left.bind, str(path))
        left.listen()
    async with Waker(path, town):
        assert (await talk(place, b"x\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        with pytest.raises(ConfigError, match="another Kennel"):
            async with Waker(path, town):
                pass
    assert not await asyncio.to_thread(path.exists)


@pytest.mark.parametrize(("group", "mode"), [(-1, 0o666), (os.getgid(), 0o660)])
async def test_who_may_connect(place: Path, town: Town, group: int, mode: int) -> None:
    before = os.umask(0o077)
    try:
        async with Waker(place / "wake.sock", town, group=group):
            found = await asyncio.to_thread((place / "wake.sock").stat)
    finally:
        os.umask(before)
    assert stat.S_IMODE(found.st_mode) == mode
    assert group in (-1, found.st_gid)
