"""Many deployments on a real systemd and a real Caddy, made by Kennel's own parts."""

import contextlib
import logging
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.engine import Connection

from kennel import settings
from kennel.cli.demo import place as places
from kennel.cli.demo.place import Place
from kennel.daemon import Parts, started
from kennel.domain import Manifest, Outputs, Ready, Ref, Service
from kennel.store import builds, projects, tenants
from kennel.testing.host import Box, systemd_box

REFS = 10
"""Branches of each project, one service each."""

PORTS = "20000-29999"

LISTENER = f"""\
#!{sys.executable if not Path("/usr/bin/python3").exists() else "/usr/bin/python3"} -IS
import os, _socket
server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
server.bind((os.environ["HOST"], int(os.environ["PORT"])))
server.listen()
while True:
    descriptor, _ = server._accept()
    os.close(descriptor)
"""
"""The smallest service there is: it listens, and hangs up on everybody."""


@contextmanager
def site(supervisor: str = "systemd") -> Iterator[tuple[Place, Box | None]]:
    """Give a folder with a kennel.toml, and a systemd that sees the folder. Raises NoBox."""
    with ExitStack() as stack:
        place = stack.enter_context(places.made(None, supervisor))
        _widen(place)
        box = None
        if supervisor == "systemd":
            folder = place.root.with_name(f"{place.root.name}-box")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            box = stack.enter_context(systemd_box(folder, bind=[place.root]))
            _point_at(place, box)
        yield place, box


def _widen(place: Place) -> None:
    """Have more ports than a demo needs."""
    text = re.sub(r"(?m)^ports = .*\n", "", place.config.read_text())
    place.config.write_text(text.replace("[services]\n", f'[services]\nports = "{PORTS}"\n'))


def _point_at(place: Place, box: Box) -> None:
    """Have Kennel talk to the systemd in the box. Builds run as it does: beside the box."""
    table = "[plugins.systemd]\n"
    text = place.config.read_text().replace('isolation = "auto"', 'isolation = "process"')
    place.config.write_text(
        text.replace(table, f'{table}bus = "{box.bus}"\njournal = "{box.journal}"\n')
    )


@asynccontextmanager
async def parts_at(place: Place) -> AsyncIterator[Parts]:
    """Give all parts of a daemon, opened, without its loops: a benchmark calls them itself."""
    quiet()
    async with started(settings.load(place.config)) as parts:
        yield parts


def quiet() -> None:
    """Log nothing but warnings: a terminal would be measured too."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def program(place: Place) -> Path:
    """Write the listener where units can read it."""
    file = place.root / "listen"
    with contextlib.suppress(FileExistsError):
        with file.open("x") as new:
            new.write(LISTENER)
        file.chmod(0o755)
    return file


async def grow(parts: Parts, place: Place, *, so_far: int, to: int) -> None:
    """Have that many deployments live: what is missing is put into the store as built."""
    command = str(program(place))
    await parts.store.write(partial(fill, first=so_far, last=to, command=command))
    await parts.registry.load()
    await parts.reconciler.settled()
    wanted = await parts.reconciler.wanted()
    live = sum(len(one.live) for one in wanted)
    if live != to:
        raise RuntimeError(f"{live} deployments are live, not {to}: {parts.reconciler.troubles}")


def fill(db: Connection, *, first: int, last: int, command: str) -> None:
    """Put builds that wait to be deployed into the store."""
    ready = Ready(timeout=600.0)
    manifest = Manifest(services={"web": Service(name="web", package="web", ready=ready)})
    outputs = Outputs(paths={"web": command}, programs={"web": command})
    for number in range(first, last):
        project_id = _project(db, number // REFS)
        ref, now = Ref.branch(f"b{number % REFS}"), time.time()
        tenants.seen(db, project_id=project_id, ref=ref, trusted=True, now=now)
        builds.queue(
            db, project_id=project_id, ref=ref, commit=f"{number:040x}", trusted=True, now=now
        )
        claimed = builds.claim(db, now=now)
        assert claimed is not None
        builds.built(db, claimed.build.id, manifest=manifest, outputs=outputs, now=now)


def _project(db: Connection, number: int) -> int:
    name = f"p{number}"
    for project in projects.every(db):
        if project.name == name:
            return project.id
    return projects.register(
        db,
        now=1.0,
        forge="forgejo",
        full_name=f"bench/{name}",
        clone_url=f"https://git.example/bench/{name}",
        name=name,
    ).id
