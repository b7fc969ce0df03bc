"""What Kennel promises: what should be, computed from what has happened, and from nothing else.

    what has happened                       what follows
    -----------------------------------------------------------------------------------------
    news of a ref                           it is there, and needed at this moment
    news that it is gone                    it is not; older news of it change nothing
    its head was built                      that is what it runs, if it gets ready
    it does not get ready                   it goes on with what it ran before
    rolled back                             that is what it runs; what was heard before is over
    nobody needed a preview for a while     it sleeps once that runs: a visit wakes it
     "                          for long    it goes, like one whose ref is gone
    stopped                                 nothing of it runs until it is started
    pinned                                  it neither sleeps nor goes by itself
    its ref is gone                         so are its units, routes, hosts and its data;
     of production                          its data stays until it is purged
     of many at once                        their data stays until somebody says so
    the commit of a fork                    is not built unless somebody approved of it

Kennel does things side by side, and may be killed, or refused by a provider, at any point. So
there can be more than one thing that may be so: the model keeps all of them until it is seen
which one it is. What it does not keep cannot be, and raises Broken.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kennel.domain import (
    Environment,
    Event,
    PullRequestChanged,
    PullRequestClosed,
    RefChanged,
    RefDeleted,
    Tenant,
    environment_of,
)
from tests.life.forge import Commit, Kind

SLEEP_AFTER, EXPIRE_AFTER = 2.5 * 3600, 60.5 * 3600
"""Seconds without use after which a preview sleeps, and goes."""
GRAIN = SLEEP_AFTER / 20
"""A visit that comes so soon after the last one need not be written down."""
A_FEW, SHARE = 3, 4
"""How many may go without a question: so many, or one of so many."""
EVERY = "*"
AWAKE, ASLEEP, STOPPED, OVERDUE = "awake", "asleep", "stopped", "overdue"
WAKER = "the waker"


class Broken(AssertionError):
    """A promise is."""


class View(NamedTuple):
    """What the world has of a tenant: its units, what visitors of each name get, and data."""

    units: tuple[str, ...] = ()
    sights: frozenset[tuple[str, str]] = frozenset()
    data: bool = False


class Left(NamedTuple):
    """That a pull request left: when, at which commit, and whether Kennel let go of it itself."""

    at: float
    commit: str
    by_kennel: bool


@dataclass
class Life:
    """What is known of one tenant.

    `used`: when it was needed last: not before, and not after. `live`: what may be live of it.
    `was_live`: what may have been, and `was_seen`: what was. `asked`: what is to be deployed,
    unless it is sick; `refused`: a provider said no since then, or a unit of it ended.
    `visited`: since the last pass, for sure or maybe; `told`: that pass was to be told of a visit.
    `data`: whether it has any; `may_go`: whether Kennel may have begun to take it away; `doomed`:
    it had, and the ref came back. `knows`: the head at its latest news; `tried`: what was built.
    """

    tenant: Tenant
    there: bool = False
    trusted: bool = True
    head: str = ""
    approved: str = ""
    labelled: bool = False
    heard_at: float | None = None
    left: Left | None = None
    stopped: bool = False
    pinned: bool = False
    confirmed: bool = False
    purged: bool = False
    used: tuple[float, float] = (0.0, 0.0)
    visited: bool | None = None
    told: bool = False
    live: frozenset[Commit | None] = frozenset({None})
    was_live: set[str] = field(default_factory=set)
    was_seen: set[str] = field(default_factory=set)
    asked: Commit | None = None
    refused: bool = False
    data: bool = False
    may_go: bool = False
    doomed: bool = False
    knows: int = -1
    tried: str = ""
    rolled_back: bool = False
    hurt: bool = False

    def __post_init__(self) -> None:
        environment = environment_of(self.tenant.ref)
        self.prod = environment is Environment.PROD
        self.preview = environment is Environment.PREVIEW

    @property
    def is_kept(self) -> bool:
        """Return whether its data stays although its ref is gone."""
        return not self.there and self.prod and not self.purged

    def may_build(self, commit: str) -> bool:
        return self.trusted or self.approved in {commit, EVERY}

    # It comes and goes.

    def arrives(self, *, trusted: bool, head: str, position: int, now: float) -> None:
        """It is there, and needed."""
        if not self.there:
            self.there = True
            self.confirmed = self.purged = self.stopped = self.labelled = False
            self.approved, self.heard_at, self.tried = "", None, ""
            self.doomed, self.may_go = self.doomed or self.may_go, False
            self.rolled_back = False
        self.left = None
        self.trusted, self.head, self.knows = trusted, head, position
        self.used = (now, now)

    def leaves(self, left: Left | None = None) -> None:
        """It is not there any more. Nothing of it is deployed, or will be."""
        self.calls_off()
        self.there, self.left = False, left
        self.live = frozenset({None})
        self.visited = None if self.visited is None else False

    def is_forgotten(self) -> None:
        """Nothing is known of it any more but that it left."""
        self.pinned = self.confirmed = self.purged = self.may_go = self.doomed = False

    # What it runs.

    def asks(self, commit: Commit) -> None:
        """It is to run a commit. What it was to run before may have come to that, or not."""
        self.calls_off()
        self.asked, self.refused = commit, False

    def calls_off(self) -> None:
        if self.asked is not None and self.asked.kind is Kind.GOOD:
            self._may_run({self.asked})
        self.asked = None

    def _may_run(self, commits: Collection[Commit | None]) -> None:
        self.live |= frozenset(commits)
        self.was_live |= {one.id for one in commits if one is not None}

    def due(self, state: str) -> frozenset[Commit | None]:
        """Return what it may run when all is settled."""
        if self.asked is None or self.asked.kind is not Kind.GOOD:
            return self.live
        if state in {AWAKE, ASLEEP} and not self.refused:
            return frozenset({self.asked})
        return self.live | {self.asked}

    def serves(self, name: str) -> bool:
        """Return whether it has a service or site for certain, whatever becomes of `asked`."""
        may_run = self.live | ({self.asked} if self.asked else set())
        return all(one is not None and name in one.names for one in may_run)

    # When it was needed.

    def states(self, now: float) -> frozenset[str]:
        """Return what may be due to it by the clock."""
        shortest, longest = now - self.used[1], now - self.used[0]
        idles = {shortest, longest}
        idles |= {limit for limit in (SLEEP_AFTER, EXPIRE_AFTER) if shortest <= limit <= longest}
        return frozenset(self._state(idle) for idle in idles)

    def _state(self, idle: float) -> str:
        ages = self.preview and not self.pinned
        if ages and idle >= EXPIRE_AFTER:
            return OVERDUE
        if self.stopped:
            return STOPPED
        return ASLEEP if ages and idle >= SLEEP_AFTER else AWAKE

    def is_used(self, now: float) -> None:
        """It is needed, and that is written down."""
        self.used = (now, now)

    def is_visited(self, *, sure: bool) -> None:
        """Somebody visits it. The next pass notes that if it is awake: it may be, or is `sure`."""
        self.visited = sure or bool(self.visited)

    def is_noted_as_visited(self, now: float) -> None:
        self.told = self.visited is not None
        if self.visited is not None and self.there:
            noted = (now - GRAIN, now + GRAIN)
            earliest, latest = noted if self.visited else self.used
            self.used = (min(earliest, noted[0]), max(latest, noted[1]))
        self.visited = None

    def goes(self, now: float, *, sure: bool) -> bool:
        """Return whether its data would go by what is known now."""
        if not self.there:
            return not self.is_kept
        states = self.states(now)
        return states == {OVERDUE} if sure else OVERDUE in states

    def is_seen_as(self, states: Collection[str], now: float) -> None:
        """Learn from what is seen of it when it was needed."""
        earliest, latest = self.used
        if set(states) == {AWAKE} and not self.pinned and self.preview:
            earliest = min(max(earliest, now - SLEEP_AFTER), latest)
        elif set(states) == {ASLEEP}:
            latest = max(min(latest, now - SLEEP_AFTER), earliest)
        self.used = (earliest, latest)


@dataclass
class Model:
    """All tenants. `broken`: promises that were broken where nobody could be told."""

    lives: dict[Tenant, Life] = field(default_factory=dict)
    label: str = ""
    broken: list[Broken] = field(default_factory=list)
    listed: Collection[Tenant] = ()
    now: float = 0.0

    def of(self, tenant: Tenant) -> Life:
        return self.lives.setdefault(tenant, Life(tenant))

    # News from the forge.

    def hears(self, one: Life, event: Event, *, again: bool, position: int, now: float) -> None:
        """A delivery was handled. `again`: it came in before. `position`: of the head
        that it tells of among all that the ref has had."""
        if isinstance(event, RefChanged):
            one.rolled_back = one.rolled_back and again
            one.arrives(trusted=True, head=event.commit, position=position, now=now)
        elif isinstance(event, RefDeleted):
            if not again:
                one.leaves()
        elif isinstance(event, PullRequestChanged):
            self._hears_of_pull(one, event, again=again, position=position, now=now)
        elif isinstance(event, PullRequestClosed) and not again:
            self._hears_of_end(one, event)

    def _hears_of_pull(
        self, one: Life, event: PullRequestChanged, *, again: bool, position: int, now: float
    ) -> None:
        assert event.updated_at is not None
        if self._is_late(one, event.updated_at) or self._is_before_the_end(one, event):
            return
        before = one.labelled if one.there else None
        is_new = not one.there and one.left is None
        if event.relabelled and event.trusted:
            if one.there:
                one.heard_at, one.labelled = event.updated_at, self.label in event.labels
            return
        one.rolled_back = one.rolled_back and again
        one.arrives(trusted=event.trusted, head=event.commit, position=position, now=now)
        one.heard_at, one.labelled = event.updated_at, self.label in event.labels
        if event.trusted or one.approved == EVERY:
            return
        if self._approves(event, before=before, is_new=is_new):
            one.approved = event.commit
        elif before and not one.labelled:
            self.withdrawn(one)

    def _approves(self, event: PullRequestChanged, *, before: bool | None, is_new: bool) -> bool:
        """Return whether a label was set, as far as can be told: who opens it may set none."""
        if self.label not in event.labels or not (event.opened or event.relabelled):
            return False
        if event.opened:
            return is_new
        return self.label in event.added if event.added is not None else before is False

    def _hears_of_end(self, one: Life, event: PullRequestClosed) -> None:
        assert event.updated_at is not None
        if self._is_late(one, event.updated_at):
            return
        if one.left and not one.left.by_kennel and event.updated_at <= one.left.at:
            return
        one.leaves(Left(event.updated_at, "", by_kennel=False))

    def _is_late(self, one: Life, updated_at: float) -> bool:
        return one.there and one.heard_at is not None and updated_at < one.heard_at

    def _is_before_the_end(self, one: Life, event: PullRequestChanged) -> bool:
        if one.left is None or (one.left.by_kennel and event.commit != one.left.commit):
            return False
        at = event.updated_at or 0.0
        return at < one.left.at or (at == one.left.at and not event.reopened)

    # Builds.

    def fetches(self, one: Life, head: str, *, position: int) -> None:
        """The head of a ref was fetched, in order to build it."""
        one.head, one.knows = head, position

    def builds(self, one: Life, commit: Commit) -> None:
        """A build of a commit begins."""
        if not one.there:
            raise Broken(f"{commit} of {one.tenant} is built, which is gone")
        if not one.may_build(commit.id):
            raise Broken(f"{commit} of {one.tenant} is built, and nobody approved of it")
        if one.rolled_back:
            raise Broken(f"{commit} of {one.tenant} is built, which was rolled back")

    def built(self, one: Life, commit: Commit) -> None:
        """A build has come to its end, and was not called off before."""
        one.tried = commit.id
        one.was_seen.discard(commit.id)
        if commit.kind is not Kind.BROKEN:
            one.asks(commit)

    # Orders.

    def rolls_back(self, one: Life, commit: Commit, *, under_way: bool) -> None:
        """An earlier build is to be live again. `under_way`: another one is being built."""
        if commit.id not in one.was_live | {c.id for c in one.due(AWAKE) if c}:
            raise Broken(f"{commit} of {one.tenant} is brought back, and was never live")
        called_off = one.asked is not None and one.asked.id == one.tried and not one.refused
        over = one.rolled_back or one.tried in one.was_seen or called_off
        one.rolled_back = over and not under_way
        one.asks(commit)

    def approved(self, one: Life, commit: str) -> None:
        one.approved, one.rolled_back = commit, False

    def withdrawn(self, one: Life) -> None:
        one.approved = ""
        one.calls_off()

    # What Kennel decides by itself.

    def passes(self, listed: Collection[Tenant], now: float) -> None:
        """A pass is about to begin: what it may take away from here on. `listed`: known to it."""
        self.listed, self.now = listed, now
        for one in self.lives.values():
            one.is_noted_as_visited(now)
        self._may_go()

    def _may_go(self) -> None:
        held = self.held(self.listed, self.now)
        for one in map(self.of, self.listed):
            if one.goes(self.now, sure=False) and one.tenant not in held:
                one.may_go = True

    def sees_no_visits(self) -> None:
        """A pass cannot tell who is visited: it may take all for visited, and the next is told."""
        for one in self.lives.values():
            told = one.told
            one.is_visited(sure=False)
            one.is_noted_as_visited(self.now)
            one.visited = False if told else None
        self._may_go()

    def lets_go(self, one: Life, now: float) -> None:
        """Kennel lets go of a ref that is there."""
        if not one.may_go or OVERDUE not in one.states(now):
            raise Broken(f"{one.tenant} was let go of, and was needed")
        one.may_go = False
        one.leaves(Left(now, one.head, by_kennel=True))

    def forgets(self, one: Life) -> None:
        """Kennel does not know of a ref any more."""
        if one.there or (one.data and not one.may_go):
            raise Broken(f"{one.tenant} was forgotten")
        one.is_forgotten()

    def ensures(self, one: Life) -> None:
        """A tenant is given its data."""
        one.data, one.doomed = True, False

    def loses(self, one: Life) -> None:
        """The data of a tenant is lost: it is given it again, if what is live of it asks for it."""
        one.data = False

    def removes(self, one: Life, *, there: bool) -> None:
        """The data of a tenant is about to be removed, if it is `there`."""
        if not there:
            return
        if one.there and not one.doomed:
            raise Broken(f"the data of {one.tenant} is removed, which is there")
        if one.is_kept:
            raise Broken(f"the data of {one.tenant} is removed, which is production")
        if not one.there and not one.may_go:
            raise Broken(f"the data of {one.tenant} is removed, and nobody said so")
        one.data = False

    # What should be.

    def held(self, listed: Collection[Tenant], now: float, *, sure: bool = True) -> set[Tenant]:
        """Return who stays although it would go: there are too many, and nobody ordered it.

        `listed`: whom Kennel knows; those that it may be taking away just now may be off the list
        before it counts. `sure`: only those that stay for certain.
        """
        ones = [one for one in map(self.of, listed) if not one.confirmed]
        leaving = {one.tenant for one in ones if one.goes(now, sure=sure)}
        ending = {one.tenant for one in map(self.of, listed) if not one.there and one.may_go}
        count = len(leaving - ending) if sure else len(leaving)
        of = len(listed) if sure else len(listed) - len(ending)
        return leaving if count > A_FEW and count * SHARE > of else set()

    def compare(
        self,
        seen: Mapping[Tenant, View],
        listed: Collection[Tenant],
        heads: Mapping[Tenant, Sequence[Commit]],
        now: float,
    ) -> None:
        """Compare all that there is with what should be, once all is settled. Raises Broken."""
        held = {sure: self.held(listed, now, sure=sure) for sure in (True, False)}
        for tenant in sorted(seen.keys() | self.lives.keys()):
            stays = {sure: tenant in found for sure, found in held.items()}
            self._compare(self.of(tenant), seen.get(tenant, View()), stays, now)
        for one in self.lives.values():
            self._is_built(one, heads.get(one.tenant, ()))
            one.hurt = False

    def _compare(self, one: Life, seen: View, stays: Mapping[bool, bool], now: float) -> None:
        should = list(self._views(one, stays, now))
        fitting = [(state, commit) for state, commit, view in should if view == seen]
        if not fitting:
            texts = "\n".join(sorted({f"  {state}: {view}" for state, _, view in should}))
            raise Broken(f"{one.tenant} has\n  {seen}\nand should have one of\n{texts}")
        if not one.there:
            one.may_go = False  # or it would have come to its end
            return
        one._may_run({commit for _, commit in fitting})
        one.live = frozenset(commit for _, commit in fitting)
        if len(one.live) == 1:
            one.was_seen |= {commit.id for commit in one.live if commit}
        states = {state for state, _ in fitting}
        if states <= {AWAKE, ASLEEP}:
            one.asked = None
        one.is_seen_as(states, now)

    def _views(
        self, one: Life, stays: Mapping[bool, bool], now: float
    ) -> Iterator[tuple[str, Commit | None, View]]:
        """Yield what there may be of a tenant. `stays`: whether it is held, for sure and maybe."""
        if not one.there:
            for held in stays.values():
                yield "gone", None, View(data=one.data and (held or one.is_kept))
            return
        states = one.states(now)
        if OVERDUE in states and any(stays.values()):  # then it goes on like others
            states |= {STOPPED if one.stopped else ASLEEP}
        for state in states - {OVERDUE}:
            for commit in one.due(state):
                again = state == AWAKE and commit is not None and commit.data
                yield state, commit, view(commit, awake=state == AWAKE, data=one.data or again)

    def _is_built(self, one: Life, heads: Sequence[Commit]) -> None:
        """Raise Broken if a head that Kennel has heard of was not built. `heads`: all it had."""
        if not one.there or not heads or one.knows < len(heads) - 1:
            return
        head = heads[-1]
        may_be = one.trusted or (one.head == head.id and one.may_build(head.id))
        if may_be and one.tried != head.id:
            raise Broken(f"{head} of {one.tenant} was never built")


def view(commit: Commit | None, *, awake: bool, data: bool) -> View:
    """Return what there is of a tenant that runs a commit, or would if it were awake."""
    if commit is None:
        return View(data=data)
    runs = {name: f"{name} {made_of}" for name, made_of in commit.services.items()}
    sights = {(name, text if awake else WAKER) for name, text in runs.items() if name != "bot"}
    sights |= set() if commit.site is None else {("docs", f"docs {commit.site}")}
    return View(tuple(sorted(runs.values())) if awake else (), frozenset(sights), data)
