"""A real systemd for tests: booted in a third of a second, thrown away afterwards.

    with systemd_box(tmp_path, bind=[run_dir]) as box:
        box.bus        # the address of its system bus
        box.run(["systemctl", "status"])

The box is PID 1 of its own namespaces on an overlay of this machine's root (`tests/host/box` says
how). What is not bound is the box's own: it sees this machine's files as they were, in memory it
may write anywhere, and nothing of that is left.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import kennel

SCRIPT = Path(__file__).parents[2] / "tests" / "host" / "box"
PROGRAMS = ("bash", "unshare", "nsenter", "findmnt", "dbus-daemon", "journalctl", "systemctl")
SYSTEMD = Path("/usr/lib/systemd/systemd")


class NoBox(Exception):
    """No box can be booted on this machine; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A booted systemd. `journal`: the folder that `journalctl -D` reads from outside."""

    folder: Path
    bus: str
    journal: Path

    def run(
        self, command: Sequence[str], *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root, and return its output."""
        return subprocess.run(
            [str(SCRIPT), "exec", str(self.folder), *command],
            check=check,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, by its name without `.service`, as systemctl shows them."""
        wanted = [f"--property={name}" for name in properties]
        text = self.run(["systemctl", "show", f"{unit}.service", *wanted]).stdout
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def why_no_box() -> str | None:
    """Return what this machine lacks to boot a box, or None."""
    if not SCRIPT.is_file():
        return "tests/host/box is not there: it comes with Kennel's repository, not its package"
    if os.geteuid() != 0:
        return "booting a systemd takes root"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"{', '.join(missing)} is not installed: it takes systemd, dbus and util-linux"
    if not SYSTEMD.exists():
        return f"{SYSTEMD} is not there: it takes a machine with systemd's usual folders"
    return None


def _out_of_sight() -> list[Path]:
    """Return what a box needs of this checkout and would not see: it has a /tmp of its own."""
    needed = {Path(sys.prefix), Path(kennel.__file__).resolve().parents[1]}
    own = [Path("/tmp"), Path("/var/tmp"), Path("/run")]  # noqa: S108
    hidden = sorted(path for path in needed if any(path.is_relative_to(place) for place in own))
    return [path for path in hidden if not any(path.is_relative_to(p) for p in hidden if p != path)]


@contextmanager
def systemd_box(folder: Path, *, bind: Sequence[Path] = (), network: str = "host") -> Iterator[Box]:
    """Boot a box whose own files are in `folder`; end it with everything that runs in it.

    `bind`: folders that are the same inside and outside. `network`: "host", so that the ports of
    its units can be reached, or "private". Raises NoBox.
    """
    if why := why_no_box():
        raise NoBox(why)
    folder.mkdir(parents=True, exist_ok=True)
    bound = [*bind, *_out_of_sight()]
    environment = {**os.environ, "NET": network, "BIND": " ".join(map(str, bound))}
    up = subprocess.run(
        [str(SCRIPT), "up", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if up.returncode:
        raise NoBox(f"systemd does not boot here: {up.stderr.strip()}")
    try:
        yield Box(
            folder=folder,
            bus=f"unix:path={folder / 'shared' / 'bus'}",
            journal=folder / "shared" / "journal",
        )
    finally:
        subprocess.run([str(SCRIPT), "down", str(folder)], check=True, timeout=60)
