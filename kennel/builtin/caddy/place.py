"""Where the router's files and addresses are on this machine. Blocking."""

import grp
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from kennel.errors import Rejected

SOCKET_MAX = 107
"""Bytes in the path of a unix socket: see unix(7)."""
KINDS = MappingProxyType({socket.SOCK_STREAM: "TCP", socket.SOCK_DGRAM: "UDP"})


def group_id(name: str | None) -> int:
    """Return the number of a group, -1 for none. Raises Rejected for one that is not there."""
    if name is None:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Rejected(
            f'kennel.toml: [plugins.caddy]: group = "{name}": this machine has no such group;'
            " name the one that Caddy runs as"
        ) from None


def admin_socket(folder: Path) -> Path:
    """Return where the admin API listens. Raises Rejected if the path is too long for a socket."""
    path = folder / "admin.sock"
    if len(bytes(path)) > SOCKET_MAX:
        raise Rejected(
            f"{path} is too long for a socket ({len(bytes(path))} bytes, {SOCKET_MAX} at most):"
            " set `run_dir` in kennel.toml to a shorter one"
        )
    return path


def private(*folders: Path) -> None:
    """Make folders that only Kennel can look into."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def addresses_for(given: tuple[str, ...] | None, domain: str) -> tuple[str, ...]:
    """Return what to listen on: what was given, else what the domain points at.

    Every `*.localhost` is this machine, so nobody else has to reach it there.
    """
    if given is not None:
        return given
    if domain != "localhost" and not domain.endswith(".localhost"):
        return ("",)
    return ("127.0.0.1", "[::1]") if _has_ipv6() else ("127.0.0.1",)


def refuse_taken(
    addresses: Iterable[str],
    ports: Mapping[str, int],
    kind: socket.SocketKind,
    patience: float = 0.0,
) -> None:
    """Raise Rejected if Caddy could not listen. `ports`: by the setting that changes each.

    Caddy would not always notice: two of one user can listen on one port, and share its visits.
    `patience`: seconds that somebody may take to let go of them.
    """
    deadline = time.monotonic() + patience
    for address in addresses:
        for setting, port in ports.items():
            while error := _refused(address.strip("[]"), port, kind):
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                where = f"{KINDS[kind]} port {port}" + (f" of {address}" if address else "")
                raise Rejected(
                    f"Kennel's own Caddy cannot listen on {where}: {error.strerror}. Free it, set"
                    f" `{setting}` in [plugins.caddy] to another port, or `admin` to use the Caddy"
                    " that is there"
                )


def _refused(address: str, port: int, kind: socket.SocketKind) -> OSError | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:  # connections that have ended are in nobody's way
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error
    return None


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
