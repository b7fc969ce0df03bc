"""The demo and the unit of docs/install.md under a real systemd."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kennel.testing.host import Box, NoBox, systemd_box
from kennel.testing.missing import missing

pytestmark = pytest.mark.host
ROOT = Path(__file__).parents[2]
KENNEL = (sys.executable, "-m", "kennel")


@pytest.fixture
def box() -> Iterator[Box]:
    """A booted systemd that sees this checkout and nothing of the machine's network."""
    if shutil.which("nix") is None:
        missing("nix is not installed")
    with tempfile.TemporaryDirectory(prefix="kennel-box-") as folder:
        try:
            with systemd_box(Path(folder, "box"), bind=[ROOT], network="private") as box:
                yield box
        except NoBox as reason:
            missing(str(reason))


def environment() -> list[str]:
    return ["env", f"PATH={os.environ['PATH']}", f"PYTHONPATH={ROOT}", "NO_COLOR=1"]


def demos(box: Box) -> set[str]:
    """Return the folders of demos."""
    found = box.run(["find", "/var/lib", "-maxdepth", "1", "-name", "kennel-demo-*"])
    return set(found.stdout.split())


def test_the_demo(box: Box) -> None:
    command = [*environment(), *KENNEL, "demo", "--supervisor", "systemd", "--exit"]
    before = demos(box)  # the machine's own, if it has any
    done = box.run(command, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of them failed" in done.stdout
    units = box.run(["systemctl", "list-units", "kennel-*.service", "--all", "--plain"]).stdout
    assert "0 loaded units listed" in units, units
    assert demos(box) == before
    assert box.run(["nft", "list", "tables"]).stdout == ""


def unit_of_the_documentation() -> str:
    found = re.findall(r"(?ms)^```ini\n(.*?)^```", (ROOT / "docs/install.md").read_text())
    assert len(found) == 1
    command = " ".join(KENNEL)
    assert "ExecStart=/opt/kennel/.venv/bin/kennel " in found[0]
    return str(found[0]).replace("/opt/kennel/.venv/bin/kennel", command)


def test_the_unit_of_the_documentation(box: Box) -> None:
    unit = unit_of_the_documentation()
    box.run(["mkdir", "-p", "/etc/kennel"])
    box.run(["bash", "-c", 'printf %s "$1" >/etc/systemd/system/kennel.service', "sh", unit])
    box.run(["touch", "/etc/kennel/kennel.toml"])
    checked = box.run(["systemd-analyze", "verify", "kennel.service"])
    assert checked.stderr == ""
    box.run(["systemctl", "daemon-reload"])
    started = box.run(["systemctl", "start", "kennel"], check=False)
    log = box.run(["journalctl", "-u", "kennel", "-o", "export"]).stdout
    assert started.returncode == 0, log
    assert "MESSAGE=level=info event=" in log
    assert "PRIORITY=6" in log
    asked = box.run([*environment(), *KENNEL, "projects"], check=False)
    assert asked.returncode == 0, asked.stderr
    box.run(["systemctl", "stop", "kennel"])
    assert box.show("kennel", "Result", "NRestarts") == {"Result": "success", "NRestarts": "0"}
    log = box.run(["journalctl", "-u", "kennel", "-o", "cat"]).stdout
    assert "level=error" not in log
    assert "level=warning" not in log
    assert box.run(["systemctl", "is-active", "kennel"], check=False).stdout == "inactive\n"
