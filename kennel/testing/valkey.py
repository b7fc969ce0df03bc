"""Servers of Valkey, and of what it comes from, that live as long as a test."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

from kennel.testing.missing import missing

Release: TypeAlias = Literal["redis-7", "valkey-8", "valkey-9"]
RELEASES: Sequence[Release] = ("redis-7", "valkey-8", "valkey-9")

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kennel"
"""Where scripts/setup keeps the servers that the distribution does not have."""

USER = "kennel"
PASSWORD = "of-nobody-but-tests"  # noqa: S105
DATABASES = 64


def program(release: Release) -> Path:
    """Return the server of a release.

    Skips the test (or fails it, where everything is required) if it is not here.
    """
    kind, _, major = release.partition("-")
    places = [shutil.which(f"{kind}-server"), *CACHE.glob(f"{release}*/**/valkey-server")]
    found = next((place for place in places if place and _version(Path(place)) == major), None)
    if found is None:
        missing(f"no {kind}-server of version {major} here: `scripts/setup --tests` fetches it")
    return Path(found)


def _version(place: Path) -> str:
    said = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"v=(\d+)", said.stdout)
    return found[1] if found else ""


class ValkeyServer:
    """A server on a socket in a folder of its own, where only `USER` may connect.

    `keeps`: whether it writes what it has to the disk, so that it is there after a restart.
    """

    def __init__(
        self,
        release: Release,
        folder: Path,
        *,
        keeps: bool = False,
        databases: int = DATABASES,
        settings: Sequence[str] = (),
    ) -> None:
        self.release = release
        self.folder = folder
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{USER}:{PASSWORD}@{self.socket}"
        self.databases = databases
        self._settings = [*settings, *(["appendonly yes"] if keeps else [])]
        self._program = program(release)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return when it answers."""
        config = self.folder / "valkey.conf"
        config.write_text(
            "\n".join(
                [
                    "port 0",
                    f"unixsocket {self.socket}",
                    f"dir {self.folder}",
                    'save ""',
                    f"databases {self.databases}",
                    "user default off",
                    f"user {USER} on >{PASSWORD} ~* &* +@all",
                    *self._settings,
                ]
            )
            + "\n"
        )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for _ in range(1000):
            if self._answers():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        self.stop()
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket))
            connection.sendall(f"AUTH {USER} {PASSWORD}\r\nPING\r\n".encode())
            answer = b""
            while b"PONG" not in answer and b"LOADING" not in answer:
                got = connection.recv(1024)
                if not got:
                    return False
                answer += got
            return b"PONG" in answer
        return False

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, and with it all that it does not keep."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None
        self.socket.unlink(missing_ok=True)

    def restart(self) -> None:
        self.stop(signal.SIGTERM)
        self.start()


@contextmanager
def valkey_server(
    release: Release,
    *,
    keeps: bool = False,
    databases: int = DATABASES,
    settings: Sequence[str] = (),
) -> Iterator[ValkeyServer]:
    """Start a server of a release. See `program` for where there is none.

    `settings`: more lines of its configuration.
    """
    folder = Path(tempfile.mkdtemp(prefix="kvk"))
    try:
        server = ValkeyServer(release, folder, keeps=keeps, databases=databases, settings=settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
