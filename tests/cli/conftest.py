"""A daemon that answers with real views over a real socket, and a way to run commands."""

import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kennel.cli.app import run
from kennel.views import Problem


@dataclass
class Asked:
    """A request that came in."""

    method: str
    path: str
    body: bytes


@dataclass
class Answers:
    """What is answered to `METHOD /path`: each time the next, and the last for ever."""

    table: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    breaks_off: set[str] = field(default_factory=set)
    """Paths whose answer ends before all of it was sent."""

    def give(self, request: str, *views: object, status: int = 200) -> None:
        self.table[request] = [
            (status, view.encode() if isinstance(view, str) else msgspec.json.encode(view))
            for view in views
        ]

    def refuse(self, request: str, status: int, error: str) -> None:
        self.give(request, Problem(error=error), status=status)

    def next(self, request: str) -> tuple[int, bytes]:
        answers = self.table.get(request)
        if not answers:
            return 404, msgspec.json.encode(Problem(error=f"nothing at {request}"))
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Handler(BaseHTTPRequestHandler):
    answers: Answers

    def handle_request(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.answers.asked.append(Asked(self.command, self.path, self.rfile.read(length)))
        status, body = self.answers.next(f"{self.command} {self.path.partition('?')[0]}")
        self.send_response(status)
        more = 1 if self.path.partition("?")[0] in self.answers.breaks_off else 0
        self.send_header("Content-Length", str(len(body) + more))
        self.end_headers()
        self.close_connection = True
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = handle_request  # noqa: N815 - http.server's names

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: that of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="kennel-cli-") as path:
        yield Path(path)


@pytest.fixture
def config(folder: Path) -> Path:
    path = folder / "kennel.toml"
    path.write_text(f'state_dir = "{folder}/state"\nrun_dir = "{folder}"\nsupervisor = "process"\n')
    return path


@pytest.fixture
def daemon(folder: Path) -> Iterator[Answers]:
    answers = Answers()
    handler = type("Bound", (Handler,), {"answers": answers})
    with Server(str(folder / "control.sock"), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield answers
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def kennel(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command of `kennel` with the daemon's configuration."""
    monkeypatch.delenv("KENNEL_CONFIG", raising=False)

    def call(*words: str) -> Ran:
        capsys.readouterr()
        code = run(["--config", str(config), *words])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return call
