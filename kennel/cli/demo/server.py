"""The demo's `kennel serve`: a child process with its log in a file."""

import os
import shutil
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from kennel.cli.client import Daemon
from kennel.cli.demo.place import Place
from kennel.cli.outcome import Exit, Failure

START = 60.0
STOP = 20.0
"""Seconds it may take to answer, and to end."""


def _ends_with_us() -> list[str]:
    """Return the words that have a program end in order even if the demo is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


class Server:
    """Started on entering, ended on leaving."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self.daemon = Daemon(place.run / "control.sock")

    def __enter__(self) -> Self:
        with self._place.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_ends_with_us(), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=self._place.root,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends it in order
            )
        self._wait()
        return self

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "kennel", "--config", str(self._place.config), "serve"]

    def _environment(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath)
        return {"PATH": path, "HOME": str(self._place.root), "LC_ALL": "C.UTF-8"}

    def _wait(self) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            self.check()
            try:
                self.daemon.health()
            except Failure as failure:
                if failure.code is not Exit.UNREACHABLE:
                    raise
                time.sleep(0.05)
            else:
                return
        raise Failure(f"kennel serve did not answer within {START:.0f} seconds")

    def check(self) -> None:
        """Raise Failure if it has ended."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise Failure(f"kennel serve ended with status {status}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
