"""A whole Kennel: the real daemon, git, Nix and Caddy, and repositories that are pushed to it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import httpx
import pytest

from kennel import views
from kennel.cli.client import Daemon
from kennel.cli.demo import place as places
from kennel.cli.demo.place import Place
from kennel.cli.demo.visitor import Visitor
from kennel.cli.outcome import Failure
from kennel.testing.machine import words_of
from kennel.testing.repository import OWNER, Repository

PATIENCE = 60.0
"""Seconds until something that should come true has failed to."""


@dataclass
class Scene:
    """A place with a daemon in it, and everything a test wants to do there."""

    place: Place
    process: subprocess.Popen[bytes] | None = None
    repositories: int = 0
    may_die: bool = False

    # The daemon.

    @cached_property
    def daemon(self) -> Daemon:
        return Daemon(self.place.run / "control.sock")

    def start(self, **environment: str) -> None:
        """Start `kennel serve` and wait until it answers, or has died where it was told to."""
        command = [sys.executable, "-m", "kennel", "--config", str(self.place.config), "serve"]
        given = {"PATH": os.environ["PATH"], "HOME": str(self.place.root), **environment}
        with self.place.log.open("ab") as log:
            self.process = self.launch([*command, "--log-level", "debug"], given, log)
        self.may_die = "KENNEL_CRASH_AT" in environment
        self.eventually(
            lambda: (self.has_died() and self.may_die) or self.answers(), "kennel serve answers"
        )

    def launch(
        self, command: Sequence[str], env: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd="/")

    @property
    def pid(self) -> int:
        """Return the process of the daemon."""
        assert self.process is not None
        return self.process.pid

    def answers(self) -> bool:
        """Return whether somebody listens. (httpcore forgets to close a socket that is refused.)"""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.place.run / "control.sock"))
                self.daemon.health()
            except (OSError, Failure):  # not there yet, or killed between the two
                return False
        return True

    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon with a signal. Return its status."""
        assert self.process is not None
        os.kill(self.pid, number)
        return self.process.wait(20)

    def eventually(
        self, question: Callable[[], object], what: str, *, within: float = PATIENCE
    ) -> None:
        """Wait until something is so; fail, with the daemon's log, if it is not in time."""
        deadline = time.monotonic() + within
        while not question():
            gone = self.has_died() and not self.may_die
            if gone or time.monotonic() > deadline:
                said = self.place.log.read_text()[-8000:]
                pytest.fail(f"never came true: {what}\n{said}")
            time.sleep(0.05)

    # What it has.

    def status(self, project: str, ref: str = "main") -> list[views.Deployment]:
        try:
            return [one for one in self.daemon.status(project) if one.ref == ref]
        except Failure:  # not registered yet
            return []

    def url(self, project: str, name: str = "api", ref: str = "main") -> str:
        found = [one.url for one in self.status(project, ref) if one.name == name]
        return found[0] if found else ""

    def state(self, project: str, ref: str = "main") -> str:
        """Return the state of the newest build of a ref, "" where there is none."""
        return build.state if (build := self.newest(project, ref)) else ""

    def newest(self, project: str, ref: str = "main") -> views.Build | None:
        try:
            return next(iter(self.daemon.builds(project, ref, 1)), None)
        except Failure:
            return None

    def says(self, text: str, project: str = "shop", ref: str = "main") -> bool:
        """Return whether the service of a ref answers with a text."""
        return self.answer(self.url(project, ref=ref)).partition(" ")[0] == text

    def answer(self, url: str) -> str:
        """Return what a URL answers, "" where it does not or not with 200."""
        if not url:
            return ""
        if url.startswith("http:"):
            return _plainly(url)
        visitor = Visitor(self.authority)
        try:
            status, text = visitor.get(url)
        except Failure:
            return ""
        finally:
            visitor.close()
        return text if status == 200 else ""

    @property
    def authority(self) -> Path:
        return next(iter(self.place.state.glob("caddy/**/root.crt")))

    def live(self, text: str, project: str = "shop", ref: str = "main") -> None:
        """Wait until a ref's service answers with a text."""
        self.eventually(lambda: self.says(text, project, ref), f"{project}/{ref} says {text}")

    # Repositories.

    def repository(self, name: str = "shop") -> Repository:
        """Register a repository with a service and a site, committed and not yet pushed."""
        self.repositories += 1
        made = Repository(
            webhook=f"http://127.0.0.1:{self.place.web}/webhook",
            secret=self.place.secret,
            name=name,
            number=self.repositories,
            bare=self.place.forge / OWNER / f"{name}.git",
            work=self.place.root / "work" / name,
        )
        made.create()
        new = views.NewProject(url=str(made.bare), full_name=f"{OWNER}/{name}")
        self.daemon.add_project(new)
        return made

    def processes(self) -> dict[int, str]:
        """Return every process that has to do with this place, but the daemon: pid → words."""
        found = {}
        for entry in Path("/proc").iterdir():
            if (
                entry.name.isdigit()
                and (words := words_of(entry))
                and str(self.place.root) in words
            ):
                found[int(entry.name)] = words
        own = self.process.pid if self.process else 0
        return {pid: words for pid, words in found.items() if pid != own}

    def services(self) -> dict[int, str]:
        """Return the processes of services: pid → words."""
        found = self.processes()
        return {pid: words for pid, words in found.items() if words.strip().endswith("/bin/api")}

    @property
    def survives(self) -> bool:
        """Return whether services go on without the daemon."""
        return False

    def leftovers(self) -> list[str]:
        """Return what is in the world and not in the store: services, links, roots of builds."""
        refs = {(one.project, one.ref) for one in self.daemon.status()}
        found = []
        if len(running := self.services()) != len(refs):
            found.append(f"{running} for {refs}")
        links = [e.name for e in (self.place.run / "live").iterdir()]
        if len(links) != len(refs):
            found.append(f"{links} for {refs}")
        roots = {e.name for e in (self.place.state / "roots").iterdir()}
        known = {str(build.id) for build in self.daemon.builds(limit=1000)}
        if extra := roots - known:
            found.append(f"roots {extra} of no build")
        return found

    def settle(self) -> None:
        """Wait until nothing is in the world that is not in the store."""
        left: list[str] = []

        def is_clean() -> bool:
            left[:] = self.leftovers()
            return not left

        try:
            self.eventually(is_clean, "nothing is left over")
        except pytest.fail.Exception as error:
            pytest.fail(f"{left}\n{error}")


def _plainly(url: str) -> str:
    """Return what a URL answers without TLS, "" where it does not or not with 200."""
    wanted = httpx.URL(url)
    headers = {"Host": wanted.netloc.decode()}
    try:
        answer = httpx.get(wanted.copy_with(host="127.0.0.1"), headers=headers, trust_env=False)
    except httpx.TransportError:
        return ""
    return answer.text if answer.status_code == 200 else ""


def impatient(config: str) -> str:
    """Return a kennel.toml with shorter delays in it: what crashes is given up sooner."""
    quick = re.sub(r"(?m)^drain = .*", "drain = 0.5", config)
    return re.sub(r"(\[plugins\.(?:process|systemd)\]\n)", r"\1restart_delay = 0.2\n", quick)


@contextmanager
def process_scene() -> Iterator[Scene]:
    """Give a place whose services are processes. Its daemon is not started yet."""
    with places.made(None, "process") as place:
        place.config.write_text(impatient(place.config.read_text()))
        scene = Scene(place)
        try:
            yield scene
        finally:
            if scene.process and not scene.has_died():
                scene.end(signal.SIGKILL)
            scene.daemon.__exit__(None, None, None)
            for pid in scene.processes():
                os.kill(pid, signal.SIGKILL)
