"""Every process that the demo starts, and those start, and so on: none is left behind."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)"""
GRACE = 5.0
"""Seconds between asking processes to end and killing them."""


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be found."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all() -> None:
    """End every child of this process, and theirs as they become ours; wait for all of them."""
    deadline = time.monotonic() + GRACE
    while children := list(_children()):
        kind = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, kind)
        _reap()
        time.sleep(0.05)


def _children() -> Iterator[int]:
    """Yield the children of this process that have not been waited for."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                yield int(status.parent.name)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
