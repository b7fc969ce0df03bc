"""The folder the demo happens in: its configuration, its secret, its store."""

import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kennel.cli.demo import nix
from kennel.cli.outcome import Exit, Failure

PREFIX = "kennel-demo-"
DRAIN = 2.0
"""Seconds that a replaced service goes on."""
NEEDED = {"git": "git", "nix": "nix (Debian's package is nix-bin)"}


@dataclass(kw_only=True)
class Place:
    """Where everything is. `keep`: whether it stays when the demo is over."""

    root: Path
    web: int
    https: int
    http: int
    supervisor: str
    keep: bool

    @property
    def config(self) -> Path:
        return self.root / "kennel.toml"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "kennel.log"

    @property
    def secret(self) -> Path:
        return self.root / "webhook-secret"

    @property
    def forge(self) -> Path:
        return self.root / "forge"


@contextmanager
def made(keep: Path | None, supervisor: str) -> Iterator[Place]:
    """Make the place; take it away in the end unless it is to be kept.

    Raises Failure when a program is missing or the folder is in use.
    """
    _refuse_without_programs()
    root = _chosen(keep, supervisor)
    web, https, http = free_ports(3)
    place = Place(
        root=root, web=web, https=https, http=http, supervisor=supervisor, keep=keep is not None
    )
    try:
        _furnish(place)
        yield place
    finally:
        if not place.keep:
            _remove(root)


def _refuse_without_programs() -> None:
    for program, name in NEEDED.items():
        if shutil.which(program) is None:
            raise Failure(f"the demo needs {name}", "install it, or run `make demo`")


def _chosen(keep: Path | None, supervisor: str) -> Path:
    """Return a new folder. A unit of systemd's sees nothing of /tmp: there it is elsewhere."""
    if keep is None:
        base = "/var/lib" if supervisor == "systemd" else None
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise Failure(f"{keep} is not empty", "give --keep a folder that is new", code=Exit.USAGE)
    keep.mkdir(mode=0o755, parents=True, exist_ok=True)
    return keep.resolve()


def free_ports(number: int) -> list[int]:
    """Return ports on which nobody listens, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _service_ports() -> range:
    """Return a hundred ports for services: other Kennels on this machine start with the first."""
    start = 20_100 + 100 * secrets.randbelow(98)
    return range(start, start + 100)


def _furnish(place: Place) -> None:
    place.root.chmod(0o755)  # services run as other users under systemd, and read their programs
    for folder in (place.state, place.run, place.forge):
        folder.mkdir()
    _write_private(place.secret, secrets.token_hex(32) + "\n")
    place.config.write_text(config(place, nix.environment(place.root / "nix")))


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def config(place: Place, environment: Mapping[str, str]) -> str:
    """Return the demo's kennel.toml."""
    variables = "\n".join(f'{name} = "{value}"' for name, value in environment.items())
    ports = _service_ports()
    # a unit of its own can write to no store but that of the Nix daemon
    isolation = "process" if nix.STORE_VARIABLE in environment else "auto"
    return f"""\
# What `kennel demo` runs with. `kennel check-config` says what follows from it.
state_dir = "{place.state}"
run_dir = "{place.run}"
host = "demo"
supervisor = "{place.supervisor}"
webhook_secret_file = "{place.secret}"

[web]
port = {place.web}

[domains]
ephemeral = "localhost"

[build]
isolation = "{isolation}"

[build.environment]
{variables}

[services]
ports = "{ports[0]}-{ports[-1]}"
drain = {DRAIN}

[plugins.{place.supervisor}]

[plugins.caddy]
https_port = {place.https}
http_port = {place.http}
"""


def _remove(root: Path) -> None:
    """Remove the folder. What Nix keeps is read-only, even for those who own it."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(stat.S_IRWXU)
    shutil.rmtree(root)
