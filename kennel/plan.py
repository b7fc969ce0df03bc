"""Work out what a pass has to do. Pure: values in, values out.

should be                 is                        steps
---------------------------------------------------------------------------------
a build that is built     -                         deploy it
unit a is live            no unit a                 start a
unit a is live            unit a                    (none)
unit a is live            unit a, and it hangs      stop a, then start it
a resource of what is live  it is lacking           provide it
what is live finds it     it is reached otherwise   renew: deploy what is live once more
requests go to a          they go elsewhere         switch
nobody needs unit a       requests go to a          sleep: they go to the waker
it sleeps                 unit a, drained           rest: stop a, and keep its port
somebody needs unit a     it sleeps                 start a, switch, wake
unit b is retired         unit b, drained           stop b
unit b is retired         unit b does not listen    stop b: there is nothing to drain
unit c of no build        unit c, or none           stop c
unit d is being deployed  nobody needs it by now    stop d; but let what runs once end
no service, no site       requests go somewhere     close
nobody needed it long     -                         expire: from here on its ref is gone
a ref that is gone        anything                  evict: all of it, then forget the ref
many refs are gone        anything                  stop, close, and ask before anything goes
-                         unit, folder, database    (none): the store never heard of it
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kennel import budget
from kennel.budget import Guest, Seating
from kennel.domain import (
    Environment,
    Key,
    Limits,
    Route,
    Service,
    Socket,
    Target,
    Tenant,
    UnitState,
    UnitStatus,
)
from kennel.domain.record import Build, TenantRecord
from kennel.domain.route import digest_of
from kennel.lifecycle import RESTING, Fate, Terms, fate_of, next_change

A_FEW = 3
SHARE = 4
"""More tenants than a few, and than one of so many, do not go in a pass unless it is ordered."""
RELEASE, SEED = "release", "seed"
"""What the runs of a build's commands are called among the generations of its tenant."""
SOON = 5.0
"""Seconds until it is looked again whether there is room for who waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One incarnation of a service.

    `port`: None for what does not listen. `retired_at`: since when nothing is sent to it: it was
    replaced, or its tenant sleeps.
    """

    id: int
    key: Key
    build: int
    unit: str
    port: int | None
    digest: str
    command: tuple[str, ...]
    service: Service
    retired_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What should be live for a key. A site has no generation, what does not listen no target."""

    key: Key
    build: int
    target: Target | None
    generation: Generation | None
    spa: bool = False
    commit: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """A resource that a tenant may have.

    `given`: the digest of how it is reached, "" where it is to be made again. `served`: of how
    what is live reaches it.
    """

    resource: str
    given: str = ""
    served: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What should be of one tenant, as the store has it.

    `next`: the build that waits to be deployed. `hosts`: those of each service and site, the one
    that people are told last. `redirects`: hosts that lead there.
    `resources`: what the live manifest lists. `provisions`: what there may be, listed or not.
    """

    record: TenantRecord
    next: Build | None = None
    live: tuple[Deployed, ...] = ()
    generations: tuple[Generation, ...] = ()
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    redirects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resources: frozenset[str] = frozenset()
    provisions: tuple[Provision, ...] = ()

    @property
    def provided(self) -> Mapping[str, Provision]:
        """Return what is recorded of each resource that the live manifest lists."""
        recorded = {one.resource: one for one in self.provisions}
        return {name: recorded.get(name, Provision(resource=name)) for name in self.resources}

    @property
    def targets(self) -> Mapping[str, Target]:
        """Return where requests go when all of it runs."""
        return {one.key.name: one.target for one in self.live if one.target is not None}

    def targets_at_rest(self, waker: Target) -> Mapping[str, Target]:
        """Return where requests go while its services are stopped: sites need none of them."""
        services = {one.key.name for one in self.live if one.generation}
        return {name: waker if name in services else to for name, to in self.targets.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What is. `routes`: the table in force, None when it is not the one that was published.

    `ailing`: units that run and do not answer as they should, with what is wrong. `hung`: those
    among them that only a new start can help. `lacking`: resources that are not there, or not
    whole.
    """

    units: Mapping[str, UnitStatus] = field(default_factory=dict)
    ailing: Mapping[str, str] = field(default_factory=dict)
    hung: frozenset[str] = frozenset()
    live: Mapping[Tenant, str] = field(default_factory=dict)
    routes: frozenset[Route] | None = frozenset()
    lacking: Mapping[Tenant, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What one tenant needs, in this order. `hung`: those of `start` that are stopped first."""

    expire: bool = False
    provide: tuple[str, ...] = ()
    renew: bool = False
    deploy: Build | None = None
    start: tuple[Generation, ...] = ()
    hung: tuple[Generation, ...] = ()
    switch: bool = False
    wake: bool = False
    sleep: bool = False
    close: bool = False
    rest: tuple[Generation, ...] = ()
    stop: tuple[Generation, ...] = ()
    evict: bool = False


def _no_terms(_: Tenant) -> Terms:
    return Terms()


def _no_limits(_: Tenant) -> Limits:
    return Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator decided, as far as a plan depends on it.

    `drain`: seconds a retired unit goes on. `waker`: where requests go that wake who sleeps.
    `terms_of`: when a tenant sleeps and expires. `limits_of`: what each of its services may use.
    `previews_memory_max`: bytes for all previews together; None: no limit.
    """

    drain: float
    waker: Target = Socket(path="/run/kennel/wake.sock")  # noqa: RUF009  frozen
    terms_of: Callable[[Tenant], Terms] = _no_terms
    limits_of: Callable[[Tenant], Limits] = _no_limits
    previews_memory_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of every tenant that needs any, the table of routes, and when to look again.

    `publish`: whether the table has to be written. `again_in`: seconds until something is due
    that no event will announce; None: nothing is. `fates`: of every tenant. `held`: those that
    would go, with too many others: somebody has to say so. `waiting`: those there is no room for.
    """

    steps: Mapping[Tenant, Steps]
    routes: frozenset[Route]
    publish: bool
    again_in: float | None = None
    fates: Mapping[Tenant, Fate] = field(default_factory=dict)
    held: frozenset[Tenant] = frozenset()
    waiting: frozenset[Tenant] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not self.steps and not self.publish


def make_plan(wanted: Iterable[Wanted], actual: Actual, policy: Policy, *, now: float) -> Plan:
    """Return what has to be done."""
    tenants = list(wanted)
    fates = {one.record.tenant: _fate(one, policy, now=now) for one in tenants}
    held = held_back(tenants, fates)
    overdue = [one for one in tenants if one.record.wanted and one.record.tenant in held]
    fates |= {one.record.tenant: _fate(one, policy, now=now, expires=False) for one in overdue}
    seating = seat(tenants, fates, actual, policy, now=now)
    asleep = seating.sleep | {
        one.record.tenant for one in tenants if one.live and one.record.tenant in seating.wait
    }
    fates |= dict.fromkeys(asleep, Fate.ASLEEP)
    steps = {
        one.record.tenant: steps_for(
            one,
            actual,
            fates[one.record.tenant],
            policy,
            now=now,
            held=one.record.tenant in held,
            waits=one.record.tenant in seating.wait,
        )
        for one in tenants
    }
    routes = frozenset(route for one in tenants for route in routes_of(one))
    return Plan(
        steps={tenant: needed for tenant, needed in steps.items() if needed != Steps()},
        routes=routes,
        publish=actual.routes != routes,
        again_in=_again_in(tenants, policy, seating, now=now),
        fates=fates,
        held=held,
        waiting=seating.wait,
    )


def _fate(wanted: Wanted, policy: Policy, *, now: float, expires: bool = True) -> Fate:
    """Return a tenant's fate. One that would sleep is shown first that what was built runs."""
    terms = policy.terms_of(wanted.record.tenant)
    terms = terms if expires else replace(terms, expire_after=None)
    fate = fate_of(wanted.record, terms, now=now)
    return Fate.AWAKE if fate is Fate.ASLEEP and wanted.next is not None else fate


def seat(
    tenants: Sequence[Wanted],
    fates: Mapping[Tenant, Fate],
    actual: Actual,
    policy: Policy,
    *,
    now: float,
) -> Seating:
    """Return which previews have to sleep, or wait, so that all fit into the host's memory."""
    if policy.previews_memory_max is None:
        return Seating()
    guests = [
        Guest(
            tenant=one.record.tenant,
            memory=_memory_of(one, policy.limits_of(one.record.tenant)),
            active_at=one.record.active_at,
            running=any(g.unit in actual.units and g.retired_at is None for g in one.generations),
            pinned=one.record.pinned,
        )
        for one in tenants
        if one.record.environment is Environment.PREVIEW
        and fates[one.record.tenant] is Fate.AWAKE
        and (one.live or one.next)
    ]
    return budget.seat(guests, most=policy.previews_memory_max, now=now)


def _memory_of(wanted: Wanted, allowed: Limits) -> int:
    """Return the bytes that the services of a tenant may use: live ones, else those to come."""
    services = [d.generation.service for d in wanted.live if d.generation]
    if not services and wanted.next and wanted.next.manifest:
        services = list(wanted.next.manifest.of_preview().services.values())
    return sum(one.limits.within(allowed).memory_max or 0 for one in services)


def held_back(tenants: Sequence[Wanted], fates: Mapping[Tenant, Fate]) -> frozenset[Tenant]:
    """Return the tenants that would go and may not yet: too many at once, and nobody ordered it."""
    leaving = [
        one.record.tenant
        for one in tenants
        if fates[one.record.tenant] in {Fate.GONE, Fate.EXPIRED} and not one.record.confirmed
    ]
    too_many = len(leaving) > A_FEW and len(leaving) * SHARE > len(tenants)
    return frozenset(leaving) if too_many else frozenset()


def steps_for(
    wanted: Wanted,
    actual: Actual,
    fate: Fate,
    policy: Policy,
    *,
    now: float,
    held: bool = False,
    waits: bool = False,
) -> Steps:
    """Return what one tenant needs. `held`: it may not go yet. `waits`: there is no room for it."""
    tenant = wanted.record.tenant
    routed = tenant in actual.live
    if fate is Fate.EXPIRED:
        return Steps(expire=True)
    if fate is Fate.GONE:
        return Steps(close=routed, stop=wanted.generations, evict=not held)
    live = {d.generation.id: d.generation for d in wanted.live if d.generation}
    rests = fate in RESTING
    targets = wanted.targets_at_rest(policy.waker) if rests else wanted.targets
    elsewhere = bool(targets) and actual.live.get(tenant) != digest_of(targets)
    common = Steps(
        close=routed and not targets and (wanted.next is None or rests),
        stop=tuple(
            g
            for g in wanted.generations
            if g.id not in live
            and not is_coming(g, wanted.next, rests=rests or waits)
            and is_over(g, now=now, drain=policy.drain)
        ),
    )
    if rests:
        return replace(
            common,
            sleep=elsewhere or any(g.retired_at is None for g in live.values()),
            rest=tuple(
                g
                for g in live.values()
                if g.unit in actual.units and is_drained(g, now=now, drain=policy.drain)
            ),
        )
    wakes = any(g.retired_at is not None for g in live.values())
    upcoming = None if waits else wanted.next
    if wakes and upcoming:  # what comes is started instead: until then requests stay with the waker
        return replace(common, deploy=upcoming)
    hung = tuple(g for g in live.values() if g.unit in actual.hung)
    provide = lacking_of(wanted, actual)
    return replace(
        common,
        provide=provide,
        renew=wanted.next is None and not provide and needs_renewal(wanted),
        deploy=upcoming,
        start=tuple(g for g in live.values() if g in hung or needs_start(actual.units.get(g.unit))),
        hung=hung,
        switch=elsewhere,
        wake=wakes,
    )


def needs_start(status: UnitStatus | None) -> bool:
    """Return whether a unit that should run does not, and will not without help."""
    return status is None or status.state is UnitState.FAILED


def lacking_of(wanted: Wanted, actual: Actual) -> tuple[str, ...]:
    """Return the resources of what is live that have to be made, or were not made to the end."""
    gone = actual.lacking.get(wanted.record.tenant, frozenset())
    found = wanted.provided.items()
    return tuple(sorted(name for name, one in found if name in gone or not one.given))


def needs_renewal(wanted: Wanted) -> bool:
    """Return whether resources are reached otherwise by now than what is live finds them."""
    return any(one.given not in {"", one.served} for one in wanted.provided.values())


def is_coming(generation: Generation, upcoming: Build | None, *, rests: bool) -> bool:
    """Return whether a generation is being deployed: none but commands run once in who `rests`."""
    mine = upcoming is not None and generation.build == upcoming.id
    return mine and (not rests or generation.key.name in {RELEASE, SEED})


def is_over(generation: Generation, *, now: float, drain: float) -> bool:
    """Return whether what is neither live nor coming has to go: drained, or of a failed build."""
    return generation.retired_at is None or is_drained(generation, now=now, drain=drain)


def is_drained(generation: Generation, *, now: float, drain: float) -> bool:
    """Return whether what was sent to a retired generation has had its time. The clock may jump.

    What does not listen is sent nothing. It ends at once: two bots, or two timers, would go on.
    """
    at = generation.retired_at
    return at is not None and (not generation.service.listens or abs(now - at) >= drain)


def routes_of(wanted: Wanted) -> Iterable[Route]:
    """Return the routes of what is live of a tenant."""
    for deployed in wanted.live:
        if hosts := wanted.hosts.get(deployed.key.name):
            yield Route(
                key=deployed.key,
                hosts=hosts,
                redirects=wanted.redirects.get(deployed.key.name, ()),
                site=deployed.generation is None,
                spa=deployed.spa,
                indexed=wanted.record.environment is Environment.PROD,
            )


def _again_in(
    tenants: Sequence[Wanted], policy: Policy, seating: Seating, *, now: float
) -> float | None:
    """Return the seconds until the clock alone asks for something to be done."""
    drain = policy.drain
    listening = (g for one in tenants for g in one.generations if g.service.listens)
    retired = [g.retired_at for g in listening if g.retired_at is not None]
    due = [at + drain - now for at in retired if now < at + drain and at < now + drain]
    records = [one.record for one in tenants]
    changes = (next_change(one, policy.terms_of(one.tenant), now=now) for one in records)
    due += [seconds for seconds in changes if seconds is not None]
    due += [SOON] if seating.wait else []
    return min(due, default=None)
