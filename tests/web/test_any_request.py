"""Whatever is sent: it is never our fault, and what is taken is kept."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kennel.builtin.forgejo import Forgejo, Gitea
from kennel.builtin.github import GitHub
from kennel.domain import Repository, Secret
from kennel.domain.delivery import NewDelivery
from kennel.plugin import Delivery
from kennel.testing.forge import ForgejoSender, GiteaSender, GitHubSender, Sender, signed_delivery
from kennel.web import create_public_app, listen_tcp, serve

OLD, NEW = "a" * 40, "c" * 40
OFTEN = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Everything:
    def secrets(self) -> Iterable[tuple[str | None, Secret]]:
        return [(None, Secret("s3cret"))]

    def project_of(self, repository: Repository) -> str | None:
        return "shop"

    def admits(self, repository: Repository) -> bool:
        return False

    def knows_host(self, host: str) -> bool:
        return False

    async def put(self, delivery: NewDelivery) -> int:
        json.dumps(dict(delivery.headers))
        assert max(map(len, (delivery.event, delivery.delivery_id, delivery.project))) <= 255
        assert delivery.project.isprintable()
        return 1


class Server:
    """A server with a loop of its own, so that examples may block."""

    def __init__(self) -> None:
        self._listener = listen_tcp("127.0.0.1", 0)
        self.port = self._listener.port
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()

    async def _run(self) -> None:
        every = Everything()
        app = create_public_app(every, every, [GitHub(), Gitea(), Forgejo()], max_body=100_000)
        async with serve(app, self._listener, trusted_proxies=["127.0.0.1"], grace=1):
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def talk(self, data: bytes) -> bytes:
        """Send bytes, say that there are no more, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: sock.recv(65536), b""))
            except (ConnectionResetError, BrokenPipeError):
                return b""

    def post(self, delivery: Delivery) -> int:
        """Send a delivery and return the status."""
        headers = "".join(f"{name}: {value}\r\n" for name, value in delivery.headers.items())
        length = f"Content-Length: {len(delivery.body)}\r\nConnection: close\r\n\r\n"
        head = f"POST /webhook HTTP/1.1\r\nHost: kennel\r\n{headers}{length}"
        answer = self.talk(head.encode("latin-1") + delivery.body)
        return int(answer.split(b" ", 2)[1])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def statuses(answer: bytes) -> list[int]:
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return [int(line.split(b" ")[1]) for line in lines]


@OFTEN
@given(st.binary(max_size=300))
def test_any_bytes(server: Server, data: bytes) -> None:
    assert all(status < 500 for status in statuses(server.talk(data)))


NAMES = st.sampled_from(
    [
        "x-forgejo-event",
        "x-gitea-event",
        "x-github-event",
        "x-forgejo-signature",
        "x-hub-signature-256",
        "x-forwarded-for",
        "x-forwarded-proto",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "upgrade",
        "expect",
        "accept",
        "cookie",
        "host",
    ]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"push", b"chunked", b"websocket", b"100-continue", b"0", b"-1", b"application/json"]
    ),
)
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT", b"X"])
PATHS = st.one_of(
    st.sampled_from([b"/webhook", b"/health", b"/internal/caddy/permission?domain=", b"*", b"//"]),
    st.binary(max_size=20).map(lambda path: b"/" + path),
)


@OFTEN
@given(METHODS, PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.binary(max_size=100))
def test_any_head(
    server: Server, method: bytes, path: bytes, headers: list[tuple[str, bytes]], body: bytes
) -> None:
    lines = [name.encode() + b": " + value for name, value in headers]
    head = b"\r\n".join([method + b" " + path + b" HTTP/1.1", *lines, b"Connection: close"])
    assert all(status < 500 for status in statuses(server.talk(head + b"\r\n\r\n" + body)))


FORGES = st.sampled_from(["forgejo", "gitea", "github"])
EVENTS = st.sampled_from(["push", "create", "delete", "pull_request", "ping", "star", ""])


@OFTEN
@given(FORGES, EVENTS, st.binary(max_size=200), st.booleans())
def test_any_signed_body(server: Server, forge: str, event: str, body: bytes, form: bool) -> None:
    delivery = signed_delivery(forge, event, body, "s3cret", form=form)
    assert server.post(delivery) in {200, 202, 400} | ({401} if form else set())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["refs/heads/x", "refs/tags/x", OLD, NEW, "0" * 40, "a\x00b", "branch"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def every_event(sender: Sender) -> list[Delivery]:
    return [
        *sender.created("feature/x", NEW),
        *sender.deleted("feature/x", OLD),
        *(sender.pull_request(4, a, NEW, labels=["x"]) for a in ("opened", "labelled", "closed")),
    ]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    return {**value, path[0]: put(value[path[0]], path[1:], new)}


@OFTEN
@given(st.data())
def test_a_payload_of_which_one_field_is_anything(server: Server, data: st.DataObject) -> None:
    kinds = [kind(secret="s3cret") for kind in (ForgejoSender, GiteaSender, GitHubSender)]
    sender = data.draw(st.sampled_from(kinds))
    delivery = data.draw(st.sampled_from(every_event(sender)))
    event = next(v for k, v in delivery.headers.items() if k.endswith("-event"))
    payload = json.loads(delivery.body)
    spoilt = put(payload, data.draw(st.sampled_from(places(payload))), data.draw(JSON))
    text = json.dumps(spoilt).encode()
    assert server.post(signed_delivery(sender.forge, event, text, "s3cret")) in {200, 202, 400}
