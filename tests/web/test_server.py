"""Listening, stopping, and what comes before a body."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, get

from kennel.errors import ConfigError
from kennel.web import Listener, Serving, listen_tcp, listen_unix, protocol, serve


@get("/slow/{seconds:float}")
async def slow(request: Request[Any, Any, Any]) -> str:
    await asyncio.sleep(request.path_params["seconds"])
    return "done"


APP = Litestar([slow], openapi_config=None, logging_config=None)


@asynccontextmanager
async def running(grace: int = 5) -> AsyncIterator[Serving]:
    async with serve(APP, listen_tcp("127.0.0.1", 0), grace=grace) as serving:
        yield serving


async def ask(port: int, seconds: float = 0.0) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as http:
        return await http.get(f"http://127.0.0.1:{port}/slow/{seconds}")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def test_a_port_that_is_taken_is_named(taken: int) -> None:
    with pytest.raises(ConfigError, match=rf"^web\.port: {taken} is in use on 127\.0\.0\.1"):
        listen_tcp("127.0.0.1", taken)


async def test_a_port_that_another_kennel_has_is_taken() -> None:
    first = listen_tcp("127.0.0.1", 0)
    try:
        with pytest.raises(ConfigError, match="is in use"):
            listen_tcp("127.0.0.1", first.port)
    finally:
        first.close()
    listen_tcp("127.0.0.1", first_port := first_free()).close()
    listen_tcp("127.0.0.1", first_port).close()


def first_free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a" * 300, "not a host"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^web\.host: "):
        listen_tcp(host, 0)


async def test_every_address() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    async with serve(APP, listen_tcp("", 0)) as serving, httpx.AsyncClient() as http:
        for host in ("127.0.0.1", "[::1]"):
            assert (await http.get(f"http://{host}:{serving.port}/slow/0")).status_code == 200


async def test_requests_under_way_are_finished() -> None:
    async with running() as serving:
        answer = asyncio.create_task(ask(serving.port, 0.5))
        await asyncio.sleep(0.2)
    assert (await answer).text == "done"
    with pytest.raises(httpx.ConnectError):
        await ask(serving.port)


async def test_requests_that_take_too_long_are_cut_off() -> None:
    async with asyncio.timeout(8):
        async with running(grace=1) as serving:
            answer = asyncio.create_task(ask(serving.port, 60))
            await asyncio.sleep(0.2)
        with suppress(httpx.HTTPError):
            assert (await answer).status_code == 500


async def test_signals_are_left_to_the_daemon() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with running():
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_an_error_inside_stops_it_too() -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        async with running() as serving:
            raise RuntimeError("on purpose")
    assert serving.task.done()
    await serving.ended()


async def test_what_is_written_is_sent_at_once() -> None:
    """Else an answer in two parts waits for the client's word that the first has come."""
    listener = listen_tcp("127.0.0.1", 0)
    options: list[int] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(note, sock=listener.socket):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        assert await reader.read() == b""
        writer.close()
    assert options == [1]


async def test_a_socket_is_for_its_group_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    before = os.umask(0)
    try:
        listener = listen_unix(path)
    finally:
        os.umask(before)
    assert stat.filemode(path.stat().st_mode) == "srw-rw----"
    assert [*tmp_path.iterdir()] == [path]
    listener.close()
    assert [*tmp_path.iterdir()] == []


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    killed = listen_unix(path)
    killed.socket.close()
    assert path.is_socket()
    listener = listen_unix(path)
    killed.close()  # the file is another's now
    assert path.is_socket()
    listener.close()


def test_a_living_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    listener = listen_unix(path)
    with pytest.raises(ConfigError, match="another Kennel answers"):
        listen_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


@pytest.mark.parametrize(
    ("name", "says"),
    [("x" * 120, "longer than"), ("no/such/folder.sock", "No such file"), ("file", "no socket")],
)
def test_a_path_of_no_use_is_explained(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=rf"^run_dir: .*{says}"):
        listen_unix(tmp_path / name)
    assert (tmp_path / "file").is_file()


async def converse(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /slow/0 HTTP/1.1\r\nHost: x\r\n", *[b"A: " + b"x" * 1000 + b"\r\n"] * 100],
        [b"GET /slow/0 HTTP/1.1\r\nHost: x\r\nA: ", *[b"x" * 10_000] * 20],
        [b"GET /", *[b"x" * 10_000] * 20],
    ],
    ids=["many-headers", "a-long-header", "a-long-path"],
)
async def test_a_head_has_a_largest_size(pieces: list[bytes]) -> None:
    async with running() as serving:
        answer = await converse(serving.port, *pieces)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        assert (await ask(serving.port)).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /slow/0 HTTP/1.1\r\nHost:"], ids=["nothing", "half"])
async def test_a_head_must_come_soon(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 0.2)
    async with running() as serving:
        assert await converse(serving.port, sent) == b""


async def test_a_connection_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a head begins with the head, and not with the connection."""
    monkeypatch.setattr(protocol, "PATIENCE", 0.3)
    async with running() as serving:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        for _ in range(3):
            writer.write(b"GET /slow/0.2 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"done"), 10)
            await asyncio.sleep(0.2)
        writer.close()


def test_what_listens_can_be_told(tmp_path: Path) -> None:
    tcp, unix = listen_tcp("127.0.0.1", 0), listen_unix(tmp_path / "x.sock")
    assert isinstance(tcp, Listener)
    assert tcp.port > 0
    assert unix.port == 0
    tcp.close()
    unix.close()
