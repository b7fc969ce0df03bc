"""What it costs to take a webhook in, beside a litestar route that does nothing.

    python -m benchmarks.webhook

Both are the same server (uvicorn, httptools) in a process of its own, asked in the same
run by the same client over connections that are kept. Kennel verifies the signature, reads the
payload and commits to SQLite with `synchronous = FULL` before it answers; the peer reads the body
and answers. Afterwards every delivery that was answered must be in the database.

`at_100_per_second`: requests are sent when they are due, whatever has become of those before;
latency counts from when a request was due. `sustained`: as many as go through `CONNECTIONS`
connections. `cpu_ms_per_request` is the server's own, and the figure to compare where the machine
has other things to do.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, post

from kennel.builtin.forgejo import Forgejo, Gitea
from kennel.builtin.github import GitHub
from kennel.domain import Repository, Secret
from kennel.domain.delivery import NewDelivery
from kennel.plugin import Delivery
from kennel.store import Store, inbox
from kennel.testing.deliveries import ForgejoSender
from kennel.web import GroupCommit, create_public_app, listen_tcp, serve

RATE = 100
SECONDS = 15.0
WARM_UP = 200
CONNECTIONS = 32
PROJECTS_WITH_A_SECRET = 20
SENDER = ForgejoSender(secret="bench")


class Registry:
    """One project, and twenty more with secrets of their own: each is tried with every request."""

    keys: tuple[tuple[str | None, Secret], ...] = (
        (None, Secret("bench")),
        *((f"project-{i}", Secret(f"secret {i}")) for i in range(PROJECTS_WITH_A_SECRET)),
    )

    def secrets(self) -> Iterable[tuple[str | None, Secret]]:
        return self.keys

    def project_of(self, repository: Repository) -> str | None:  # noqa: ARG002
        return "shop"

    def admits(self, repository: Repository) -> bool:  # noqa: ARG002
        return False

    def knows_host(self, host: str) -> bool:  # noqa: ARG002
        return False


@post("/webhook", status_code=202)
async def bare(request: Request[Any, Any, Any]) -> dict[str, int]:
    await request.body()
    return {"delivery": 1}


@asynccontextmanager
async def application(kind: str, database: Path) -> AsyncIterator[Litestar]:
    """Give the application that is measured: "kennel" or "bare"."""
    if kind == "bare":
        yield Litestar([bare], openapi_config=None, logging_config=None)
        return
    store = Store(f"sqlite:///{database}")
    await store.open()

    async def commit(new: list[NewDelivery]) -> Sequence[int]:
        return await store.write(partial(inbox.add, new=new))

    forges = [Forgejo(), Gitea(), GitHub()]
    yield create_public_app(Registry(), GroupCommit(commit), forges, max_body=10 * 1024 * 1024)
    await store.close()


async def serve_until_eof(kind: str, database: Path) -> None:
    async with (
        application(kind, database) as app,
        serve(app, listen_tcp("127.0.0.1", 0), grace=1) as serving,
    ):
        print(serving.port, flush=True)
        before = time.process_time()
        await asyncio.to_thread(sys.stdin.read)
        print(time.process_time() - before, flush=True)


def requests(count: int = 200) -> list[bytes]:
    """Return distinct signed pushes of the size that a few commits have, about 6 KB."""
    payload = json.loads(SENDER.pushed("main", "a" * 40, "b" * 40).body)
    commits = payload["commits"] * 12
    return [
        encoded(SENDER.send("push", {**payload, "after": f"{i:040x}", "commits": commits}))
        for i in range(1, count + 1)
    ]


def encoded(delivery: Delivery) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in delivery.headers.items()]
    head = f"POST /webhook HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(delivery.body)}\r\n"
    return (head + "".join(lines) + "\r\n").encode() + delivery.body


class Connection:
    """A connection that is kept, and as little of HTTP as will do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._used = time.perf_counter()

    @property
    def fresh(self) -> bool:
        """Whether the server keeps it for certain: it closes what is idle for five seconds."""
        return time.perf_counter() - self._used < 3.0

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> None:
        self.writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 202 "):
            raise RuntimeError(head.decode())
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        self._used = time.perf_counter()


async def at_a_rate(port: int, sent: list[bytes], rate: int, seconds: float) -> list[float]:
    """Send `rate` requests a second, each when it is due; return their seconds, in order."""
    pool: list[Connection] = []
    took: list[float] = []

    async def one(due: float, request: bytes) -> None:
        connection = pool.pop() if pool and pool[-1].fresh else await Connection.open(port)
        await connection.ask(request)
        took.append(time.perf_counter() - due)
        pool.append(connection)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, request in zip(range(int(rate * seconds)), cycle(sent), strict=False):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due, request))
    for connection in pool:
        connection.writer.close()
    return sorted(took)


async def as_many_as_go(port: int, sent: list[bytes], seconds: float) -> tuple[list[float], float]:
    """Keep every connection busy; return the seconds of each request, in order, and of all."""
    took: list[float] = []
    begin = time.perf_counter()

    async def one(connection: Connection, mine: Iterable[bytes]) -> None:
        for request in mine:
            before = time.perf_counter()
            if before > begin + seconds:
                return
            await connection.ask(request)
            took.append(time.perf_counter() - before)

    pool = [await Connection.open(port) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(one(c, cycle(sent[i:] + sent[:i])) for i, c in enumerate(pool)))
    for connection in pool:
        connection.writer.close()
    return sorted(took), time.perf_counter() - begin


def percentiles(took: list[float]) -> dict[str, float]:
    return {f"p{p}_ms": round(1000 * took[int(len(took) * p / 100)], 2) for p in (50, 99)}


async def measure(port: int, seconds: float) -> tuple[dict[str, Any], int]:
    """Return what was measured, and how many requests were answered."""
    sent = requests()
    await at_a_rate(port, sent, WARM_UP, 1.0)
    paced = await at_a_rate(port, sent, RATE, seconds)
    most, took = await as_many_as_go(port, sent, seconds)
    figures = {
        f"at_{RATE}_per_second": percentiles(paced),
        "sustained": {"per_second": round(len(most) / took), **percentiles(most)},
    }
    return figures, WARM_UP + len(paced) + len(most)


def measured(kind: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Start a server, ask it, end it; see to it that what was answered was kept."""
    database = folder / f"{kind}.db"
    command = [sys.executable, "-m", "benchmarks.webhook", kind, str(database)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = int(server.stdout.readline())
        with asyncio.Runner() as runner:
            figures, answered = runner.run(measure(port, seconds))
        server.stdin.close()
        figures["cpu_ms_per_request"] = round(1000 * float(server.stdout.readline()) / answered, 3)
    if kind == "kennel":
        with sqlite3.connect(database) as db:
            (kept,) = db.execute("SELECT count(*) FROM deliveries").fetchone()
        assert kept == answered, f"{answered} deliveries were answered, {kept} were kept"
        figures["kept"] = kept
    return figures


def fsync_ms(folder: Path, times: int = 100) -> float:
    """Return the median of what this disk takes to make a small write durable."""
    took = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(times):
            file.write(b"x" * 8192)
            file.flush()
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - before)
    return round(1000 * sorted(took)[times // 2], 2)


def run(seconds: float = SECONDS) -> dict[str, Any]:
    """Measure both. `seconds`: of each of the two measurements of each server."""
    # not /tmp: where that is in memory, making something durable costs nothing
    with tempfile.TemporaryDirectory(prefix="kennel-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        return {
            "fsync_ms": fsync_ms(folder),
            "bare": measured("bare", folder, seconds),
            "kennel": measured("kennel", folder, seconds),
        }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        with asyncio.Runner() as runner:
            runner.run(serve_until_eof(sys.argv[1], Path(sys.argv[2])))
    else:
        print(json.dumps(run(), indent=2))
