"""Telling systemd how we are: sd_notify(3). Without $NOTIFY_SOCKET nothing is said."""

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state such as `READY=1` or `WATCHDOG=1` to the service manager.

    That nobody listens there is no reason to fail: the variable may be another program's.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.connect(address)
            out.sendall(state.encode())
    except OSError as error:
        log.warning("cannot tell the service manager %s at %s: %s", state, path, error)


def watchdog_seconds() -> float | None:
    """Return how often the manager wants a sign of life, or None if it does not watch us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return (int(microseconds) / 1e6 or None) if microseconds.isdecimal() else None
