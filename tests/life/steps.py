"""What can happen, step by step. Each step is drawn from what is possible at the moment."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, get_args

from kennel import views
from kennel.crashpoint import Place
from kennel.domain import Ref, Tenant, UnitState
from kennel.errors import Rejected, Unavailable
from tests.life.forge import LABEL, Commit, Kind, Letter
from tests.life.model import AWAKE, EVERY, Life
from tests.life.world import World

T = TypeVar("T")
HOUR = 3600.0
PROJECTS = ("shop", "shop-web")
BRANCHES = ("main", "dev", "feature/x", "feature-x", "pr-1")
PULLS = (1, 2, 3)
PLACES = tuple(
    place
    for place in get_args(Place)
    if not place.startswith(("delivery-stored", "build", "commit", "manifest", "packages", "name"))
)


class Draw(Protocol):
    """Chooses: at random, or so as to make an example small."""

    def __call__(self, options: Sequence[T]) -> T: ...


class Steps:
    """The steps, and the `story` of those that were taken."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.forge = world.forge
        self.model = world.model
        self.story: list[str] = []
        self._commits = 0

    def _tell(self, text: str) -> None:
        self.story.append(text)

    # At the forge.

    async def push(self, draw: Draw) -> None:
        """Somebody pushes something new to a branch, or to a pull request that is open."""
        tenant = draw([*self._branches(), *self._pulls(is_open=True)])
        await self._sent(draw, self.forge.push(tenant, self._commit(draw)))

    async def push_back(self, draw: Draw) -> None:
        """Somebody forces a ref back to what it was."""
        there = [*self.forge.branches, *self._pulls(is_open=True)]
        if tenants := sorted(t for t in there if len(self.forge.heads[t]) > 1):
            tenant = draw(tenants)
            await self._sent(draw, self.forge.push(tenant, draw(self.forge.heads[tenant][-3:-1])))

    async def delete(self, draw: Draw) -> None:
        if self.forge.branches:
            await self._sent(draw, self.forge.delete(draw(sorted(self.forge.branches))))

    async def open(self, draw: Draw) -> None:
        tenant = draw([Tenant(p, Ref.pull_request(n)) for p in PROJECTS for n in PULLS])
        if tenant in self.forge.pulls:
            await self.push(draw)
            return
        fork = draw([False, True])
        await self._sent(draw, self.forge.open(tenant, self._commit(draw), fork=fork))

    async def close(self, draw: Draw) -> None:
        if tenants := self._pulls(is_open=True):
            await self._sent(draw, self.forge.close(draw(tenants)))

    async def reopen(self, draw: Draw) -> None:
        if tenants := self._pulls(is_open=False):
            await self._sent(draw, self.forge.reopen(draw(tenants)))

    async def label(self, draw: Draw) -> None:
        """Somebody sets the label that approves, or takes it off; or another one."""
        if tenants := self._pulls(is_open=True):
            tenant = draw(tenants)
            labels = draw([frozenset({LABEL}), frozenset[str](), frozenset({LABEL, "bug"})])
            says_which = draw([True, False])
            await self._sent(draw, self.forge.label(tenant, labels, says_which=says_which))

    async def late(self, draw: Draw) -> None:
        """Something comes in that was held up, in whatever order."""
        if self.forge.letters:
            await self._brought(draw(self.forge.letters))
            await self._then(draw)

    async def replay(self, draw: Draw) -> None:
        """Something comes in that came in before."""
        if self.forge.brought:
            await self._brought(draw(self.forge.brought[-6:]))
            await self._then(draw)

    def _branches(self) -> Sequence[Tenant]:
        return [Tenant(p, Ref.branch(name)) for p in PROJECTS for name in BRANCHES]

    def _pulls(self, *, is_open: bool) -> list[Tenant]:
        return sorted(t for t, pull in self.forge.pulls.items() if pull.is_open is is_open)

    def _commit(self, draw: Draw) -> Commit:
        self._commits += 1
        names = draw([("api",), ("api", "web"), (), ("api", "bot"), ("web",)])
        services = {name: draw([1, 2, 3]) for name in names}
        return Commit(
            id=f"{self._commits:040x}",
            services=services,
            site=draw([None, 1, 2] if names else [1, 2]),
            data=draw([True, False]),
            kind=draw([Kind.GOOD] * 6 + [Kind.SICK] * bool(names) + [Kind.BROKEN]),
        )

    async def _sent(self, draw: Draw, letter: Letter) -> None:
        """Bring a webhook, or let it be held up."""
        self.forge.clock += draw([1, 0, 5])
        if draw([False, False, False, True]):
            self._tell(f"{letter.text}, held up ({self._head(letter.tenant)})")
            return
        await self._brought(letter)
        await self._then(draw)

    async def _brought(self, letter: Letter) -> None:
        again = " again" if letter in self.forge.brought else ""
        self._tell(f"{letter.text} comes in{again} ({self._head(letter.tenant)})")
        await self.world.deliver(letter)

    def _head(self, tenant: Tenant) -> str:
        return f"head: {self.forge.head(tenant) or 'none'}"

    # Kennel at work.

    async def work(self, draw: Draw) -> None:
        """Some time passes in which Kennel works."""
        await self._then(draw)

    async def _then(self, draw: Draw) -> None:
        """Let Kennel go on for a while, or until all is settled."""
        how = draw(["check", "nothing", "pass", "begin", "build and pass"])
        if how != "nothing":
            self._tell(f"  {how}")
        if how == "check":
            await self.world.check()
        elif how == "pass":
            await self._pass(draw)
        elif how == "begin":
            await self.world.begin_build()
        elif how == "build and pass":
            await self.world.build_all()
            await self._pass(draw)
        self.world.sample()

    async def _pass(self, draw: Draw) -> None:
        await self.world.pass_once()
        turns = draw([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
        self._tell(f"  {turns} turns")
        await self.world.goes_on(turns)

    # The clock.

    async def clock(self, draw: Draw) -> None:
        """The clock goes on, or back."""
        seconds = HOUR * draw([1, 3, 24, 72, -1, -24])
        self._tell(f"the clock goes {seconds / HOUR:g} h")
        self.world.clock.passes(seconds)
        await self._then(draw)

    # Visitors.

    async def visit(self, draw: Draw) -> None:
        hosts = sorted(h for route in self.world.scenery.router.routes for h in route.hosts)
        if not hosts:
            return
        host, calm = draw(hosts), self.world.calm
        [tenant] = [r.key.tenant for r in self.world.scenery.router.routes if host in r.hosts]
        one = self.model.of(tenant)
        woken = await self.world.scenery.visit(host)
        self._tell(f"somebody visits {host}{' and wakes it' if woken else ''}")
        if woken:
            one.is_used(self.world.clock.now)
        else:
            one.is_visited(sure=calm and one.states(self.world.clock.now) == {AWAKE})
        self.world.calm = False
        await self._then(draw)

    # What goes wrong.

    async def crash(self, draw: Draw) -> None:
        """Kennel is killed, here and now."""
        self._tell("Kennel is killed")
        await self.world.crash()
        await self._then(draw)

    async def crash_at(self, draw: Draw) -> None:
        """Kennel is killed the next time it comes to a place."""
        place, times = draw(PLACES), draw([1, 2, 3])
        self._tell(f"Kennel will be killed at {place}:{times}")
        self.world.dies_at(place, times)
        if draw([True, False]):
            await self.world.build_all()
        await self._pass(draw)
        await self.world.ends()
        self.world.dies_nowhere()
        self.world.sample()

    async def trouble(self, draw: Draw) -> None:
        """A provider cannot be reached, or refuses, for some calls."""
        kind = draw(["provisioner", "supervisor", "router"])
        error = draw([Unavailable, Rejected])(f"{kind}: not now")
        calls = draw([1, 2, 3, 5, 1000])
        self._tell(f"{kind}: {calls} calls fail: {type(error).__name__}")
        self.world.troubles.begin(kind, error, calls)
        await self._then(draw)

    async def loss(self, draw: Draw) -> None:
        """Somebody drops the data of a ref on the server."""
        pulls = [Tenant(p, Ref.pull_request(n)) for p in PROJECTS for n in PULLS]
        tenant = draw([*self._branches(), *pulls])
        if tenant in self.world.provisioner.tenants:
            self._tell(f"the data of {tenant} is lost")
            self.world.provisioner.lose(tenant)
            self.world.calm = False
        await self._then(draw)

    async def death(self, draw: Draw) -> None:
        """A service ends by itself."""
        found = await self.world.scenery.supervisor.inner.observe()
        if running := sorted(u for u, status in found.items() if status.state is UnitState.RUNNING):
            unit, well = draw(running), draw([True, False])
            self._tell(f"{unit} ends, {'well' if well else 'badly'}")
            one = self.model.of(self.world.scenery.supervisor.units[unit].key.tenant)
            one.hurt = one.refused = True
            self.world.calm = False
            await self.world.scenery.kill(unit, well=well)
            await self._then(draw)

    # Orders.

    async def stop(self, draw: Draw) -> None:
        if one := self._one_that_is_there(draw, "stop"):
            if await self._order(one, self.world.orders.stop) and one.there:
                one.stopped = True
            await self._then(draw)

    async def start(self, draw: Draw) -> None:
        if one := self._one_that_is_there(draw, "start"):
            if await self._order(one, self.world.orders.start) and one.there:
                one.stopped = False
                one.is_used(self.world.clock.now)
            await self._then(draw)

    async def pin(self, draw: Draw) -> None:
        pinned = draw([True, False])
        if one := self._one_that_is_there(draw, f"pin {pinned}"):
            project, ref = one.tenant.project, str(one.tenant.ref)
            order = views.PinOrder(project=project, ref=ref, pinned=pinned)
            await self.world.order(self.world.orders.pin(order))
            one.pinned = pinned
            one.is_used(self.world.clock.now)
            await self._then(draw)

    async def restart(self, draw: Draw) -> None:
        if one := self._one_that_is_there(draw, "restart"):
            await self._again(one, self.world.orders.restart)
            await self._then(draw)

    async def redeploy(self, draw: Draw) -> None:
        if one := self._one_that_is_there(draw, "redeploy"):
            await self._again(one, self.world.orders.redeploy)
            await self._then(draw)

    async def rollback(self, draw: Draw) -> None:
        if one := self._one_that_is_there(draw, "roll back"):
            under_way = await self.world.is_building(one.tenant)
            order = views.RollbackOrder(project=one.tenant.project, ref=str(one.tenant.ref))
            number = await self.world.order(self.world.orders.rollback(order))
            self._tell(f"  to build {number}")
            if number is not None and one.there:
                commit = self.world.commits[number]
                self.model.rolls_back(one, commit, under_way=under_way)
                one.is_used(self.world.clock.now)
            await self._then(draw)

    async def approve(self, draw: Draw) -> None:
        one = self._one_that_is_there(draw, "approve", untrusted=True)
        if one is None:
            return
        every, withdraw = draw([(False, False), (True, False), (False, True)])
        self._tell(f"  every: {every}, withdraw: {withdraw}")
        order = views.ApproveOrder(**_named(one), every=every, withdraw=withdraw)
        done = await self.world.order(self.world.orders.approve(order))
        if done is None or not one.there:
            return
        if withdraw:
            self.model.withdrawn(one)
        else:
            self.model.approved(one, EVERY if every else one.head)
            one.is_used(self.world.clock.now)
        await self._then(draw)

    async def purge(self, draw: Draw) -> None:
        left = [o for o in self.model.lives.values() if not o.there]
        gone = [o for o in left if o.tenant in self.world.listed]
        if gone:
            one = draw(sorted(gone, key=lambda o: o.tenant))
            self._tell(f"purge {one.tenant}")
            if await self._order(one, self.world.orders.purge):
                one.purged = one.confirmed = True
            await self._then(draw)

    async def allow(self, draw: Draw) -> None:
        """Somebody lets everything go that is held back."""
        allowed = await self.world.order(self.world.orders.allow_removals()) or []
        self._tell(f"{[f'{one.project}/{one.ref}' for one in allowed]} may go")
        for one in allowed:
            self.model.of(Tenant(one.project, Ref.parse(one.ref))).confirmed = True
        await self._then(draw)

    def _one_that_is_there(self, draw: Draw, what: str, *, untrusted: bool = False) -> Life | None:
        lives = self.model.lives.values()
        there = [o for o in lives if o.there and (not untrusted or not o.trusted)]
        if not there:
            return None
        one = draw(sorted(there, key=lambda o: o.tenant))
        self._tell(f"{what} {one.tenant}")
        return one

    async def _order(self, one: Life, order: Callable[[views.Order], object]) -> bool:
        return await self.world.order(order(views.Order(**_named(one)))) is not None

    async def _again(self, one: Life, order: Callable[[views.Order], object]) -> None:
        number = await self.world.order(order(views.Order(**_named(one))))
        self._tell(f"  of build {number}")
        if number is not None and one.there:
            one.asks(self.world.commits[number])
            one.is_used(self.world.clock.now)


def _named(one: Life) -> dict[str, str]:
    return {"project": one.tenant.project, "ref": str(one.tenant.ref)}


STEPS = {
    "push": 6,
    "push_back": 1,
    "delete": 2,
    "open": 4,
    "close": 2,
    "reopen": 2,
    "label": 2,
    "late": 3,
    "replay": 2,
    "work": 2,
    "clock": 4,
    "visit": 3,
    "crash": 1,
    "crash_at": 3,
    "trouble": 3,
    "loss": 2,
    "death": 2,
    "stop": 1,
    "start": 2,
    "pin": 1,
    "restart": 1,
    "redeploy": 1,
    "rollback": 2,
    "approve": 2,
    "purge": 1,
    "allow": 1,
}
"""Every step, and how often it is taken where that is random."""
