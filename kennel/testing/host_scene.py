"""A whole Kennel on a machine with a real systemd: its services and builds are units."""

import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from kennel.cli.demo import place as places
from kennel.cli.demo.nix import FEATURES
from kennel.testing.machine import Machine
from kennel.testing.scene import Scene, impatient


@dataclass
class HostScene(Scene):
    """A place on a machine with a real systemd, where services are units of it."""

    machine: Machine = field(kw_only=True)

    def launch(
        self, command: Sequence[str], env: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return self.machine.start(command, env=env, log=log)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.machine.pid_of(self.process)

    @property
    def survives(self) -> bool:
        return True

    def processes(self) -> dict[int, str]:
        """Return every process of services and builds, and every one that names this place."""
        found = {}
        for pid, words in self.machine.processes().items():
            ours = self.machine.slice_of(pid) in ("kennel.slice", "kennel-builds.slice")
            if ours or (str(self.place.root) in words and " serve" not in words):
                found[pid] = words
        return found

    def leftovers(self) -> list[str]:
        found = super().leftovers()
        units = {name.removesuffix(".service") for name in self.machine.units("kennel-*.service")}
        files = {path.stem for path in (self.place.run / "env").iterdir()}
        known = self.generations()
        if units != known:
            found.append(f"units {units}, but generations {known}")
        if files != units:
            found.append(f"environment files {files}, but units {units}")
        return found

    def generations(self) -> set[str]:
        """Return the units that the store knows."""
        with closing(sqlite3.connect(f"{self.place.state}/kennel.db")) as store:
            return {unit for (unit,) in store.execute("SELECT unit FROM generations")}

    def stop_everything(self) -> None:
        """Stop the services, as the machine going down does.

        Timers first: they are in no slice, and would start their services again. What starts at
        that moment calls a stop off: it is said again.
        """
        self.machine.box.run(["systemctl", "stop", "kennel-*.timer"])
        stop = ["systemctl", "stop", "kennel.slice", "kennel-builds.slice"]
        for _ in range(20):
            if self.machine.box.run(stop, check=False).returncode == 0:
                return
            time.sleep(0.1)
        self.machine.box.run(stop)


@contextmanager
def host_scene(
    machine: Machine, *, caddy: str = "", http_port: int | None = None
) -> Iterator[HostScene]:
    """Give a place on a machine. Its daemon is not started yet.

    `caddy`: more lines of kennel.toml's [plugins.caddy]. `http_port`: where that Caddy listens.
    """
    with places.made(Path(tempfile.mkdtemp(dir=machine.shared)), "systemd") as place:
        place.http = http_port or place.http
        variables = {"NIX_REMOTE": "daemon", "NIX_CONFIG": FEATURES}
        text = impatient(places.config(place, variables))
        # the box has this machine's network: its rules are not ours to change
        text = text.replace("[plugins.systemd]\n", '[plugins.systemd]\nfirewall = "off"\n')
        place.config.write_text(text + caddy)
        scene = HostScene(place, machine=machine)
        try:
            yield scene
        finally:
            if scene.process and not scene.has_died():
                scene.end(signal.SIGKILL)
            scene.daemon.__exit__(None, None, None)
            scene.stop_everything()
