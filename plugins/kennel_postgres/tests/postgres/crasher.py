"""Does one thing again and again, each time in a process that dies at the next statement.

    python crasher.py STATE SOCKET_DIR PROGRAMS VERB WHEN PROJECT [SETTINGS]

The refs of the project are called 1, 2, 3 …; in the first the process is killed at the first
statement, and so on until one comes to its end. WHEN: `before` a statement is sent, or while it
is `under-way`. Prints how many were killed.
"""

import asyncio
import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

from kennel_postgres import PostgresConfig, PostgresProvisioner, provisioner
from kennel_postgres.server import Session

from kennel.domain import Ref, Tenant
from kennel.plugin import Order
from kennel.plugin.settings import Host


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(number: int, when: str) -> None:
    """Make the process end at that statement."""
    run = Session.run
    left = iter(range(number - 1))

    async def run_or_die(session: Session, *words: Any) -> Any:
        if next(left, None) is None:
            if when == "before":
                die()
            asyncio.get_running_loop().call_later(0.003, die)
        return await run(session, *words)

    setattr(Session, "run", run_or_die)  # noqa: B010  its type is less exact


async def do(postgres: PostgresProvisioner, verb: str, tenant: Tenant) -> None:
    async with postgres:
        if verb == "ensure":
            await postgres.ensure(tenant, {})
        elif verb == "remove":
            await postgres.remove(tenant)
        else:
            ref = None if verb == "snapshot" else tenant.ref
            order = Order(project=tenant.project, ref=ref)
            await postgres.command(verb, order, lambda _: None)


def main() -> int:
    state, socket_dir, programs, verb, when, project, *more = sys.argv[1:]
    settings = json.loads(more[0]) if more else {}
    settings["scrub"] = {name: Path(file) for name, file in settings.get("scrub", {}).items()}
    config = PostgresConfig(
        socket_dir=Path(socket_dir), user="kennel", programs=Path(programs), **settings
    )
    host = Host(state_dir=Path(state), run_dir=Path(state))
    for number in count(1):
        if (child := os.fork()) == 0:
            die_at(number, when)
            tenant = Tenant(project, Ref.branch(str(number)))
            asyncio.run(do(provisioner(config, host), verb, tenant))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.stdout.write(str(number - 1))
            return os.waitstatus_to_exitcode(status)
    return 1


if __name__ == "__main__":
    sys.exit(main())
