"""The program that reads and writes the machine's packet filter, and word of its changes."""

import asyncio
import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Callable

SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where Debian has it: not on the PATH of ordinary users."""

TIMEOUT = 10.0
"""Seconds that it may take. It takes milliseconds."""

RIGHTS = ". Run Kennel as root or with CAP_NET_ADMIN"

NETFILTER = 12
NFTABLES_GROUP = 7
"""Whoever changes rules is heard here (linux/netlink.h, linux/netfilter/nfnetlink.h)."""


class NftError(Exception):
    """The rules could not be read or written; the message says why and what to do."""


def find() -> str | None:
    """Return the path of nft, or None."""
    return shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))


async def run(program: str, *arguments: str, text: str = "") -> str:
    """Run nft with `text` as its input, and return what it prints. Raises NftError."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(program, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NftError(f"{program} cannot be executed: {error.strerror}") from error
    try:
        async with asyncio.timeout(TIMEOUT):
            output, errors = await process.communicate(text.encode() or None)
    except TimeoutError as error:
        raise NftError(f"{program} did not end within {TIMEOUT:.0f} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        raise NftError(_told(program, errors.decode(errors="replace")))
    return output.decode(errors="replace")


def _told(program: str, errors: str) -> str:
    first = errors.strip().partition("\n")[0] or "no reason"
    return f"{program}: {first}" + (RIGHTS if os.strerror(errno.EPERM) in errors else "")


class Changes:
    """Calls `heard` after every change of rules on this machine, whoever makes it.

    It costs nothing while there is none. What changed is not told: look.
    """

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Listen from now on. Raises NftError where that is not allowed."""
        listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        try:
            listening.setblocking(False)
            listening.bind((0, 1 << (NFTABLES_GROUP - 1)))
        except OSError as error:
            listening.close()
            why = f"{error.strerror}{RIGHTS if error.errno == errno.EPERM else ''}"
            raise NftError(f"changes of rules cannot be heard: {why}") from error
        self._socket = listening
        asyncio.get_running_loop().add_reader(listening.fileno(), self._read, listening)

    def close(self) -> None:
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # too many at once: some are lost, not that there are
            listening.recv(1 << 16)
        self._heard()
