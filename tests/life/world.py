"""A Kennel and the world it is in: real store, intake, reconciler, waking and orders.

Two things stand in for what is real. The forge is in memory, since what real ones say is tested
elsewhere. And what is queued is built by `begin_build` and `end_build`, since a real build takes
seconds: they take a build, ask what its ref points to, aim, and record what came of it as
`kennel.build.worker` does, and leave outputs behind as it does; but they run neither git nor Nix.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
import sqlalchemy as sa

from kennel import crashpoint, terms
from kennel.build.aim import aim
from kennel.build.places import Places
from kennel.crashpoint import Place
from kennel.domain import (
    Manifest,
    Outputs,
    Ready,
    Ref,
    Service,
    Site,
    Tenant,
    UnitState,
    Upstream,
)
from kennel.domain.delivery import NewDelivery
from kennel.domain.record import Project
from kennel.errors import Conflict, NotFound, ProviderError
from kennel.intake import Intake
from kennel.orders import Orders
from kennel.plan import Plan
from kennel.reconcile import Providers, Reconciler, Rules, backoff, liveness
from kennel.reconcile.variables import Fingerprint
from kennel.residents import KnownResidents
from kennel.settings import Settings, parse
from kennel.store import Store, builds, inbox, tenants
from kennel.testing.repository import PYTHON
from tests.life.forge import LABEL, Commit, Kind, Letter, MemoryForge, Telegraph
from tests.life.model import (
    AWAKE,
    EXPIRE_AFTER,
    SLEEP_AFTER,
    WAKER,
    Broken,
    Life,
    Model,
    View,
)
from tests.life.providers import JudgedProvisioner, NotedRouter, NotedSupervisor, Troubles

DRAIN = 5.0
ROUNDS = 80
"""How many passes may be needed until nothing is left to do."""
PATIENCE = 30.0
"""Seconds that settling a tenant may take; the real clock's."""
CONFIG = f"""
state_dir = "{{folder}}/state"
run_dir = "{{folder}}/run"
host = "here"
supervisor = "process"
[domains]
ephemeral = "life.localhost"
[services]
drain = {DRAIN}
ports = "{{ports}}"
[environments.preview]
sleep_after = {SLEEP_AFTER}
[previews]
expire_after = {EXPIRE_AFTER}
approval_label = "{LABEL}"
"""


PROGRAM = """
import os, signal, socket, sys
if sys.argv[1] == "fails": sys.exit(3)
while "PORT" not in os.environ: signal.pause()
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    peer = server.accept()[0]
    with peer:
        try:
            asked = peer.recv(65536).decode(errors="replace")
            if asked.startswith("exit"): os._exit(int(asked.split()[1]))
            text = os.environ["CONTENT"]
            head = "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d" % len(text)
            if asked: peer.sendall((head + "\\r\\n\\r\\n" + text).encode())
        except OSError: pass
"""
"""A service: it says what it is made of. In memory a coroutine plays it."""


class Killed(BaseException):
    """Kennel was, here."""


class Clock:
    """The time as Kennel is told it: it passes when it is set. `steady` never goes back."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.steady = 0.0

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.steady += max(seconds, 0.0)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time", lambda: self.now)
        for module in (backoff, liveness):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.steady))


class Scenery(Protocol):
    """What services run on, and how visitors come in.

    `patience`: seconds to get ready. `watched`: whether looking at a host counts as a visit.
    """

    patience: float
    ports: range
    watched: bool
    supervisor: NotedSupervisor
    router: NotedRouter

    async def open(self, settings: Settings, store: Store) -> None: ...

    async def close(self) -> None: ...

    async def crash(self) -> None:
        """Do what the end of Kennel, and its next start, do to it."""

    async def admit(self, residents: KnownResidents) -> None:
        """Have the waker ask them from here on."""

    async def visit(self, host: str) -> bool:
        """Visit a host as a person. Return whether a waker has noted that."""

    async def sees(self, host: str) -> str:
        """Return what somebody gets at a host who wakes nobody."""

    def listens(self, port: int) -> bool:
        """Return whether somebody listens on a port."""

    async def kill(self, unit: str, *, well: bool) -> None:
        """Let a unit end by itself, `well` or not."""


@dataclass(frozen=True, slots=True)
class Building:
    """A build that has begun. `position`: that of its commit among the heads of its ref."""

    project: Project
    life: Life
    commit: Commit


@dataclass
class World:
    """Everything there is. `broken`: promises that were seen to be, and nobody was told yet."""

    folder: Path
    scenery: Scenery
    troubles: Troubles
    clock: Clock = field(default_factory=Clock)
    forge: MemoryForge = field(default_factory=MemoryForge)
    model: Model = field(default_factory=lambda: Model(label=LABEL))
    building: dict[int, Building] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)
    listed: set[Tenant] = field(default_factory=set)
    killed: bool = False
    calm: bool = False
    _monkeypatch: pytest.MonkeyPatch = field(default_factory=pytest.MonkeyPatch)

    # Its beginning and its end.

    async def open(self) -> None:
        self.clock.patch(self._monkeypatch)
        self._monkeypatch.setattr(crashpoint, "os", SimpleNamespace(kill=self._die, getpid=int))
        ports = f"{self.scenery.ports.start}-{self.scenery.ports.stop - 1}"
        self.settings = parse(CONFIG.format(folder=self.folder, ports=ports), source="life")
        for folder in (self.settings.state_dir, self.settings.run_dir):
            folder.mkdir()
        self.places = Places.of(self.settings)
        self.places.prepare()
        self.store = Store(self.settings.database_url)
        await self.store.open()
        await self.scenery.open(self.settings, self.store)
        self.telegraph = Telegraph()
        self.provisioner = JudgedProvisioner(self.model, self.troubles)
        await self._start()

    async def close(self) -> None:
        self.dies_nowhere()
        await self.reconciler.stop()
        await self.scenery.close()
        await self.store.close()
        self._monkeypatch.undo()

    async def _start(self) -> None:
        """Start a Kennel on what there is."""
        policy = terms.policy(self.settings)
        rules = Rules(
            host="here",
            ephemeral=self.settings.domains.ephemeral,
            ports=self.scenery.ports,
            policy=policy,
            settle_time=0.01,
            is_free=lambda port: not self.scenery.listens(port),
        )
        providers = Providers(
            supervisor=self.scenery.supervisor,
            router=self.scenery.router,
            provisioners={self.provisioner.name: self.provisioner},
        )
        key = Fingerprint(self.settings.state_dir / "key")
        self.reconciler = Reconciler(self.store, providers, rules, key)
        self.residents = KnownResidents(self.store, self.reconciler, policy)
        self.orders = Orders(
            settings=self.settings,
            store=self.store,
            reconciler=self.reconciler,
            changed=lambda: None,
        )
        self.intake = Intake.of(
            self.store,
            {self.telegraph.name: self.telegraph},
            allow=("acme/*",),
            changed=lambda: None,
            gone=lambda: None,
            registered=_nothing,
            label=LABEL,
        )
        await self.store.write(builds.recover)
        await self.scenery.admit(self.residents)

    async def crash(self) -> None:
        """End Kennel, wherever it is, and start another one."""
        self.dies_nowhere()
        self.killed = self.calm = False
        self.building.clear()
        if not self.scenery.supervisor.survives:
            for one in self.model.lives.values():
                one.hurt = True
        await self.reconciler.stop()
        await self.scenery.crash()
        await self._start()

    def dies_at(self, place: Place, times: int) -> None:
        """Let Kennel be killed when it comes to a place for so many times."""
        self._monkeypatch.setattr(crashpoint, "_CHOSEN", place)
        self._monkeypatch.setattr(crashpoint, "_left", iter(range(times - 1)))

    def dies_nowhere(self) -> None:
        self._monkeypatch.setattr(crashpoint, "_CHOSEN", "")

    def _die(self, _pid: int, _signal: int) -> None:
        self.killed = True
        raise Killed

    # What comes in.

    async def deliver(self, letter: Letter) -> None:
        """Bring a webhook, for the first time or not."""
        self.calm = False
        again = letter in self.forge.brought
        if letter in self.forge.letters:
            self.forge.letters.remove(letter)
        self.forge.brought.append(letter)
        request = self.telegraph.write(letter.event)
        delivery = NewDelivery(
            forge=self.telegraph.name,
            event="telegram",
            delivery_id=str(letter.number),
            project="",
            headers=request.headers,
            body=request.body,
            received_at=self.clock.now,
        )
        await self.store.write(partial(inbox.add, new=[delivery]))
        position = self.forge.position(letter)
        one = self.model.of(letter.tenant)
        await self._is_decided(one)
        self.model.hears(one, letter.event, again=again, position=position, now=self.clock.now)
        with contextlib.suppress(Killed):
            await self.intake.drain()
        [handled] = await self.store.read(partial(inbox.recent, limit=1))
        if "error" in handled.outcome:
            raise Broken(f"{letter.text}: {handled.outcome}")
        await self.look()

    async def _is_decided(self, one: Life) -> None:
        """Wait while Kennel may be letting go of a ref: news of it come before that, or after."""
        await self.look()
        while one.there and one.may_go and one.tenant in self.reconciler._settling:
            await asyncio.sleep(0)
            await self.look()

    # What is built.

    async def begin_build(self) -> bool:
        """Take the next build, and see to what it is of. Return False if there is none."""
        claimed = await self.store.write(partial(builds.claim, now=self.clock.now))
        if claimed is None:
            return False
        self.calm = False
        build, now = claimed.build, self.clock.now
        one, head = self.model.of(build.tenant), self.forge.head(build.tenant)
        if head is None:
            await self._find_gone(claimed, one)
            return True
        change = partial(aim, build=build, project_id=claimed.project.id, head=head.id, now=now)
        over = await self.store.write(change)
        self.model.fetches(one, head.id, position=len(self.forge.heads[one.tenant]) - 1)
        if over is None:
            self.model.builds(one, head)
            self.building[build.id] = Building(claimed.project, one, head)
        return True

    async def _find_gone(self, claimed: builds.Claimed, one: Life) -> None:
        build, now = claimed.build, self.clock.now

        def change(db: sa.Connection) -> bool:
            cancelled = builds.cancelled(db, build.id, reason="gone", now=now)
            if cancelled:
                tenants.gone(db, project_id=claimed.project.id, ref=build.tenant.ref, now=now)
            return cancelled

        if await self.store.write(change):
            one.leaves()

    async def end_build(self, number: int) -> None:
        """Record what a build gave."""
        self.calm = False
        building, now = self.building.pop(number), self.clock.now
        commit = building.commit
        if commit.kind is Kind.BROKEN:
            done = partial(builds.failed, build_id=number, reason="it does not build", now=now)
        else:
            manifest = self._manifest(commit)
            outputs = self._outputs(number, manifest)
            done = partial(
                builds.built, build_id=number, manifest=manifest, outputs=outputs, now=now
            )
        if await self.store.write(done):
            self.commits[number] = commit
            self.model.built(building.life, commit)

    async def build_all(self) -> bool:
        """Build all that can be. Return whether there was anything."""
        some = False
        while await self.begin_build() or self.building:
            some = True
            for number in sorted(self.building):
                await self.end_build(number)
        return some

    def _manifest(self, commit: Commit) -> Manifest:
        sick = min(commit.services) if commit.kind is Kind.SICK else None
        services = {
            name: Service(
                name=name,
                package=f"{name}-{made_of}",
                args=("-c", PROGRAM, "fails" if name == sick else "serves"),
                environment={"CONTENT": f"{name} {made_of}"},
                ready=Ready(timeout=0.1 if sick else self.scenery.patience),
                port=name != "bot",
            )
            for name, made_of in commit.services.items()
        }
        sites = {} if commit.site is None else {"docs": f"docs-{commit.site}"}
        return Manifest(
            services=services,
            sites={name: Site(name=name, package=package) for name, package in sites.items()},
            resources={self.provisioner.name: {}} if commit.data else {},
        )

    def _outputs(self, number: int, manifest: Manifest) -> Outputs:
        paths = {package: self.folder / "store" / package for package in manifest.packages}
        roots = self.places.roots / str(number)
        roots.mkdir()
        for package, path in paths.items():
            path.mkdir(parents=True, exist_ok=True)
            (path / "index.html").write_text(package.replace("-", " "))
            (roots / package).symlink_to(path)
        return Outputs(
            paths={package: str(path) for package, path in paths.items()},
            programs=dict.fromkeys(manifest.services, str(PYTHON)),
        )

    # Kennel at work.

    async def pass_once(self) -> Plan | None:
        """Run a pass. Return what it is about to do; None if it could not be run."""
        await self.look()
        self.calm = False
        self.model.passes(self.listed, self.clock.now)
        try:
            return await self.reconciler.run_pass()
        except ProviderError:
            return None

    async def goes_on(self, turns: int) -> None:
        """Let what is under way go on for some turns of the loop."""
        for _ in range(turns):
            if self.killed:
                break
            await asyncio.sleep(0)
        await self.look()

    async def ends(self) -> bool:
        """Let all that is under way come to its end. Return whether there was anything."""
        some = False
        async with asyncio.timeout(PATIENCE):
            while self.tasks and not self.killed:
                some = True
                await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        await self.look()
        return some

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        return [settling.task for settling in self.reconciler._settling.values()]

    async def look(self) -> None:
        """See whom Kennel knows, and what it has done. Raises Broken."""
        if self.killed:
            await self.crash()
        records = await self.store.read(tenants.every)
        wanted = {one.tenant: one.wanted for one in records}
        for tenant in sorted(wanted.keys() | self.listed | self.model.lives.keys()):
            self._look_at(self.model.of(tenant), wanted.get(tenant))
        self.listed = set(wanted)
        if self.model.broken:
            raise self.model.broken[0]
        for tenant, why in self.reconciler.troubles.items():
            if "internal error" in why:
                raise Broken(f"{tenant}: {why}")

    def _look_at(self, one: Life, wanted: bool | None) -> None:
        if one.there and not wanted:
            self.model.lets_go(one, self.clock.now)
        if wanted and not one.there:
            raise Broken(f"{one.tenant} is back, and is gone")
        if wanted is None and one.tenant in self.listed:
            self.model.forgets(one)

    async def settle(self) -> None:
        """Let all be well, and everything come to its end. Raises Broken if it does not."""
        self.troubles.end()
        self.dies_nowhere()
        plan: Plan | None = None
        drained = False
        for _ in range(ROUNDS):
            built = await self.build_all()
            plan = await self.pass_once()
            began = await self.ends()
            if built or began or plan is None or await self._moves():
                drained = False
            elif not plan.is_empty:
                self.clock.steady += backoff.LONGEST + 1
            elif drained:
                self.calm = True
                return
            else:
                self.clock.passes(DRAIN + 1)
                drained = True
        raise Broken(f"it never comes to rest: {plan and plan.steps}")

    async def _moves(self) -> bool:
        """Return, after a moment, whether any unit is neither up nor down."""
        states = {one.state for one in (await self.scenery.supervisor.observe()).values()}
        if moves := bool(states - {UnitState.RUNNING, UnitState.FAILED}):
            await asyncio.sleep(0.02)
        return moves

    # What can be seen.

    async def check(self) -> None:
        """Settle, and compare all there is with what should be."""
        await self.settle()
        self.sample()
        seen = await self._views()
        heads = {t: heads for t, heads in self.forge.heads.items() if self.forge.head(t)}
        self.model.compare(seen, self.listed, heads, self.clock.now)
        held = {Tenant(one.project, Ref.parse(one.ref)) for one in await self.orders.removals()}
        certain, possible = (
            self.model.held(self.listed, self.clock.now, sure=sure) for sure in (True, False)
        )
        if not certain <= held <= possible:
            names = [sorted(map(str, group)) for group in (held, certain, possible)]
            raise Broken("held back are {}; should be {}; may be {}".format(*names))

    async def _views(self) -> Mapping[Tenant, View]:
        """Return what there is of each tenant."""
        units: dict[Tenant, list[str]] = {}
        sights: dict[Tenant, set[tuple[str, str]]] = {}
        for name, status in (await self.scenery.supervisor.observe()).items():
            unit = self.scenery.supervisor.units[name]
            text = self.scenery.supervisor.contents[name]
            state = "" if status.state is UnitState.RUNNING else f" {status.state.value}"
            url, now = self.scenery.supervisor.urls[name], self.provisioner.url(unit.key.tenant)
            if url not in {"", now} and not self.model.of(unit.key.tenant).refused:
                state += " that finds its data where it was"
            units.setdefault(unit.key.tenant, []).append(f"{text}{state}")
        for route in self.scenery.router.routes:
            got = {await self.scenery.sees(host) for host in route.hosts}
            one = self.model.of(route.key.tenant)
            if self.scenery.watched and WAKER not in got:
                one.is_visited(sure=one.states(self.clock.now) == {AWAKE})
            seen = {(route.key.name, text) for text in got}
            sights.setdefault(route.key.tenant, set()).update(seen)
        for tenant in (await self.scenery.router.observe()).live.keys() - sights.keys():
            sights[tenant] = {("", "it is routed and has no host")}
        data = self.provisioner.tenants
        return {
            tenant: View(
                tuple(sorted(units.get(tenant, ()))),
                frozenset(sights.get(tenant, ())),
                tenant in data,
            )
            for tenant in units.keys() | sights.keys() | data
        }

    def sample(self) -> None:
        """Raise Broken if a visitor would come to what is not there, or is somebody else's."""
        hosts = [host for route in self.scenery.router.routes for host in route.hosts]
        if len(hosts) != len(set(hosts)):
            raise Broken(f"a host is in two routes: {sorted(hosts)}")
        for route in self.scenery.router.routes:
            target = self.scenery.router.targets.get(route.key.tenant, {}).get(route.key.name)
            one = self.model.of(route.key.tenant)
            if target is None and one.serves(route.key.name):
                raise Broken(f"{route} leads nowhere")
            if not isinstance(target, Upstream) or one.hurt:
                continue
            here = [u for u in self.scenery.supervisor.units.values() if u.port == target.port]
            if not here or here[-1].key != route.key:
                raise Broken(f"{route} leads to {here}")
            if not self.scenery.listens(target.port):
                raise Broken(f"{route} leads to port {target.port}, and nobody listens there")

    # Orders.

    async def order(self, give: Any) -> Any:
        """Give an order. Return what came of it, None if it was refused."""
        self.calm = False
        try:
            return await give
        except (Conflict, NotFound, ProviderError):
            return None
        finally:
            await self.look()  # it may have left while the order was given

    async def is_building(self, tenant: Tenant) -> bool:
        """Return whether anything is queued or building for a tenant."""
        recent = await self.store.read(
            partial(builds.recent, project=tenant.project, ref=tenant.ref, limit=50)
        )
        return any(build.state in builds.UNDER_WAY for build in recent)


async def _nothing() -> None:
    """Do what is to be done when a project is new."""
