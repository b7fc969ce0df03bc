"""How requests reach a service, and what is seen where there is none."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server, ServerConnection

from kennel.builtin.caddy import CaddyRouter
from kennel.domain import Upstream
from kennel.testing.router import MAIN, OTHER, SETTLES, service

HOST, ELSEWHERE = "api.contract.localhost", "other.contract.localhost"
TABLE = [service(MAIN, "api", HOST), service(OTHER, "api", ELSEWHERE)]

Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
Listen: TypeAlias = Callable[[Handler], "asyncio.Future[Upstream]"]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Return what runs a service from a function that gets each connection."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> Upstream:
            server = await asyncio.start_server(handler, "127.0.0.1", 0)
            stack.callback(server.close)
            return Upstream(port=server.sockets[0].getsockname()[1])

        yield lambda handler: asyncio.ensure_future(start(handler))


async def echo_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the request's headers, and the length of its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:-1])}
    left, got = int(headers.get("content-length", "0")), 0
    while got < left:
        got += len(await reader.read(1 << 20))
    body = json.dumps({"headers": headers, "got": got}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
    writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    writer.close()


async def test_clients_cannot_say_who_they_are(
    embedded: CaddyRouter, listen: Listen, visit: Any
) -> None:
    await embedded.switch(MAIN, {"api": await listen(echo_request)})
    await embedded.publish(TABLE)
    forged = {
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Host": "bank.example",
        "X-Real-IP": "192.0.2.1",
        "True-Client-IP": "192.0.2.1",
        "X-Client-IP": "192.0.2.1",
        "Forwarded": "for=192.0.2.1",
    }
    seen = json.loads((await visit(embedded, HOST, headers=forged)).text)["headers"]
    assert seen["x-forwarded-for"] == seen["x-real-ip"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == seen["host"] == embedded.url(HOST).removeprefix("http://")
    assert "192.0.2.1" not in json.dumps(seen)


async def test_a_trusted_proxy_says_who_the_client_is(
    make_embedded: Any, listen: Listen, visit: Any
) -> None:
    async with make_embedded(trusted_proxies=["127.0.0.1/32"]) as router:
        await router.switch(MAIN, {"api": await listen(echo_request)})
        await router.publish(TABLE)
        page = await visit(router, HOST, headers={"X-Forwarded-For": "192.0.2.7"})
        seen = json.loads(page.text)["headers"]
        assert seen["x-forwarded-for"] == "192.0.2.7, 127.0.0.1"
        assert seen["x-real-ip"] == "192.0.2.7"


async def test_large_bodies_arrive(embedded: CaddyRouter, listen: Listen, visit: Any) -> None:
    await embedded.switch(MAIN, {"api": await listen(echo_request)})
    await embedded.publish(TABLE)
    size = 32 << 20
    page = await visit(embedded, HOST, "/upload", method="POST", content=b"x" * size)
    assert json.loads(page.text)["got"] == size


async def test_answers_are_passed_on_as_they_are(
    embedded: CaddyRouter, listen: Listen, visit: Any
) -> None:
    async def teapot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 502 Mine\r\nContent-Type: text/html\r\nContent-Length: 8\r\n"
            b'Location: http://elsewhere.example/\r\nETag: "mine"\r\n\r\nmy error'
        )
        await writer.drain()
        writer.close()

    await embedded.switch(MAIN, {"api": await listen(teapot)})
    await embedded.publish(TABLE)
    page = await visit(embedded, HOST, headers={"Accept-Encoding": "gzip"})
    assert (page.status, page.raw) == (502, b"my error")
    assert page.headers["etag"] == '"mine"'
    assert page.headers["location"] == "http://elsewhere.example/"
    assert "cache-control" not in page.headers


async def test_events_come_one_by_one_and_survive_a_write(
    embedded: CaddyRouter, listen: Listen
) -> None:
    go = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await writer.drain()
        await go.wait()
        writer.write(b"data: 2\n\n")
        await writer.drain()
        writer.close()

    await embedded.switch(MAIN, {"api": await listen(events)})
    await embedded.publish(TABLE)
    await asyncio.sleep(SETTLES)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(embedded))
    writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        await reader.readuntil(b"data: 1\n\n")
    await embedded.publish(TABLE[:1])
    await embedded.publish(TABLE)
    await embedded.switch(MAIN, {"api": Upstream(port=1)})
    go.set()
    async with asyncio.timeout(5):
        await reader.readuntil(b"data: 2\n\n")
    writer.close()


@asynccontextmanager
async def web_sockets() -> AsyncIterator[tuple[Server, Upstream]]:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(f"echo {message!s}")

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        yield server, Upstream(port=next(iter(server.sockets)).getsockname()[1])


def port_of(router: CaddyRouter) -> int:
    return int(router.url(HOST).rpartition(":")[2])


def dial(router: CaddyRouter) -> websockets.connect:
    port = port_of(router)
    return websockets.connect(f"ws://{HOST}:{port}/", host="127.0.0.1", port=port, proxy=None)


async def says(connection: ClientConnection, text: str) -> str:
    await connection.send(text)
    async with asyncio.timeout(5):
        return str(await connection.recv())


async def test_web_sockets_last_as_long_as_their_service(embedded: CaddyRouter) -> None:
    async with web_sockets() as (old, first), web_sockets() as (_, second):
        await embedded.switch(MAIN, {"api": first})
        await embedded.publish(TABLE[:1])
        await asyncio.sleep(SETTLES)
        async with dial(embedded) as connection:
            assert await says(connection, "hello") == "echo hello"
            await embedded.publish(TABLE)
            assert await says(connection, "another host came") == "echo another host came"
            await embedded.switch(OTHER, {"api": second})
            await embedded.publish(TABLE[:1])
            assert await says(connection, "and went") == "echo and went"
            await embedded.switch(MAIN, {"api": second})
            assert await says(connection, "redeployed") == "echo redeployed"
            old.close()
            async with asyncio.timeout(5):
                await connection.wait_closed()
        async with dial(embedded) as connection:
            assert await says(connection, "again") == "echo again"


async def test_a_service_that_starts_late_is_waited_for(embedded: CaddyRouter, visit: Any) -> None:
    """Its process was replaced at the same port: nobody listens for a moment."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        await embedded.switch(MAIN, {"api": Upstream(port=port)})
        await embedded.publish(TABLE)
        asked = asyncio.ensure_future(visit(embedded, HOST, method="POST", content=b"body"))
        await asyncio.sleep(0.3)
        assert not asked.done()
    server = await asyncio.start_server(echo_request, "127.0.0.1", port)
    assert json.loads((await asked).text)["got"] == 4
    server.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_was_sent_is_not_sent_again(
    embedded: CaddyRouter, listen: Listen, visit: Any, method: str
) -> None:
    requests = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.close()

    await embedded.switch(MAIN, {"api": await listen(hang_up)})
    await embedded.publish(TABLE)
    page = await visit(embedded, HOST, method=method)
    assert (page.status, requests) == (502, 1)


async def test_a_service_that_is_down_says_nothing_of_the_machine(
    embedded: CaddyRouter, visit: Any
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        await embedded.switch(MAIN, {"api": Upstream(port=port)})
        await embedded.publish(TABLE)
        began = time.monotonic()
        down = await visit(embedded, HOST)
        assert time.monotonic() - began < 3
        none = await visit(embedded, ELSEWHERE)
    unknown = await visit(embedded, "nobody.contract.localhost")
    assert (down.status, none.status, unknown.status) == (502, 503, 404)
    assert "does not answer" in down.text
    assert "not running" in none.text
    assert "nothing at this address" in unknown.text
    for page in (down, none, unknown):
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-store"
        for secret in (str(port), "127.0.0.1", "/run", "upstream", "refused", "contract"):
            assert secret not in page.text
