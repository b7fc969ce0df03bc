"""A waker behind a real Caddy, and tenants that sleep until somebody visits them."""

import asyncio
import hashlib
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import httpx
import pytest
from blockbuster import blockbuster_ctx

from kennel.builtin.caddy import CaddyRouter, Config
from kennel.builtin.caddy.program import find
from kennel.domain import Environment, Key, Ref, Route, Socket, Tenant, Upstream
from kennel.errors import Rejected
from kennel.plugin.settings import Host
from kennel.testing.missing import missing
from kennel.waker import NotWoken, Resident, Waker

DOMAIN = "wake.localhost"
MAIN, OTHER = Tenant("shop", Ref.branch("feature")), Tenant("other", Ref.branch("feature"))
HOST, ELSEWHERE = f"api.{DOMAIN}", f"other.{DOMAIN}"
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}
CRAWLER = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://google.com/bot.html)"}

Handler: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]
]
Listen: TypeAlias = Callable[[Handler], "asyncio.Future[Upstream]"]


@pytest.fixture(autouse=True)
def loop_is_never_blocked() -> Iterator[None]:
    with blockbuster_ctx():
        yield


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder whose path is short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="kw"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Town:
    """Tenants that sleep. `takes`: seconds until one that is woken takes requests.

    `woken`: each call of `wake`. `waiting`: how many wait for one to be awake.
    """

    houses: dict[str, Resident] = field(default_factory=dict)
    services: dict[Tenant, Upstream] = field(default_factory=dict)
    takes: float = 0.1
    woken: list[Tenant] = field(default_factory=list)
    waiting: int = 0
    refusal: NotWoken | None = None
    up: dict[Tenant, asyncio.Event] = field(default_factory=dict)

    def moves_in(
        self,
        tenant: Tenant,
        host: str,
        environment: Environment = Environment.PREVIEW,
        *,
        stopped: bool = False,
    ) -> None:
        key = Key(tenant, "api")
        self.houses[host] = Resident(key=key, environment=environment, stopped=stopped)

    def find(self, host: str) -> Resident | None:
        return self.houses.get(host)

    async def wake(self, tenant: Tenant) -> None:
        self.woken.append(tenant)
        await asyncio.sleep(0.01)
        up = self.up.setdefault(tenant, asyncio.Event())
        asyncio.get_running_loop().call_later(self.takes, up.set)

    async def awake(self, tenant: Tenant, name: str) -> Upstream:
        assert name == "api"
        self.waiting += 1
        try:
            if self.refusal:
                raise self.refusal
            await self.up[tenant].wait()
        finally:
            self.waiting -= 1
        return self.services[tenant]


@pytest.fixture
def town() -> Town:
    town = Town()
    town.moves_in(MAIN, HOST)
    town.moves_in(OTHER, ELSEWHERE)
    return town


@pytest.fixture
async def waker(place: Path, town: Town) -> AsyncIterator[Waker]:
    async with Waker(place / "wake.sock", town, patience=0.5, most_wait=5.0) as waker:
        yield waker


@pytest.fixture(scope="session")
def caddy_binary() -> str:
    try:
        return asyncio.run(find(None))
    except Rejected as error:
        missing(str(error))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running_caddy(place: Path) -> AsyncIterator[CaddyRouter]:
    """Run a Caddy that sends the requests of both tenants to the waker."""
    config = Config(http_port=free_port(), https_port=free_port(), tls="none")
    host = Host(state_dir=place / "state", run_dir=place / "run", domain=DOMAIN)
    async with CaddyRouter(config, host) as router:
        for tenant in (MAIN, OTHER):
            await router.switch(tenant, {"api": Socket(path=str(place / "wake.sock"))})
        routes = [(MAIN, HOST), (OTHER, ELSEWHERE)]
        await router.publish([Route(key=Key(t, "api"), hosts=(host,)) for t, host in routes])
        await asyncio.sleep(0.1)  # until it has put away the table it had before
        yield router


@pytest.fixture
async def caddy(caddy_binary: str, place: Path, waker: Waker) -> AsyncIterator[CaddyRouter]:
    async with running_caddy(place) as router:
        yield router


class Ask(Protocol):
    def __call__(
        self,
        host: str = HOST,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: Any = None,
    ) -> "asyncio.Future[httpx.Response]": ...


@pytest.fixture
async def ask(caddy: CaddyRouter) -> AsyncIterator[Ask]:
    """Return what asks for a page through Caddy."""
    limits = httpx.Limits(max_connections=None)
    base = httpx.URL(caddy.url("127.0.0.1"))
    async with httpx.AsyncClient(
        base_url=base, trust_env=False, timeout=20, limits=limits
    ) as client:

        async def send(
            host: str = HOST,
            path: str = "/",
            *,
            method: str = "GET",
            headers: Mapping[str, str] | None = None,
            content: Any = None,
        ) -> httpx.Response:
            named = {"Host": httpx.URL(caddy.url(host)).netloc.decode(), **(headers or {})}
            return await client.request(method, path, headers=named, content=content)

        yield lambda *args, **kwargs: asyncio.ensure_future(send(*args, **kwargs))


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Return what runs a service from a function that gets each connection."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> Upstream:
            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await handler(reader, writer)
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
                finally:
                    writer.close()

            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            stack.callback(server.close)
            return Upstream(port=server.sockets[0].getsockname()[1])

        yield lambda handler: asyncio.ensure_future(start(handler))


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Return the request line of a request, and its fields by lower-case name."""
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    pairs = (text.partition(":") for text in fields)
    return line, {name.lower(): value.strip() for name, _, value in pairs}


async def read_body(reader: asyncio.StreamReader, head: Mapping[str, str]) -> bytes:
    if head.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(head.get("content-length", "0")))
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    while await reader.readuntil(b"\n") != b"\r\n":
        pass
    return b"".join(parts)


def answer(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request of a connection with what it was, and go on listening."""
    while True:
        line, head = await read_head(reader)
        body = await read_body(reader, head)
        said = {
            "line": line,
            "head": head,
            "size": len(body),
            "sum": hashlib.sha256(body).hexdigest(),
        }
        writer.write(answer(json.dumps(said).encode(), "X-From: echo"))
        await writer.drain()


async def eventually(condition: Callable[[], object], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
