"""A whole Kennel: the real daemon, git, Nix and Caddy, and repositories that are pushed to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from kennel import views
from kennel.cli.client import Daemon
from kennel.cli.demo import place as places
from kennel.cli.demo import webhook
from kennel.cli.demo.forge import PYTHONS
from kennel.cli.demo.place import Place
from kennel.cli.demo.visitor import Visitor
from kennel.cli.outcome import Failure
from kennel.testing.missing import missing

OWNER = "acme"
PATIENCE = 60.0
"""Seconds until something that should come true has failed to."""

FLAKE = """
{
  outputs = { self }:
    let
      folder = name: path: derivation {
        inherit name;
        system = "builtin";
        builder = "builtin:buildenv";
        derivations = [ "true" "5" "1" path ];
        manifest = builtins.toFile "manifest.nix" "[ ]";
      };
    in {
      packages.x86_64-linux = { api = folder "api" "${./api}"; docs = folder "docs" "${./docs}"; };
      packages.aarch64-linux = self.packages.x86_64-linux;
      kennel = builtins.fromJSON (builtins.readFile ./kennel.json);
    };
}
"""

MANIFEST: dict[str, Any] = {
    "services": {"api": {"ready": {"path": "/", "timeout": 20}}},
    "sites": {"docs": {}},
}

PYTHON = next((path for path in PYTHONS if Path(path).exists()), sys.executable)
SERVICE = (
    f"#!{PYTHON} -S\n"
     """\
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *words): print(*words, flush=True)
    def do_GET(self):
        body = (TEXT + " " + str(os.getpid())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
TEXT = "one"
class Server(ThreadingHTTPServer):
    request_queue_size = 128
Server((os.environ["HOST"], int(os.environ["PORT"])), Answer).serve_forever()
"""
)

ROLES = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
PERSON = {f"GIT_{role}": "x@y.z" for role in ROLES}


@dataclass
class Repository:
    """A repository at the forge, and a clone of it to work in."""

    scene: "Scene"
    name: str
    number: int
    bare: Path
    work: Path
    pulls: dict[str, dict[str, Any]] = field(default_factory=dict)

    def git(self, *words: str, cwd: Path | None = None) -> str:
        quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        environment = {"PATH": os.environ["PATH"], **quiet, **PERSON}
        done = subprocess.run(
            ["git", *words],
            cwd=cwd or self.work,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if "/bin/" in name else 0o644)

    def commit(self, files: Mapping[str, str] | None = None) -> str:
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.git("rev-parse", "HEAD")

    def say(self, text: str) -> str:
        """Make the service say a text, and commit."""
        return self.commit({"api/bin/api": SERVICE.replace('"one"', f'"{text}"')})

    def push(self, what: str = "HEAD:refs/heads/main", *more: str) -> None:
        self.git("push", "--quiet", *more, "origin", what)

    def pull_request(self, number: int) -> None:
        """Push what is committed as a pull request of this repository."""
        self.pulls[str(number)] = {"head": "change", "title": "x", "base": self.head("main")}
        self.settle_hook()
        self.push(f"HEAD:refs/pull/{number}/head", "--force")

    def head(self, branch: str) -> str:
        return self.git("rev-parse", f"refs/heads/{branch}", cwd=self.bare)

    def settle_hook(self) -> None:
        """Write what the post-receive hook has to know."""
        owner = {"id": 1, "login": OWNER, "username": OWNER}
        described = {
            "id": self.number,
            "owner": owner,
            "name": self.name,
            "full_name": f"{OWNER}/{self.name}",
            "html_url": f"http://forge.localhost/{OWNER}/{self.name}",
            "clone_url": f"http://forge.localhost/{OWNER}/{self.name}.git",
            "default_branch": "main",
        }
        settings = {
            "url": f"http://127.0.0.1:{self.scene.place.web}/webhook",
            "secret_file": str(self.scene.place.secret),
            "repository": described,
            "pulls": self.pulls,
        }
        (self.bare / webhook.SETTINGS).write_text(json.dumps(settings))


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
            self.process = subprocess.Popen(
                [*command, "--log-level", "debug"], stdout=log, stderr=log, env=given, cwd="/"
            )
        self.may_die = "KENNEL_CRASH_AT" in environment
        self.eventually(lambda: self.has_died() or self.answers(), "kennel serve answers")

    def answers(self) -> bool:
        """Return whether somebody listens. (httpcore forgets to close a socket that is refused.)"""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.place.run / "control.sock"))
            except OSError:
                return False
        self.daemon.health()
        return True

    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon with a signal. Return its status."""
        assert self.process is not None
        self.process.send_signal(number)
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
        bare = self.place.forge / OWNER / f"{name}.git"
        bare.mkdir(parents=True)
        made = Repository(self, name, self.repositories, bare, self.place.root / "work" / name)
        made.work.mkdir(parents=True)
        made.git("init", "--quiet", "--bare", "--initial-branch=main", cwd=bare)
        hook = bare / "hooks/post-receive"
        hook.write_text(f"#!/bin/sh\nexec {sys.executable} -I {webhook.__file__}\n")
        hook.chmod(0o755)
        made.settle_hook()
        new = views.NewProject(url=str(bare), full_name=f"{OWNER}/{name}")
        self.daemon.add_project(new)
        made.git("init", "--quiet", "--initial-branch=main")
        made.git("remote", "add", "origin", str(bare))
        made.commit(
            {
                "flake.nix": FLAKE,
                "kennel.json": json.dumps(MANIFEST),
                "api/bin/api": SERVICE,
                "docs/index.html": "<h1>Docs</h1>",
            }
        )
        return made

    def processes(self) -> dict[int, str]:
        """Return every process that has to do with this place, but the daemon: pid → words."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (words := _words(entry)) and str(self.place.root) in words:
                found[int(entry.name)] = words
        own = self.process.pid if self.process else 0
        return {pid: words for pid, words in found.items() if pid != own}


def _words(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@contextmanager
def _scene() -> Iterator[Scene]:
    for program in ("git", "nix"):
        if shutil.which(program) is None:
            missing(f"no {program} here")
    with places.made(None, "process") as place:
        scene = Scene(place)
        try:
            yield scene
        finally:
            if scene.process and not scene.has_died():
                scene.end(signal.SIGKILL)
            scene.daemon.__exit__(None, None, None)
            for pid in scene.processes():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Give a place with a daemon that runs."""
    with _scene() as scene:
        scene.start()
        yield scene


@pytest.fixture
def still_scene() -> Iterator[Scene]:
    """Give a place whose daemon is not started yet."""
    with _scene() as scene:
        yield scene
