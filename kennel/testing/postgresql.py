"""A PostgreSQL server that lives as long as a test session."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kennel.testing.missing import missing

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _program(name: str) -> str:
    path = os.pathsep.join([*map(str, PLACES), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        missing(f"no {name} here: install postgresql")
    return found


def _as_user() -> list[str]:
    """Return the words before a command: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        missing("there is no user postgres: install postgresql")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Start a server on a socket of its own; give the URL of its superuser's database.

    Skips the test (or fails it, where everything is required) if PostgreSQL is not installed.
    """
    initdb, pg_ctl, prefix = _program("initdb"), _program("pg_ctl"), _as_user()
    base = Path(tempfile.mkdtemp(prefix="kpg"))
    if prefix:
        shutil.chown(base, "postgres", "postgres")

    def run(*command: str) -> None:
        subprocess.run(
            [*prefix, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60
        )

    run(initdb, "-D", f"{base}/data", "-A", "trust", "-U", "postgres", "--no-sync")
    options = f"-k {base} -c listen_addresses='' -c fsync=off"
    run(pg_ctl, "-D", f"{base}/data", "-w", "-o", options, "-l", f"{base}/log", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={base}"
    finally:
        run(pg_ctl, "-D", f"{base}/data", "-m", "immediate", "stop")
        shutil.rmtree(base, ignore_errors=True)
