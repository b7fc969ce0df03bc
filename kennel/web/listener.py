"""The sockets that requests come in by."""

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kennel.errors import ConfigError

BACKLOG = 1024
LONGEST_PATH = 107
"""Bytes of a socket's path: the kernel's limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket that listens. `path` and `inode` are those of a unix socket."""

    socket: socket.socket
    path: Path | None = None
    inode: int = 0

    @property
    def port(self) -> int:
        """Return the port, which the kernel chose if 0 was asked for. A unix socket has none: 0."""
        return 0 if self.path else int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Close the socket, and take its file away unless it is somebody else's by now."""
        self.socket.close()
        if self.path is not None:
            with suppress(FileNotFoundError):
                if self.path.stat().st_ino == self.inode:
                    self.path.unlink()


def listen_tcp(host: str, port: int) -> Listener:
    """Listen on an address of this machine. `port` 0: any. Raises ConfigError naming the setting.

    `host` "" or "::" is every address, IPv4 and IPv6.
    """
    family, address = _resolve(host, port)
    # asyncio sends at once (TCP_NODELAY) on connections of sockets that say that they are TCP
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(BACKLOG)  # only now is the port certain to be ours
    except OSError as error:
        sock.close()
        raise ConfigError(_explain(error, host, port)) from error
    return Listener(socket=sock)


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(
            host or "::", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"web.host: {host!r} is no address or name of this machine") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


def _explain(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"web.port: {port} is in use on {host}: another Kennel or another program listens"
                " there. Stop it, or set another port"
            )
        case errno.EACCES:
            return (
                f"web.port: {port} is reserved: set one from 1024 on, or give Kennel"
                " CAP_NET_BIND_SERVICE"
            )
        case errno.EADDRNOTAVAIL:
            return f"web.host: {host} is no address of this machine"
    return f"web.host, web.port: cannot listen on {host} port {port}: {error.strerror}"


def listen_unix(path: Path, *, mode: int = 0o660, group: int = -1) -> Listener:
    """Listen on a socket in the file system, with this mode and group from its first moment on.

    What a Kennel that is gone left behind is replaced. Raises ConfigError if one answers there,
    or if the path is of no use.
    """
    _refuse_a_living_one(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fresh.unlink(missing_ok=True)
        sock.bind(str(fresh))
        os.chown(fresh, -1, group)
        fresh.chmod(mode)
        sock.listen(BACKLOG)
        inode = fresh.stat().st_ino
        fresh.rename(path)
    except OSError as error:
        sock.close()
        raise ConfigError(f"run_dir: cannot make {path}: {_why(error, fresh)}") from error
    return Listener(socket=sock, path=path, inode=inode)


def _why(error: OSError, path: Path) -> str:
    if len(os.fsencode(path)) > LONGEST_PATH:
        return f"the path is longer than {LONGEST_PATH - len(str(os.getpid())) - 1} bytes"
    return error.strerror or str(error)


def _refuse_a_living_one(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return  # nothing there; if it is worse than that, binding says so
    if not is_socket:
        raise ConfigError(f"run_dir: {path} is there and is no socket: move it out of the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise ConfigError(f"run_dir: {path} is in use: {error.strerror or error}") from error
    raise ConfigError(f"run_dir: another Kennel answers at {path}: stop it first")
