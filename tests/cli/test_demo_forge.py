"""The demo's forge: a real push leads to what Forgejo would send."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kennel.builtin.forgejo import Forgejo
from kennel.builtin.github.forge import GitHub
from kennel.cli.demo.forge import Forge
from kennel.cli.demo.place import Place
from kennel.domain import (
    Event,
    Ignored,
    PullRequestChanged,
    PullRequestClosed,
    Ref,
    RefChanged,
    RefDeleted,
    Secret,
)
from kennel.plugin import Delivery

KEY = "swordfish"


@pytest.fixture
def deliveries() -> Iterator[tuple[int, list[Delivery]]]:
    """A server that takes webhooks: its port, and what came."""
    came: list[Delivery] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            came.append(Delivery(headers=headers, body=body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port, came
        server.shutdown()
        thread.join()


@pytest.fixture
def forge(tmp_path: Path, deliveries: tuple[int, list[Delivery]]) -> Iterator[Forge]:
    place = Place(
        root=tmp_path, web=deliveries[0], https=0, http=0, supervisor="process", keep=True
    )
    place.secret.write_text(f"{KEY}\n")
    forge = Forge(place, lambda line: None)
    forge.create()
    yield forge
    for delivery in deliveries[1]:
        assert Forgejo().recognises(delivery)
        assert Forgejo().verify(delivery, Secret(KEY))
        assert GitHub().verify(delivery, Secret(KEY)), "Forgejo signs as GitHub does, too"
        assert not Forgejo().verify(delivery, Secret("other"))
        assert Forgejo().delivery_id(delivery)
        assert b'\n  "' in delivery.body, "Forgejo indents by two spaces"


def read(deliveries: tuple[int, list[Delivery]]) -> list[Event]:
    return [Forgejo().read(delivery) for delivery in deliveries[1]]


def names(deliveries: tuple[int, list[Delivery]], header: str = "event") -> list[str]:
    return [delivery.headers[f"x-forgejo-{header}"] for delivery in deliveries[1]]


def test_a_new_branch(forge: Forge, deliveries: tuple[int, list[Delivery]]) -> None:
    commit = forge.push("main")
    assert names(deliveries) == ["create", "push"]
    created, pushed = read(deliveries)
    assert isinstance(created, (RefChanged, Ignored))
    assert isinstance(pushed, RefChanged)
    assert (pushed.ref, pushed.commit) == (Ref.branch("main"), commit)
    assert pushed.repository.full_name == "demo/hello"


def test_a_change_and_a_deletion(forge: Forge, deliveries: tuple[int, list[Delivery]]) -> None:
    forge.push("main")
    forge.branch("feature/x")
    forge.push("feature/x")
    deliveries[1].clear()
    forge.change("Hello", "Hello & <goodbye>", message="Say <more> & less")
    commit = forge.push("feature/x")
    forge.push(":feature/x")
    assert names(deliveries) == ["push", "delete"]
    pushed, deleted = read(deliveries)
    assert isinstance(pushed, RefChanged)
    assert (pushed.ref, pushed.commit) == (Ref.branch("feature/x"), commit)
    assert isinstance(deleted, RefDeleted)
    assert deleted.ref == Ref.branch("feature/x")


def test_a_pull_request(forge: Forge, deliveries: tuple[int, list[Delivery]]) -> None:
    forge.push("main")
    deliveries[1].clear()
    forge.branch("politeness")
    forge.change("Hello", "Good day", message="Be polite")
    first = forge.open_pull_request(1, "politeness", "Be polite")
    forge.change("Good day", "Good evening", message="It is late")
    second = forge.push("politeness:refs/pull/1/head")
    forge.close_pull_request(1)
    assert names(deliveries, "event-type") == ["pull_request", "pull_request_sync", "pull_request"]
    assert names(deliveries) == ["pull_request"] * 3
    opened, synchronized, closed = read(deliveries)
    assert isinstance(opened, PullRequestChanged)
    assert isinstance(synchronized, PullRequestChanged)
    assert isinstance(closed, PullRequestClosed)
    assert (opened.commit, synchronized.commit) == (first, second)
    assert opened.trusted
    assert {opened.ref, synchronized.ref, closed.ref} == {Ref.pull_request(1)}


def test_a_webhook_that_nobody_takes_does_not_stop_the_push(tmp_path: Path) -> None:
    place = Place(root=tmp_path, web=1, https=0, http=0, supervisor="process", keep=True)
    place.secret.write_text(KEY)
    said: list[str] = []
    forge = Forge(place, said.append)
    forge.create()
    forge.push("main")
    assert any("webhook push: not delivered" in line for line in said)
