"""Nobody who uses a service notices what Kennel does: no request fails, no WebSocket is cut."""

import http.client
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed

from kennel.builtin.caddy.program import find
from kennel.cli.demo.place import free_ports
from kennel.testing.host_scene import host_scene as host_scenes
from kennel.testing.repository import SERVICE

if TYPE_CHECKING:
    from kennel.testing.host_scene import HostScene
    from kennel.testing.machine import Machine

pytestmark = [pytest.mark.host, pytest.mark.timeout(240)]

REDEPLOYS = 20
EVERY = 0.01
"""Seconds from one request to the next."""


@pytest.fixture
async def caddy_binary() -> str:
    return await find(None)


@pytest.fixture
def scene(machine: "Machine", caddy_binary: str) -> Iterator["HostScene"]:
    """Give a place whose Caddy is somebody else's, as in production: it outlives Kennel."""
    [port] = free_ports(1)
    name = f"caddy-{port}"
    admin = machine.run_caddy(caddy_binary, {}, name)
    settings = f'admin = "unix/{admin}"\ntls = "none"\n'
    with host_scenes(machine, caddy=settings, http_port=port) as scene:
        scene.start()
        yield scene
    machine.box.run(["systemctl", "stop", name])


class Crowd:
    """Asks for one URL over and over, each time over a connection of its own."""

    def __init__(self, url: str) -> None:
        wanted = urlsplit(url)
        self._host, self._port = wanted.netloc, wanted.port or 80
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self.asked = 0
        self.failed: list[str] = []
        self.seen: list[str] = []
        """What was answered, each time it was another answer than before."""

    def _go_on(self) -> None:
        begun = time.monotonic()
        while not self._over.is_set():
            self.asked += 1
            self._ask()
            time.sleep(max(0.0, begun + self.asked * EVERY - time.monotonic()))

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", "/", headers={"Host": self._host, "Connection": "close"})
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(repr(error))
            return
        finally:
            connection.close()
        if answer.status != http.client.OK:
            self.failed.append(f"{answer.status} {text}")
        elif not self.seen or self.seen[-1] != text:
            self.seen.append(text)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()


TICKS = SERVICE.replace(
    "    def do_GET(self):\n",
    """\
    def do_GET(self):
        if "Upgrade" in self.headers:
            import base64, hashlib, time
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.send_header("Sec-WebSocket-Accept", accept)
            self.end_headers()
            while True:
                self.wfile.write(b"\\x81\\x04tick")
                time.sleep(0.05)
""",
)


class Listener(Crowd):
    """Holds a WebSocket, and counts what comes. `failed`: why it ended, if it did."""

    def _go_on(self) -> None:
        with (
            socket.create_connection(("127.0.0.1", self._port)) as sock,
            # the service answers no pings: those of the client would end the connection
            websockets.sync.client.connect(
                f"ws://{self._host}", sock=sock, ping_interval=None
            ) as connection,
        ):
            while not self._over.is_set():
                try:
                    connection.recv(timeout=15)
                except (ConnectionClosed, TimeoutError) as error:
                    self.failed.append(repr(error))
                    return
                self.asked += 1
            connection.close_timeout = 0.1


def test_redeploys_under_load_cost_nobody_anything(scene: "HostScene") -> None:
    shop, chat = scene.repository("shop"), scene.repository("chat")
    chat.commit({"api/bin/api": TICKS})
    for repository in (shop, chat):
        repository.push()
    scene.live("one")
    scene.live("one", "chat")
    with Listener(scene.url("chat")) as listener, Crowd(scene.url("shop")) as crowd:
        begun = time.monotonic()
        for number in range(REDEPLOYS):
            shop.say(f"{number}")
            shop.push()
            scene.live(f"{number}")
        took = time.monotonic() - begun
        last = f"{REDEPLOYS - 1} "
        scene.eventually(lambda: crowd.seen[-1].startswith(last), "the crowd sees the last")
    assert crowd.failed == []
    said = [text.partition(" ")[0] for text in crowd.seen]
    assert said == ["one", *map(str, range(REDEPLOYS))]
    assert crowd.asked > 20 * took
    assert listener.failed == []
    assert listener.asked > took
    scene.settle()


def test_kennel_may_be_killed_while_its_services_are_used(scene: "HostScene") -> None:
    scene.repository().push()
    scene.live("one")
    before = scene.services()
    with Crowd(scene.url("shop")) as crowd:
        for number in (signal.SIGKILL, signal.SIGTERM):
            scene.end(number)
            time.sleep(0.5)
            scene.start()
            time.sleep(1)
    assert crowd.asked > 100
    assert crowd.failed == []
    assert len(crowd.seen) == 1
    assert scene.services() == before
