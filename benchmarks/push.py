"""From a push to a URL that answers with it, beside a shell script that does the same by hand.

    python -m benchmarks push

The project is examples/hello: one service, one site, nothing to compile. Kennel's clock runs from
the webhook, the script's from its start, both until a visitor (HTTPS through Caddy, a connection
that is kept, a look every 5 ms) reads the new text. The two take turns, each with a commit of its
own, on one machine with one Nix store and one systemd; each has a Caddy of its own. The script
gives its units the sandbox that Kennel gives, and waits for the same `/health`.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.live import Live, Visitor, kennel
from benchmarks.report import Table, middle, ratio
from benchmarks.scale import Scale
from kennel.builtin.caddy import program
from kennel.cli.demo.forge import PROJECT
from kennel.cli.demo.place import DRAIN, free_ports
from kennel.testing.host import NoBox

SCRIPT = Path(__file__).with_name("hand.sh")
FIRST = "Hello from Kennel"
SUPERVISORS = ("systemd", "process")
SETTLES = DRAIN + 2.0
"""Seconds after which a deployment has stopped what it replaces, and cleaned up."""


@dataclass
class Hand:
    """Somebody with a clone, a Caddy and a script."""

    live: Live
    supervisor: str
    admin: str
    https: int
    ports: list[int] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.live.place.root / "hand"

    def deploy(self) -> None:
        """Run the script."""
        self.ports.append(free_ports(1)[0])
        clone, repository = self.folder / "clone", self.live.forge.bare
        words = [clone, repository, self.folder, self.ports[-1], self.admin, self.supervisor]
        subprocess.run([SCRIPT, *map(str, words)], env=self.environment, check=True)

    @property
    def environment(self) -> dict[str, str]:
        """Return what git, Nix and systemd-run need: the store that Kennel builds in."""
        table = tomllib.loads(self.live.place.config.read_text())["build"]["environment"]
        path, home = os.environ["PATH"], str(self.folder)
        return {"PATH": path, "HOME": home, "WITHIN": self._within, **table}

    @property
    def _within(self) -> str:
        """Return what takes a command into the box: one program that takes a millisecond."""
        if self.live.box is None:
            return ""
        pid = (self.live.box.folder / "pid").read_text().strip()
        return f"nsenter --target={pid} --mount --pid --"

    def end_all_but_the_newest(self) -> None:
        while len(self.ports) > 1:
            self._end(self.ports.pop(0))

    def _end(self, port: int) -> None:
        if self.supervisor == "systemd":
            assert self.live.box is not None
            self.live.box.run(["systemctl", "stop", f"hand-{port}"])
        else:
            pid = int((self.folder / f"pid-{port}").read_text())
            os.killpg(pid, signal.SIGTERM)

    def end(self) -> None:
        for port in self.ports:
            with suppress(OSError, subprocess.CalledProcessError):  # it may never have started
                self._end(port)


@contextmanager
def hand(live: Live, supervisor: str) -> Iterator[Hand]:
    """Give somebody a clone and a Caddy."""
    admin, https = free_ports(2)
    someone = Hand(live, supervisor, f"http://127.0.0.1:{admin}", https)
    someone.folder.mkdir()
    subprocess.run(["git", "init", "--quiet", someone.folder / "clone"], check=True)
    binary = asyncio.run(program.find(None))
    config = someone.folder / "caddy.json"
    config.write_text(json.dumps(_config(someone, admin)))
    with (someone.folder / "caddy.log").open("wb") as log:
        caddy = subprocess.Popen([binary, "run", "--config", config], stdout=log, stderr=log)
    try:
        _wait_for(someone.admin)
        yield someone
    finally:
        caddy.terminate()
        caddy.wait()
        someone.end()


def _wait_for(admin: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            httpx.get(f"{admin}/config/", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _config(someone: Hand, admin: int) -> dict[str, Any]:
    return {
        "admin": {"listen": f"127.0.0.1:{admin}", "config": {"persist": False}},
        "storage": {"module": "file_system", "root": str(someone.folder / "caddy")},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            "tls": {
                "certificates": {"automate": ["hand.localhost", "hand-docs.localhost"]},
                "automation": {"policies": [{"issuers": [{"module": "internal"}]}]},
            },
            "http": {
                "servers": {
                    "hand": {
                        "listen": [f"127.0.0.1:{someone.https}"],
                        "routes": [{"handle": [{"@id": "hand", "handler": "subroute"}]}],
                        "tls_connection_policies": [{}],
                        "automatic_https": {"disable": True},
                    }
                }
            },
        },
    }


def run(scale: Scale) -> dict[str, Any]:
    """Measure with both supervisors; where there is no systemd, the reason stands for it."""
    figures: dict[str, Any] = {}
    for supervisor in SUPERVISORS:
        try:
            figures[supervisor] = _run(supervisor, scale.pushes)
        except NoBox as reason:
            figures[supervisor] = str(reason)
    return figures


def _run(supervisor: str, times: int) -> dict[str, Any]:
    ours: list[float] = []
    theirs: list[float] = []
    with kennel(supervisor) as live, hand(live, supervisor) as someone:
        text = FIRST
        visitor = live.visitor(f"{PROJECT}-main.localhost")
        live.push("refs/heads/main", old=text, new=(text := "by hand, to warm up"))
        someone.deploy()
        other = Visitor(
            "hand.localhost",
            someone.https,
            someone.folder / "caddy/pki/authorities/local/root.crt",
        )
        other.until(text)
        for turn in range(times):
            for who in ("kennel", "hand") if turn % 2 else ("hand", "kennel"):
                new = f"{who} {turn}"
                commit = live.push("refs/heads/main", old=text, new=new)
                text = new
                time.sleep(0.5)  # git goes on for a while
                if who == "kennel":
                    live.tell("refs/heads/main", commit)
                    ours.append(visitor.until(text) - live.sent_at)
                else:
                    began = time.perf_counter()
                    someone.deploy()
                    theirs.append(other.until(text) - began)
                time.sleep(SETTLES)
                someone.end_all_but_the_newest()
        stages = _stages(live)
        visitor.close()
        other.close()
    return {
        "kennel_ms": [round(1000 * one, 1) for one in ours],
        "by_hand_ms": [round(1000 * one, 1) for one in theirs],
        "kennel_median_ms": middle(ours),
        "by_hand_median_ms": middle(theirs),
        "ratio": ratio(middle(ours), middle(theirs)),
        **stages,
    }


def _stages(live: Live) -> dict[str, float]:
    """Return where Kennel's time went, as its builds have it recorded."""
    builds = [b for b in live.server.daemon.builds(PROJECT, "main", 50) if b.finished_at]
    build = [b.built_at - b.started_at for b in builds if b.built_at and b.started_at]
    deploy = [b.finished_at - b.built_at for b in builds if b.finished_at and b.built_at]
    return {"build_median_ms": middle(build), "deploy_median_ms": middle(deploy)}


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    rows, notes = [], []
    for supervisor, found in figures.items():
        if isinstance(found, str):
            notes.append(f"{supervisor}: {found}")
            continue
        keys = ("kennel_median_ms", "by_hand_median_ms", "ratio", "build_median_ms")
        rows.append([supervisor, *(found[key] for key in keys), found["deploy_median_ms"]])
    columns = ["supervisor", "kennel", "by hand", "ratio", "of it: build", "of it: deploy"]
    return [Table("From push to live, nothing to compile (medians, ms)", columns, rows, notes)]
