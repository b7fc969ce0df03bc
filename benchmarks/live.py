"""A whole Kennel as people run it: `kennel serve`, a repository, a forge's webhooks, visitors."""

import contextlib
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

from benchmarks import town
from kennel.cli.demo import webhook
from kennel.cli.demo.forge import OWNER, PROJECT, SERVICE, Forge
from kennel.cli.demo.place import Place
from kennel.cli.demo.server import Server
from kennel.cli.outcome import Failure
from kennel.testing.host import Box
from kennel.views import Deployment, NewProject

PATIENCE = 60.0
POLL = 0.005
"""Seconds between two looks whether a URL answers with the new text."""


@dataclass
class Live:
    """A daemon, and the repository of examples/hello that it knows."""

    place: Place
    box: Box | None
    server: Server
    forge: Forge = field(init=False)

    def __post_init__(self) -> None:
        self.forge = Forge(self.place, lambda _: None)
        self.forge.create()
        (self.forge.bare / "hooks/post-receive").unlink()  # when it is told is measured, too
        self.server.daemon.add_project(
            NewProject(url=str(self.forge.bare), full_name=f"{OWNER}/{PROJECT}")
        )

    @property
    def script(self) -> Path:
        """Return the program of the service, in the folder that somebody works in."""
        return self.place.root / "work" / PROJECT / SERVICE

    def push(self, ref: str, *, old: str = "", new: str = "") -> str:
        """Change a text of the program, commit and push. Return the commit."""
        text = self.script.read_text()
        self.script.write_text(text.replace(old, new) if old else text)
        self.forge._git("commit", "--all", "--allow-empty", "--quiet", "--message", new or ref)
        return self.forge.push(f"HEAD:{ref}")

    def tell(self, ref: str, commit: str, *, before: str = "1" * 40) -> None:
        """Send what Forgejo sends after a push of a branch, and return when it is taken in."""
        settings = json.loads((self.forge.bare / webhook.SETTINGS).read_text())
        with contextlib.chdir(self.forge.bare):
            found = list(webhook.deliveries(settings, before, commit, ref))
        secret = self.place.secret.read_text().strip()
        sent = [webhook.signed(secret, event, payload) for event, payload in found]
        self.sent_at = time.perf_counter()
        for body, headers in sent:
            connection = HTTPConnection("127.0.0.1", self.place.web, timeout=5)
            connection.request("POST", "/webhook", body, headers)
            status = connection.getresponse().status
            connection.close()
            assert status == 202, status

    sent_at: float = 0.0
    """When the last webhook was sent, on `time.perf_counter`'s clock."""

    def visitor(self, host: str) -> "Visitor":
        authority = next(self.place.state.rglob("authorities/local/root.crt"))
        return Visitor(host, self.place.https, authority)

    def first(self) -> None:
        """Have the first commit live."""
        self.tell("refs/heads/main", self.forge.push("HEAD:refs/heads/main"))
        self.until_live("main")

    def until_live(self, ref: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(d.ref == ref and d.state == "live" for d in self._status()):
            self.server.check()
            if time.monotonic() > deadline:
                raise Failure(f"{ref} is not live: {self._status()}")
            time.sleep(0.05)

    def until_gone(self, ref: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while any(d.ref == ref for d in self._status()):
            self.server.check()
            if time.monotonic() > deadline:
                raise Failure(f"{ref} is still there: {self._status()}")
            time.sleep(0.05)

    def _status(self) -> list[Deployment]:
        try:
            return self.server.daemon.status(PROJECT)
        except Failure:
            return []


class Visitor:
    """Asks one host over one HTTPS connection that is kept."""

    def __init__(self, host: str, port: int, authority: Path) -> None:
        self._host = host
        context = ssl.create_default_context(cafile=str(authority))
        self._connection = _Here(host, port, context)

    def first_line(self) -> str:
        """Return the first line of the page; "" where there is no answer, or not 200."""
        try:
            self._connection.request("GET", "/")
            answer = self._connection.getresponse()
            text = answer.read().decode()
        except OSError:
            self._connection.close()
            return ""
        return text.partition("\n")[0] if answer.status == 200 else ""

    def until(self, line: str) -> float:
        """Wait until the page begins with a line. Return when that was first seen."""
        deadline = time.perf_counter() + PATIENCE
        while self.first_line() != line:
            if time.perf_counter() > deadline:
                raise Failure(f"{self._host} never said {line!r}, but {self.first_line()!r}")
            time.sleep(POLL)
        return time.perf_counter()

    def close(self) -> None:
        self._connection.close()


class _Here(HTTPSConnection):
    """Finds every host on this machine."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, context=context, timeout=10)
        here = ("127.0.0.1", port)
        self._create_connection = lambda _to, *more: socket.create_connection(here, *more)


@contextmanager
def kennel(supervisor: str, config: str = "") -> Iterator[Live]:
    """Start `kennel serve`, with more lines of kennel.toml.

    Raises NoBox where there can be no systemd.
    """
    with town.site(supervisor) as (place, box):
        place.config.write_text(place.config.read_text() + config)
        with Server(place) as server, server.daemon:
            live = Live(place, box, server)
            try:
                live.first()
                yield live
            except Exception:
                print(place.log.read_text()[-4000:], file=sys.stderr)
                raise
