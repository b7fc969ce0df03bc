"""Real Caddies: the one that Kennel starts, and one that is somebody else's."""

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from kennel.builtin.caddy import CaddyRouter, Config
from kennel.builtin.caddy.program import find
from kennel.errors import Rejected
from kennel.plugin.settings import Host
from kennel.testing.missing import missing
from kennel.testing.router import SETTLES

Json: TypeAlias = dict[str, Any]
DOMAIN = "contract.localhost"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def caddy_binary() -> str:
    try:
        return asyncio.run(find(None))
    except Rejected as error:
        missing(str(error))


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder whose path is short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="kc"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def host(place: Path) -> Host:
    return Host(state_dir=place / "state", run_dir=place / "run", domain=DOMAIN)


@dataclass(slots=True)
class Api:
    """Kennel's own API, as far as Caddy asks it. `asked`: the hosts."""

    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Answer Caddy's question whether a host may have a certificate: those of the domain may."""
    made = Api("")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        url = urlsplit(head.split()[1])
        asked = parse_qs(url.query).get("domain", [""])[0]
        made.asked.append(asked)
        good = url.path == "/internal/caddy/permission" and asked.endswith(DOMAIN)
        status = "200 OK" if good and not asked.startswith("denied") else "403 Forbidden"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


MakeCaddy: TypeAlias = Callable[..., CaddyRouter]


@pytest.fixture
def make_embedded(caddy_binary: str, host: Host, ports: tuple[int, int]) -> MakeCaddy:
    """Return what makes a router with a Caddy of its own; plain HTTP unless told otherwise."""

    def make(where: Host = host, **settings: Any) -> CaddyRouter:
        http, https = ports
        given = {"http_port": http, "https_port": https, "tls": "none", **settings}
        return CaddyRouter(Config(**given), where)

    return make


@pytest.fixture
async def embedded(make_embedded: MakeCaddy) -> AsyncIterator[CaddyRouter]:
    async with make_embedded() as router:
        yield router


@dataclass(slots=True)
class Foreign:
    """A Caddy that somebody else runs. `config`: what it was started with."""

    folder: Path
    config: Json
    admin: str

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.AsyncHTTPTransport(uds=self.admin.removeprefix("unix/"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client

    async def get(self, path: str = "/config/") -> Any:
        async with self.client() as client:
            return (await client.get(path)).json()

    async def send(self, method: str, path: str, value: object = None) -> None:
        async with self.client() as client:
            for _ in range(20):
                try:
                    answer = await client.request(method, path, json=value)
                except httpx.RemoteProtocolError:  # somebody else wrote: not even read
                    await asyncio.sleep(0.01)
                else:
                    assert answer.is_success, answer.text
                    return
        pytest.fail(f"{method} {path}: no answer")

    def writes(self) -> int:
        """Return how many requests to change something it has seen."""
        text = (self.folder / "log").read_text()
        return len(re.findall(r'"method":"(?:POST|PUT|PATCH|DELETE)"', text))


MakeForeign: TypeAlias = Callable[..., "asyncio.Future[Foreign]"]


@pytest.fixture
async def make_foreign(caddy_binary: str, place: Path) -> AsyncIterator[MakeForeign]:
    """Return what starts a Caddy with these apps, by a command around it if one is given."""
    async with AsyncExitStack() as stack:

        async def start(apps: Json, around: Sequence[str] = ()) -> Foreign:
            folder = place / "foreign"
            await asyncio.to_thread(folder.mkdir, exist_ok=True)
            command = [*around, caddy_binary]
            return await stack.enter_async_context(running(command, folder, apps))

        yield lambda *args: asyncio.ensure_future(start(*args))


@asynccontextmanager
async def running(command: Sequence[str], folder: Path, apps: Json) -> AsyncIterator[Foreign]:
    admin = f"unix/{folder}/admin.sock"
    config = {
        "admin": {"listen": admin, "config": {"persist": False}},
        "logging": {
            "logs": {"default": {"writer": {"output": "file", "filename": f"{folder}/log"}}}
        },
        "storage": {"module": "file_system", "root": f"{folder}/storage"},
        "apps": apps,
    }
    await asyncio.to_thread((folder / "config.json").write_text, json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        *(*command, "run", "--config", f"{folder}/config.json"),
        env={
            "PATH": os.defpath,
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        },
        stderr=asyncio.subprocess.DEVNULL,
    )
    foreign = Foreign(folder, config, admin)
    try:
        async with asyncio.timeout(15):
            while True:
                try:
                    await foreign.get()
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
        yield foreign
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def make_grafted(host: Host, ports: tuple[int, int]) -> MakeCaddy:
    """Return what makes a router for somebody else's Caddy; plain HTTP unless told otherwise."""

    def make(foreign: Foreign, **settings: Any) -> CaddyRouter:
        http, https = ports
        given = {"http_port": http, "https_port": https, "tls": "none", **settings}
        return CaddyRouter(Config(admin=foreign.admin, **given), host)

    return make


@dataclass(slots=True)
class Page:
    """What came back."""

    status: int
    headers: httpx.Headers
    text: str
    raw: bytes


Visit: TypeAlias = Callable[..., "asyncio.Future[Page]"]


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    """Return what asks a router for a page: (router, host, path, method=, headers=, verify=)."""
    async with AsyncExitStack() as stack:
        clients: dict[int, httpx.AsyncClient] = {}

        async def ask(
            router: CaddyRouter,
            host: str,
            path: str = "/",
            *,
            method: str = "GET",
            headers: Mapping[str, str] | None = None,
            content: Any = None,
            verify: ssl.SSLContext | None = None,
        ) -> Page:
            if id(verify) not in clients:
                made = httpx.AsyncClient(verify=verify or False, trust_env=False, timeout=20)
                clients[id(verify)] = await stack.enter_async_context(made)
            url = httpx.URL(router.url(host))
            await asyncio.sleep(SETTLES)  # the table may have been published just now
            request = clients[id(verify)].build_request(
                method,
                httpx.URL(f"{url.scheme}://127.0.0.1:{url.port or 443}/"),
                headers={
                    "Host": url.netloc.decode(),
                    "Accept-Encoding": "identity",
                    **(headers or {}),
                },
                content=content,
                extensions={"sni_hostname": host, "target": path.encode()},
            )
            answer = await clients[id(verify)].send(request, stream=True)
            raw = b"".join([part async for part in answer.aiter_raw()])
            await answer.aclose()
            return Page(answer.status_code, answer.headers, raw.decode(errors="replace"), raw)

        yield lambda *args, **kwargs: asyncio.ensure_future(ask(*args, **kwargs))
