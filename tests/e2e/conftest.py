"""Kennels that are pushed to, with services as processes and as units of a real systemd."""

import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import pytest

from kennel.testing.host import NoBox
from kennel.testing.host_scene import HostScene
from kennel.testing.host_scene import host_scene as host_scenes
from kennel.testing.machine import Machine
from kennel.testing.machine import machine as booted
from kennel.testing.missing import missing
from kennel.testing.scene import Scene, process_scene


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Boot a machine with a real systemd and a Nix daemon."""
    try:
        with booted() as machine:
            yield machine
    except NoBox as reason:
        missing(str(reason))


@pytest.fixture
def still_host_scene(machine: Machine) -> Iterator[HostScene]:
    """Give a place whose daemon, not started yet, runs services as units of a real systemd."""
    with host_scenes(machine) as scene:
        yield scene


@pytest.fixture
def host_scene(still_host_scene: HostScene) -> HostScene:
    """Give a place with a daemon that runs services as units of a real systemd."""
    still_host_scene.start()
    return still_host_scene


SUPERVISORS = ["process", pytest.param("systemd", marks=pytest.mark.host)]


@pytest.fixture(params=SUPERVISORS)
def still_scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Give a place whose daemon is not started yet, with every supervisor."""
    for program in ("git", "nix"):
        if shutil.which(program) is None:
            missing(f"no {program} here")
    if request.param == "systemd":
        with host_scenes(request.getfixturevalue("machine")) as scene:
            yield scene
    else:
        with process_scene() as scene:
            yield scene


@pytest.fixture
def scene(still_scene: Scene) -> Scene:
    """Give a place with a daemon that runs, with every supervisor."""
    still_scene.start()
    return still_scene


class Desk:
    """Where programs that nobody can ask report, with an HTTP GET.

    `reports`: what they said, and when. `open`: cleared, they wait for their answer. `status`: what
    they are answered.
    """

    def __init__(self) -> None:
        self.reports: list[tuple[float, str]] = []
        self.status = 0
        self.open = threading.Event()
        self.open.set()
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                desk.reports.append((time.monotonic(), self.path.removeprefix("/")))
                desk.open.wait(60)
                body = str(desk.status).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def of(self, what: str = "", *, since: float = 0.0) -> list[str]:
        """Return what was reported that begins in a way, since a time."""
        return [text for at, text in self.reports if at >= since and text.startswith(what)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as desk:
        yield desk
