"""A machine for tests on which the whole of Kennel runs: a box with a Nix daemon, and maybe Caddy.

    with machine() as host:
        host.start(["kennel", "serve"], env={...}, log=file)

Whatever lies in its `shared` folder is at the same place inside and outside, and what runs inside
listens on ports of this machine. Kennel itself has to run inside: it asks systemd about builds
with the programs of the machine it is on, and hides its own process from them.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kennel.testing.host import SCRIPT, Box, NoBox, systemd_box

NIX_SETTINGS = (
    "experimental-features = nix-command flakes",
    "build-users-group =",
    "sandbox = false",
    "substituters =",
    "flake-registry =",
)
NIX_FOLDERS = ("/nix/store", "/nix/var/nix", "/nix/var/log/nix")
NIX_SOCKET = "/nix/var/nix/daemon-socket/socket"
PATIENCE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A booted machine. `shared`: a folder that is the same inside and outside."""

    box: Box
    shared: Path

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a command inside. What is returned ends as the command does: see `pid_of`."""
        words = [str(SCRIPT), "exec", str(self.box.folder), *command]
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**env}, cwd="/"
        )

    def pid_of(self, started: subprocess.Popen[bytes]) -> int:
        """Return the process, as seen from here, of a command that `start` has started."""
        [child] = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        return int(child)

    def processes(self) -> dict[int, str]:
        """Return every process inside, as seen from here: its number and its words."""
        root = Path((self.box.folder / "cgroup").read_text().strip())
        found = {}
        for folder, _, _ in os.walk(root):  # units come and go meanwhile, and it does not mind
            for pid in _lines(Path(folder, "cgroup.procs")):
                if words := words_of(Path("/proc", pid)):
                    found[int(pid)] = words
        return found

    def slice_of(self, pid: int) -> str:
        """Return the slice of systemd's that a process is in, "" for none."""
        try:
            group = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return ""
        return next((part for part in reversed(group.split("/")) if part.endswith(".slice")), "")

    def units(self, pattern: str = "kennel-*") -> set[str]:
        """Return the names of the loaded units of a pattern."""
        command = ("systemctl", "list-units", "--all", "--plain", "--no-legend", pattern)
        return {line.split()[0] for line in self.box.run(command).stdout.splitlines()}

    def run_caddy(self, binary: str, config: Mapping[str, Any], name: str) -> Path:
        """Start a Caddy that is not Kennel's, as a unit. Return the socket of its admin API."""
        folder = self.shared / name
        folder.mkdir()
        admin = folder / "admin.sock"
        whole = {
            "admin": {
                "listen": f"unix/{admin}|0600",
                "origins": ["127.0.0.1", "localhost"],
                "config": {"persist": False},
            },
            **config,
        }
        (folder / "caddy.json").write_text(json.dumps(whole))
        home = [f"--setenv={v}={folder}" for v in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
        command = [binary, "run", "--config", str(folder / "caddy.json")]
        unit = ["systemd-run", "--quiet", f"--unit={name}", "--property=Type=notify"]
        self.box.run([*unit, *home, *command])
        return admin

    def run_nix(self) -> None:
        """Start a Nix daemon with an empty store at the usual place."""
        self.box.run(["mkdir", "-p", *NIX_FOLDERS])
        self.box.run(["chmod", "1777", "/nix/store"])
        given = ["--setenv=NIX_REMOTE=local", "--setenv=NIX_CONFIG=" + "\n".join(NIX_SETTINGS)]
        self.box.run(["systemd-run", "--quiet", "--unit=nix-daemon", *given, "nix-daemon"])
        deadline = time.monotonic() + PATIENCE
        while self.box.run(["test", "-S", NIX_SOCKET], check=False).returncode:
            if time.monotonic() > deadline:
                raise NoBox("nix-daemon does not listen")
            time.sleep(0.02)


@contextmanager
def machine() -> Iterator[Machine]:
    """Boot a machine with a Nix daemon; end it with all that runs on it. Raises NoBox."""
    if shutil.which("nix-daemon") is None:
        raise NoBox("nix-daemon is not installed")
    # not below /tmp: units have a /tmp of their own
    folder = Path(tempfile.mkdtemp(prefix="kennel-machine-", dir="/var/lib"))
    try:
        folder.chmod(0o755)
        shared = folder / "shared"
        shared.mkdir()
        with systemd_box(folder / "box", bind=[shared]) as box:
            made = Machine(box=box, shared=shared)
            made.run_nix()
            yield made
    finally:
        shutil.rmtree(folder)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # the unit is gone
        return []


def words_of(process: Path) -> str:
    """Return the words of a process by its folder below /proc, "" if it is gone."""
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
