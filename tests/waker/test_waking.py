"""Visits to tenants that sleep, through a real Caddy."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

from kennel.builtin.caddy import CaddyRouter
from kennel.domain import Environment, Upstream
from kennel.waker import NotWoken, Waker

from .conftest import (
    BROWSER,
    CRAWLER,
    ELSEWHERE,
    HOST,
    MAIN,
    OTHER,
    Ask,
    Listen,
    Town,
    answer,
    echo,
    eventually,
    read_body,
    read_head,
)


async def test_a_visitor_wakes_and_is_answered_by_the_service(
    town: Town, ask: Ask, listen: Listen
) -> None:
    town.services[MAIN] = await listen(echo)
    got = await ask(path="/a%20b?q=%C3%A9&x", headers={**BROWSER, "X-Forwarded-For": "192.0.2.1"})
    assert (got.status_code, got.headers["x-from"]) == (200, "echo")
    assert "x-robots-tag" not in got.headers
    said = got.json()
    assert said["line"] == "GET /a%20b?q=%C3%A9&x HTTP/1.1"
    assert said["head"]["host"].startswith(f"{HOST}:")
    assert said["head"]["user-agent"] == BROWSER["User-Agent"]
    assert said["head"]["x-forwarded-for"] == said["head"]["x-real-ip"] == "127.0.0.1"
    assert said["head"]["connection"] == "close"
    assert town.woken == [MAIN]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_methods_and_bodies_are_kept(
    town: Town, ask: Ask, listen: Listen, method: str
) -> None:
    town.services[MAIN] = await listen(echo)
    said = (await ask(method=method, content=b"a body")).json()
    assert said["line"].startswith(f"{method} / ")
    assert said["size"] == 6


async def test_head_is_answered_by_the_service(town: Town, ask: Ask, listen: Listen) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _ = await read_head(reader)
        assert line.startswith("HEAD ")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
        await writer.drain()

    town.services[MAIN] = await listen(service)
    got = await ask(method="HEAD")
    assert (got.status_code, got.headers["content-length"], got.content) == (200, "12345", b"")


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunked"])
async def test_large_bodies_are_not_kept_here(
    town: Town, ask: Ask, waker: Waker, listen: Listen, known: bool
) -> None:
    """What is in memory while one waits is a small part of it."""
    town.services[MAIN], town.takes = await listen(echo), 0.5
    sent, block = 0, b"0123456789abcdef" * 4096
    count = (10 << 20) // len(block)

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(count):
            sent += len(block)
            yield block

    length = {"Content-Length": str(count * len(block))} if known else {}
    asked = ask(method="POST", content=blocks(), headers=length)
    await asyncio.sleep(0.4)
    [(line, _)] = waker._farewells._watched.values()
    assert len(line.reader._buffer) < 400_000  # type: ignore[attr-defined]
    assert not asked.done()
    said = (await asked).json()
    assert said["size"] == sent == count * len(block)
    assert said["sum"] == hashlib.sha256(block * count).hexdigest()
    coding = said["head"].get("transfer-encoding")
    assert coding == (None if known else "chunked")


async def test_large_answers_arrive(town: Town, ask: Ask, listen: Listen) -> None:
    body = bytes(range(256)) * 40_000

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 100_000):
            part = body[start : start + 100_000]
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    town.services[MAIN] = await listen(service)
    assert (await ask()).content == body


async def test_an_answer_that_ends_with_its_connection(
    town: Town, ask: Ask, listen: Listen
) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.0 200 OK\nContent-Type: text/plain\n\nold manners")
        await writer.drain()

    town.services[MAIN] = await listen(service)
    assert (await ask()).text == "old manners"


async def test_what_comes_before_an_answer_comes_too(town: Town, ask: Ask, listen: Listen) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, head = await read_head(reader)
        assert head["expect"] == "100-continue"
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        body = await read_body(reader, head)
        writer.write(answer(body[::-1]))
        await writer.drain()

    town.services[MAIN] = await listen(service)
    got = await ask(method="POST", content=b"abc", headers={"Expect": "100-continue"})
    assert got.text == "cba"


async def test_an_answer_before_the_body_has_come(town: Town, ask: Ask, listen: Listen) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(answer(b"too much", status="413 Content Too Large"))
        await writer.drain()
        await reader.read()

    town.services[MAIN] = await listen(service)
    for _ in range(5):
        got = await ask(method="POST", content=b"x" * 250_000)
        assert (got.status_code, got.text) == (413, "too much")


async def test_events_come_one_by_one(
    town: Town, caddy: CaddyRouter, ask: Ask, listen: Listen
) -> None:
    go = asyncio.Event()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await writer.drain()
        await go.wait()
        writer.write(b"data: 2\n\n")
        await writer.drain()

    town.services[MAIN] = await listen(service)
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", caddy.url("127.0.0.1"), headers={"Host": HOST}) as stream,
    ):
        parts = stream.aiter_bytes()
        assert await anext(parts) == b"data: 1\n\n"
        go.set()
        assert await anext(parts) == b"data: 2\n\n"


# Web sockets


async def repeat(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def dial(caddy: CaddyRouter) -> websockets.connect:
    return websockets.connect(
        f"ws://{HOST}/", host="127.0.0.1", port=httpx.URL(caddy.url(HOST)).port, proxy=None
    )


async def test_a_web_socket_wakes_and_goes_on(town: Town, caddy: CaddyRouter) -> None:
    async with websockets.serve(repeat, "127.0.0.1", 0) as server:
        town.services[MAIN] = Upstream(port=next(iter(server.sockets)).getsockname()[1])
        async with dial(caddy) as connection:
            await says(connection)
        async with dial(caddy) as connection:
            await says(connection)
            server.close()
            async with asyncio.timeout(5):
                await connection.wait_closed()


async def says(connection: ClientConnection) -> None:
    for message in ("hello", "x" * 300_000, b"\x00\xff" * 1000):
        await connection.send(message)
        async with asyncio.timeout(5):
            assert await connection.recv() == message


async def test_a_web_socket_that_is_refused(
    town: Town, caddy: CaddyRouter, listen: Listen, waker: Waker
) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, head = await read_head(reader)
        assert head["upgrade"] == "websocket"
        writer.write(answer(b"no", status="403 Forbidden"))
        await writer.drain()
        await reader.read()

    town.services[MAIN] = await listen(service)
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with dial(caddy):
            pass
    assert refused.value.response.status_code == 403
    await eventually(lambda: not waker._visits)


# Many


async def test_many_visitors_wake_once(town: Town, ask: Ask, listen: Listen) -> None:
    town.services[MAIN], town.takes = await listen(echo), 0.6
    answers = await asyncio.gather(*(ask(path=f"/{number}") for number in range(200)))
    assert [got.status_code for got in answers] == [200] * 200
    assert {got.json()["line"].split()[1] for got in answers} == {f"/{n}" for n in range(200)}
    assert town.woken == [MAIN]


async def test_tenants_wake_each_for_itself(town: Town, ask: Ask, listen: Listen) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(answer(b"other"))
        await writer.drain()

    town.services = {MAIN: await listen(echo), OTHER: await listen(other)}
    answers = await asyncio.gather(
        *(ask(host, f"/{number}") for number in range(20) for host in (HOST, ELSEWHERE))
    )
    for number, (mine, theirs) in enumerate(zip(answers[::2], answers[1::2], strict=True)):
        assert mine.json()["line"] == f"GET /{number} HTTP/1.1"
        assert theirs.text == "other"
    assert sorted(town.woken) == sorted([MAIN, OTHER])


# Who is told what


async def test_a_person_gets_a_page_that_asks_again(town: Town, ask: Ask, listen: Listen) -> None:
    town.services[MAIN], town.takes = await listen(echo), 1.2
    began, pages = time.monotonic(), 0
    while (got := await ask(headers=BROWSER)).status_code != 200:
        pages += 1
        assert got.status_code == 503
        assert got.headers["content-type"] == "text/html; charset=utf-8"
        assert got.headers["retry-after"] == "1"
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["x-robots-tag"] == "noindex"
        assert "Waking up" in got.text
        assert "location.reload()" in got.text
    assert pages == 2
    assert 1.2 < time.monotonic() - began < 1.6  # not at the next time it would have asked
    assert town.woken == [MAIN]


async def test_a_person_sees_no_page_if_it_is_quick(town: Town, ask: Ask, listen: Listen) -> None:
    town.services[MAIN], town.takes = await listen(echo), 0.35
    assert (await ask(headers=BROWSER)).headers["x-from"] == "echo"


async def test_a_service_that_is_awake_may_take_its_time(
    town: Town, ask: Ask, listen: Listen
) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await asyncio.sleep(1.5)  # three times what a person waits for it to be awake
        writer.write(answer(b"at last"))
        await writer.drain()

    town.services[MAIN] = await listen(slow)
    assert (await ask(headers=BROWSER)).text == "at last"


async def test_programs_are_held(town: Town, ask: Ask, listen: Listen) -> None:
    town.services[MAIN], town.takes = await listen(echo), 1.5
    scripted = {**BROWSER, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    answers = await asyncio.gather(
        ask(), ask(headers=scripted), ask(method="POST", headers=BROWSER, content=b"form")
    )
    assert [got.headers.get("x-from") for got in answers] == ["echo"] * 3


async def test_programs_are_not_held_for_ever(town: Town, ask: Ask, waker: Waker) -> None:
    waker._most_wait, town.takes = 0.3, 60
    began = time.monotonic()
    got = await ask(headers={"Accept": "application/json"})
    assert (got.status_code, got.headers["retry-after"]) == (504, "5")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert time.monotonic() - began < 2
    await eventually(lambda: not town.waiting)


async def test_crawlers_wake_nobody(town: Town, ask: Ask, listen: Listen) -> None:
    town.services[MAIN] = await listen(echo)
    got = await ask(headers={"Accept": "*/*", **CRAWLER})
    assert (got.status_code, got.headers["retry-after"]) == (503, "3600")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.headers["x-robots-tag"] == "noindex"
    assert "crawlers" in got.text
    assert not town.woken


async def test_crawlers_wake_production(town: Town, ask: Ask, listen: Listen) -> None:
    town.services[MAIN] = await listen(echo)
    town.moves_in(MAIN, HOST, Environment.PROD)
    assert (await ask(headers=CRAWLER)).headers["x-from"] == "echo"


async def test_production_may_be_indexed(town: Town, ask: Ask, waker: Waker) -> None:
    waker._patience, town.takes = 0.1, 60
    town.moves_in(MAIN, HOST, Environment.PROD)
    got = await ask(headers=BROWSER)
    assert got.status_code == 503
    assert "x-robots-tag" not in got.headers


@pytest.mark.parametrize("headers", [BROWSER, {"Accept": "*/*"}], ids=["page", "text"])
async def test_who_was_stopped_is_not_woken(town: Town, ask: Ask, headers: dict[str, str]) -> None:
    town.moves_in(MAIN, HOST, stopped=True)
    got = await ask(headers=headers)
    assert got.status_code == 503
    assert "was stopped" in got.text
    assert ("<html" in got.text) == (headers is BROWSER)
    assert "reload" not in got.text
    assert not town.woken


async def test_who_sends_much_is_told_too(town: Town, caddy: CaddyRouter, waker: Waker) -> None:
    """Caddy must hear what is said while it still sends, or it says something of its own."""
    town.moves_in(MAIN, HOST, stopped=True)
    fields = f"Host: {HOST}\r\nUser-Agent: x\r\nContent-Length: {4 << 20}\r\n"
    sent = f"POST / HTTP/1.1\r\n{fields}\r\n".encode() + b"x" * (4 << 20)
    heard = set()
    for _ in range(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(caddy.url(HOST)).port)
        writer.write(sent)
        with contextlib.suppress(ConnectionError):  # Caddy does not wait for all of it
            heard.add((await reader.readline())[:12])
        writer.transport.abort()
    assert heard == {b"HTTP/1.1 503"}


async def test_a_host_that_nobody_has_any_more(town: Town, ask: Ask) -> None:
    del town.houses[HOST]
    got = await ask()
    assert (got.status_code, got.text) == (404, "There is nothing at this address.\n")


@pytest.mark.parametrize("again", [3.2, None])
async def test_a_refusal_says_why(town: Town, ask: Ask, again: float | None) -> None:
    town.refusal = NotWoken("Waits for room: 3 < 4.", again=again)
    got = await ask()
    assert (got.status_code, got.text) == (503, "Waits for room: 3 < 4.\n")
    assert got.headers.get("retry-after") == (None if again is None else "4")
    page = (await ask(headers=BROWSER)).text
    assert "3 &lt; 4" in page
    assert ("reload" in page) == (again is not None)


async def test_one_that_is_up_and_refuses(town: Town, ask: Ask, listen: Listen) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    town.services[MAIN] = Upstream(port=server.sockets[0].getsockname()[1])
    server.close()
    began = time.monotonic()
    got = await ask(headers=BROWSER)
    assert got.status_code == 502
    assert "does not answer" in got.text
    assert 0.9 < time.monotonic() - began < 3


async def test_one_that_listens_a_moment_late(town: Town, ask: Ask) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    town.services[MAIN] = Upstream(port=port)
    asked = ask(method="POST", content=b"once")
    await asyncio.sleep(0.5)
    server = await asyncio.start_server(echo, "127.0.0.1", port)
    assert (await asked).json()["size"] == 4
    server.close()


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nX: ", b"\x00" * 70_000],
)
async def test_a_service_that_speaks_something_else(
    town: Town, ask: Ask, listen: Listen, said: bytes
) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(said)
        await writer.drain()

    town.services[MAIN] = await listen(service)
    got = await ask(method="POST", content=b"body")
    assert (got.status_code, got.text) == (
        502,
        "This deployment does not answer at the moment. Try again soon.\n",
    )
