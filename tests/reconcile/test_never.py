"""What must never happen to what is deployed, where nothing else shows it. See docs/never.md."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from kennel.domain import Env, Manifest, Ready, Ref, Service, Tenant, Unit
from kennel.errors import Unavailable
from kennel.lifecycle import Terms
from kennel.store import Store, tenants
from kennel.store.releases import can_bind
from kennel.testing.memory_supervisor import Say

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Serving, Town

MAIN, PULL = Ref.branch("main"), Ref.pull_request(42)
SHOP = Tenant("shop", MAIN)
DAY = 86400.0


async def passes(town: "Town", count: int = 4) -> None:
    """Run passes: `settled` would wait for what cannot be settled."""
    for _ in range(count):
        await town.reconciler.run_pass()
        while town.reconciler._settling:
            await asyncio.sleep(0.01)


def environments(town: "Town") -> list[dict[str, str]]:
    """Return what each unit found."""
    units = town.supervisor.host.units.values()
    return [{name: secret.value for name, secret in unit.env.items()} for unit in units]


async def test_a_manifest_never_takes_the_place_of_what_is_provisioned(
    town: "Town", serving: "Serving"
) -> None:
    manifest = serving("api", resources=("memory",))
    await town.built(manifest)
    await town.settle()
    [given] = environments(town)
    own = dict.fromkeys(given, "of the manifest") | {"GREETING": "hello"}
    greedy = replace(manifest.services["api"], environment=own)
    await town.built(replace(manifest, services={"api": greedy}), version=2)
    await town.settle()
    [found] = environments(town)
    assert "MEMORY_URL" in given
    assert found == given | {"GREETING": "hello", "PORT": found["PORT"]}
    assert found["PORT"].isdigit()


def copied(database: Path, to: Path) -> None:
    """Copy a database as backups do."""
    with closing(sqlite3.connect(database)) as here, closing(sqlite3.connect(to)) as there:
        here.backup(there)


async def test_an_older_state_database_removes_nothing(town: "Town", serving: "Serving") -> None:
    manifest = serving("api", resources=("memory",))
    await town.built(manifest)
    await town.settle()
    old = town.folder / "old.db"
    await asyncio.to_thread(copied, town.folder / "kennel.db", old)
    await town.built(manifest, ref=PULL)
    await town.built(manifest, project="blog")
    await town.settle()
    units, live = await town.units(), (await town.router.observe()).live
    here = await town.provisioner.observe()
    assert len(here) == len(units) == len(live) == 3

    newer, town.store = town.store, Store(f"sqlite:///{old}")
    await town.reconciler.stop()
    await town.store.open()
    try:
        town.restarted()
        await town.settle()
        await passes(town)
        assert await town.provisioner.observe() == here
        assert await town.units() == units
        assert (await town.router.observe()).live == live
        await town.built(manifest, ref=Ref.branch("next"))
        await town.settle()
        ports = [unit.unit.port for unit in town.supervisor.host.units.values()]
        assert len(ports) == len(set(ports)) == 4, "what it does not know keeps its port"
    finally:
        await town.reconciler.stop()
        await town.store.close()
        town.store = newer


@pytest.fixture
async def expiring(town: "Town", serving: "Serving") -> "Town":
    """Give a town with a preview that expires after a day, which is over but for a minute."""
    town.terms = Terms(expire_after=DAY)
    town.restarted()
    await town.built(serving("api", site=True), ref=PULL)
    await passes(town)
    await age(town, DAY - 60)
    return town


async def age(town: "Town", seconds: float) -> None:
    """Let a preview be as much older as that."""
    record = await town.store.read(partial(tenants.known, tenant=Tenant("shop", PULL)))
    older = record.active_at - seconds
    await town.store.write(lambda db: tenants.change(db, record.id, active_at=older))


async def test_a_preview_that_is_pushed_to_does_not_expire_by_its_first_push(
    expiring: "Town", serving: "Serving"
) -> None:
    await expiring.built(serving("api", site=True), ref=PULL, version=2)
    await age(expiring, 120)
    await passes(expiring)
    assert len(await expiring.units()) == 1


async def test_a_preview_that_is_visited_does_not_expire(expiring: "Town") -> None:
    expiring.router.visit("shop-docs-pr-42.example.net")
    await passes(expiring)
    await age(expiring, 120)
    await passes(expiring)
    assert len(await expiring.units()) == 1


async def test_one_that_nobody_uses_does(expiring: "Town") -> None:
    await age(expiring, 120)
    await passes(expiring)
    assert await expiring.units() == set()


async def test_a_build_that_nobody_told_of_is_not_left_waiting(
    town: "Town", serving: "Serving", eventually: "Eventually"
) -> None:
    town.reconciler._every = 0.2
    loop = asyncio.create_task(town.reconciler.run())
    try:
        await asyncio.sleep(0.1)
        number = await town.built(serving("api"))

        async def is_live() -> bool:
            return (await town.build(number)).state == "done"

        await eventually(is_live)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_no_path_is_asked_but_the_one_a_service_names(town: "Town") -> None:
    asked: set[str] = set()

    async def particular(unit: Unit, _env: Env, _say: Say) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            path = (await reader.readline()).decode().split()[1]
            asked.add(path)
            status = "200 OK" if path == "/up?deep=1" else "404 Not Found"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()

        async with await asyncio.start_server(serve, unit.address, unit.port):
            await asyncio.sleep(3600)

    town.supervisor._program = particular
    ready = Ready(path="/up?deep=1", timeout=2)
    api = Service(name="api", package="api", ready=ready)
    number = await town.built(Manifest(services={"api": api}))
    await town.settle()
    assert (await town.build(number)).state == "done"
    assert asked == {"/up?deep=1"}


class Stranger:
    """A program that is none of Kennel's and answers on a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += bool(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger")
        writer.close()


async def test_no_service_is_given_a_port_that_another_program_has(
    town: "Town", serving: "Serving"
) -> None:
    first = next(filter(can_bind, town.reconciler._rules.ports))
    async with Stranger(first) as stranger:
        await town.built(serving("api", "web"))
        await town.settle()
        ports = {int(target.rpartition(":")[2]) for target in (await town.live()).values()}
        assert first not in ports
        assert len(ports) == 2
        assert not stranger.heard


async def test_who_answers_on_a_port_is_never_taken_for_its_service(
    town: "Town", serving: "Serving", monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody else begins to listen there after it was chosen."""
    chosen: list[int] = []

    async def away(unit: Unit, _env: Env) -> None:
        chosen.append(unit.port or 0)
        raise Unavailable("no bus")

    number = await town.built(serving("api"))
    with monkeypatch.context() as patch:
        patch.setattr(town.supervisor, "ensure", away)
        await passes(town)
    [port] = chosen
    async with Stranger(port) as stranger:
        town.restarted()
        await passes(town)
        assert (await town.build(number)).state == "built"
        assert await town.live() == {}
        assert await town.units() == set()
        assert f"port {port}" in town.reconciler.troubles[SHOP]
        assert not stranger.heard
    await town.settle()
    assert (await town.build(number)).state == "done"


async def test_nobody_is_sent_to_who_took_the_port_of_a_service_that_sleeps(
    town: "Town", serving: "Serving", eventually: "Eventually"
) -> None:
    town.terms = Terms(sleep_after=60.0)
    town.restarted()
    await town.built(serving("api"), ref=PULL)
    await passes(town)
    port = int((await town.live(PULL))["api"].rpartition(":")[2])
    await age(town, 61)
    await passes(town)
    assert await town.units() == set()
    asleep = (await town.router.observe()).live
    async with Stranger(port):
        await age(town, -61)
        await passes(town)
        assert (await town.router.observe()).live == asleep
        assert f"port {port}" in town.reconciler.troubles[Tenant("shop", PULL)]

    async def is_awake() -> bool:
        await passes(town, 1)
        return (await town.router.observe()).live != asleep

    await eventually(is_awake)
    assert len(await town.units()) == 1
