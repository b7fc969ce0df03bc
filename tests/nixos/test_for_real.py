"""Kennel as NixOS runs it, on a real systemd: its unit, its user, its rights, and Caddy's file.

The unit is the one that the module makes; only where programs are is another matter here.
"""

import re
import shutil
import site
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kennel.testing.host import Box, NoBox, systemd_box
from kennel.testing.machine import Machine
from kennel.testing.missing import missing
from kennel.testing.repository import PYTHON
from tests.nixos.evaluation import KENNEL, ROOT, Nix, configuration

pytestmark = [pytest.mark.host, pytest.mark.timeout(180)]

POLKITD = Path("/usr/lib/polkit-1/polkitd")
TELLS_NAMES = 257
"""The first systemd that tells polkit which unit is to be made."""

LAUNCHER = """\
#!/bin/sh
export PYTHONPATH=/opt/checkout:/opt/site LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/{python} -m kennel "$@"
"""
CADDY = """\
[Service]
Type=notify
User=caddy
AmbientCapabilities=CAP_NET_BIND_SERVICE
StateDirectory=caddy
Environment=HOME=/var/lib/caddy XDG_DATA_HOME=/var/lib/caddy XDG_CONFIG_HOME=/var/lib/caddy
ExecStart=/opt/caddy run --config /etc/caddy/Caddyfile --adapter caddyfile
"""
PROJECT = """
mkdir -p /srv/forge/acme
git init --quiet --bare --initial-branch=main /srv/forge/acme/shop.git
cp -r {example} /srv/shop
cd /srv/shop
sed -i '1s|.*|#!{python}|' hello/bin/hello
git init --quiet --initial-branch=main
git add --all
git -c user.name=Ada -c user.email=ada@example.org commit --quiet --message one
git push --quiet /srv/forge/acme/shop.git main
"""
ASK = (
    "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1"
    " org.freedesktop.systemd1.Manager"
)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine on which Kennel runs as the module says."""

    box: Box
    strict: bool

    def shell(self, script: str, *, check: bool = True, user: str = "root") -> str:
        """Run a script as a user and return what it says, errors too."""
        as_user = ["runuser", "-u", user, "--"] if user != "root" else []
        words = ["env", "HOME=/root", *as_user, "bash", "-ec", f"exec 2>&1\n{script}"]
        done = self.box.run(words, check=False, timeout=90)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write(self, path: str, text: str) -> None:
        self.shell(f"mkdir -p $(dirname {path})\ncat > {path} <<'END-OF-FILE'\n{text}END-OF-FILE")

    def units(self) -> list[str]:
        """Return the services of projects that run."""
        command = "systemctl list-units --plain --no-legend --state=active 'kennel-shop--*'"
        return [line.split()[0] for line in self.shell(command).splitlines()]


def eventually(found: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def host(nix: Nix) -> Iterator[Host]:
    """Boot a machine, and start on it what the module says."""
    if not POLKITD.exists():
        missing("no polkitd here: install polkitd")
    if shutil.which("nix-daemon") is None:
        missing("nix-daemon is not installed")
    made = nix.evaluate(f"({configuration('real')}).system")
    folder = Path(tempfile.mkdtemp(prefix="kennel-nixos-", dir="/var/lib"))
    try:
        folder.chmod(0o755)
        with systemd_box(folder / "box", network="private") as box:
            host = Host(box, strict=_version(box) >= TELLS_NAMES)
            Machine(box=box, shared=folder).run_nix()
            _install(host, made)
            logs = "journalctl -o cat -u kennel.service -u polkit.service"
            host.shell(f"systemctl start caddy.service kennel.service || {{ {logs}; exit 1; }}")
            yield host
    except NoBox as reason:
        missing(str(reason))
    finally:
        shutil.rmtree(folder)


def _version(box: Box) -> int:
    return int(box.run(["systemctl", "--version"]).stdout.split()[1])


def _install(host: Host, made: dict[str, dict[str, str]]) -> None:
    """Put Kennel, its unit and what it needs where the machine's users find them."""
    places = {
        "python": sys.base_prefix,
        "site": site.getsitepackages()[0],
        "checkout/kennel": ROOT / "kennel",
        **{f"checkout/{p.name}": p / p.name for p in (ROOT / "plugins").glob("kennel_*")},
    }
    for name, source in places.items():
        host.shell(f"mkdir -p /opt/{name}\nmount --bind {source} /opt/{name}")
    caddy = KENNEL.with_name("caddy").resolve()
    host.shell(f"touch /opt/caddy\nmount --bind {caddy} /opt/caddy")
    host.write("/opt/kennel", LAUNCHER.format(python=f"python3.{sys.version_info.minor}"))
    host.shell("chmod 755 /opt/kennel")
    for user in ("kennel", "caddy"):
        host.shell(f"useradd --system --user-group --home-dir /var/lib/{user} {user}")
    host.write("/run/secrets/webhook", "the secret of a test\n")
    host.write("/etc/kennel/kennel.toml", str(made["toml"]))
    host.write("/etc/caddy/Caddyfile", str(made["caddyfile"]))
    host.write("/etc/hosts", "127.0.0.1 localhost kennel.test shop-main.preview.test\n")
    host.write("/etc/polkit-1/rules.d/50-kennel.rules", _rule(made, strict=host.strict))
    host.shell("chmod 755 /etc/polkit-1/rules.d")
    host.write("/run/systemd/system/caddy.service", CADDY)
    unit = re.sub(r'"PATH=[^"]*"', '"PATH=/usr/sbin:/usr/bin"', made["units"]["kennel"])
    start = "ExecStart=/opt/kennel --config /etc/kennel/kennel.toml serve"
    unit = re.sub("^ExecStart=.*$", start, unit, flags=re.MULTILINE)
    host.write("/run/systemd/system/kennel.service", unit)
    host.shell(PROJECT.format(example=ROOT / "examples" / "hello", python=PYTHON))


def _rule(made: dict[str, dict[str, str]], *, strict: bool) -> str:
    """Return the module's rule; the documented one for a systemd that tells polkit no names."""
    if strict:
        return made["polkit"]["extraConfig"]
    page = (ROOT / "docs" / "supervisors.md").read_text()
    rule: str = re.findall(r"```js\n(polkit\.addRule.*?)```", page, re.DOTALL)[0]
    return rule


def test_a_project_is_deployed(host: Host) -> None:
    """Git, Nix, units of builds and services, the firewall, Caddy: with the rights it has."""
    said = host.shell("/opt/kennel deploy shop main", check=False)
    assert "is live" in said, said + host.shell("journalctl -u kennel.service -o cat")
    page = "curl --silent --insecure --max-time 10 https://shop-main.preview.test/"
    assert "Hello from Kennel" in host.shell(page)
    [unit] = host.units()
    shown = host.shell(f"systemctl show {unit} -p Slice -p DynamicUser")
    assert set(shown.split()) == {"Slice=kennel.slice", "DynamicUser=yes"}
    assert "kennel_" in host.shell("nft list tables")


def test_it_is_watched_and_survived_by_what_it_runs(host: Host) -> None:
    eventually(lambda: len(host.units()) == 1, lambda: str(host.units()))
    before = host.units()
    host.shell("systemctl kill --signal=KILL kennel.service")
    page = "curl --silent --insecure --max-time 10 https://shop-main.preview.test/"
    assert "Hello from Kennel" in host.shell(page)
    alive = "systemctl is-active kennel.service"
    eventually(
        lambda: host.shell(alive, check=False) == "active\n",
        lambda: host.shell("journalctl -u kennel.service -o cat"),
    )
    assert host.units() == before
    assert "Type=notify" in host.shell("systemctl show kennel.service -p Type")
    assert "WatchdogUSec=1min" in host.shell("systemctl show kennel.service -p WatchdogUSec")


def test_nothing_is_wrong_that_kennel_could_tell(host: Host) -> None:
    """Every provider in use is well: systemd does what Kennel asks, and so does Caddy."""
    assert "warning" not in host.shell("/opt/kennel status")


@pytest.mark.parametrize(
    "request_",
    [
        "RestartUnit ss caddy.service replace",
        "StopUnit ss dbus.service replace",
        "KillUnit ssi kennel.service all 9",
        "Reload",
    ],
)
def test_its_user_may_not_do_else(host: Host, request_: str) -> None:
    said = host.shell(f"{ASK} {request_}", check=False, user="kennel")
    assert re.search("Access denied|[Ii]nteractive authentication required", said), said


def test_whether_its_user_may_make_units_of_other_names(host: Host) -> None:
    """From systemd 257 on it may not; an older one does not tell polkit. See docs/nixos.md."""
    called = "StartTransientUnit 'ssa(sv)a(sa(sv))' other.service fail 0 0"
    said = host.shell(f"{ASK} {called}", check=False, user="kennel")
    assert ("Access denied" in said) is host.strict, said
    assert host.strict or "bad unit file setting" in said, said


def test_the_files_of_secrets_are_roots(host: Host) -> None:
    """Kennel reads them by the credentials that systemd gives it, and by nothing else."""
    assert host.shell("stat -c %U /run/secrets/webhook") == "root\n"
    host.shell("chmod 600 /run/secrets/webhook\nsystemctl restart kennel.service")
    assert "Permission denied" in host.shell("cat /run/secrets/webhook", check=False, user="kennel")
