"""Does one thing again and again, each time in a process that dies one step later.

    TEST_VALKEY_URL=URL python crasher.py STATE VERB WHEN PROJECT

The refs of the project are called 1, 2, 3 …; in the first the process is killed at the first step,
and so on until one comes to its end. A step is a question to the server or a change of the disk.
WHEN: `before` a step, or while it is `under-way`. Prints how many were killed.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from kennel_valkey import DatabaseProvisioner, kennel_provisioners
from kennel_valkey.server import Server

from kennel.domain import Ref, Tenant
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Steps:
    """Counts the steps, and ends the process at the one that was chosen."""

    def __init__(self, last: int, when: str) -> None:
        self._left = last
        self._when = when

    def step(self, later: Callable[[], object] = die) -> None:
        self._left -= 1
        if self._left == 0:
            if self._when == "before":
                die()
            later()

    def watch(self) -> None:
        """Count what the plugin asks of the server and of the disk."""
        asking, fsync, replace = Server._asking, os.fsync, Path.replace

        @asynccontextmanager
        async def asking_or_dying(server: Server, number: int | None = None) -> AsyncIterator[Any]:
            loop = asyncio.get_running_loop()
            self.step(lambda: loop.call_later(0.0005, die))
            async with asking(server, number) as client:
                yield client

        def fsync_or_die(file: int) -> None:
            self.step(lambda: _both(lambda: fsync(file)))
            fsync(file)

        def replace_or_die(path: Path, target: Path) -> Path:
            self.step(lambda: _both(lambda: replace(path, target)))
            return replace(path, target)

        # their types are less exact
        for owner, name, dying in (
            (Server, "_asking", asking_or_dying),
            (os, "fsync", fsync_or_die),
            (Path, "replace", replace_or_die),
        ):
            setattr(owner, name, dying)


def _both(act: Callable[[], object]) -> None:
    act()
    die()


async def do(valkey: DatabaseProvisioner, verb: str, tenant: Tenant) -> None:
    async with valkey:
        if verb == "ensure":
            await valkey.ensure(tenant, {})
        else:
            await valkey.remove(tenant)


def main() -> int:
    state, verb, when, project = sys.argv[1:]
    settings = PluginSettings(
        {"valkey": {"url": "env:TEST_VALKEY_URL"}},
        Host(state_dir=Path(state), run_dir=Path(state)),
    )
    for number in count(1):
        if (child := os.fork()) == 0:
            (valkey,) = kennel_provisioners(settings)
            assert isinstance(valkey, DatabaseProvisioner)
            Steps(number, when).watch()
            asyncio.run(do(valkey, verb, Tenant(project, Ref.branch(str(number)))))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.stdout.write(str(number - 1))
            return os.waitstatus_to_exitcode(status)
    return 1


if __name__ == "__main__":
    sys.exit(main())
