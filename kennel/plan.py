"""Work out what a pass has to do. Pure: values in, values out.

should be                 is                        steps
---------------------------------------------------------------------------------
a build that is built     -                         deploy it
unit a is live            no unit a                 start a
unit a is live            unit a                    (none)
requests go to a          they go elsewhere         switch
unit b is retired         unit b, drained           stop b
unit c of no build        unit c, or none           stop c
no service, no site       requests go somewhere     close
a ref that is gone        anything                  evict: all of it, then forget the ref
-                         unit, folder, database    (none): the store never heard of it
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kennel.domain import Key, Route, Service, Target, Tenant, UnitState, UnitStatus
from kennel.domain.record import Build, TenantRecord
from kennel.domain.route import digest_of
from kennel.lifecycle import Fate, fate_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One incarnation of a service. `retired_at`: since when nothing is sent to it."""

    id: int
    key: Key
    build: int
    unit: str
    port: int
    digest: str
    command: tuple[str, ...]
    service: Service
    retired_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What should be live for a key. A site has no generation."""

    key: Key
    build: int
    target: Target
    generation: Generation | None
    spa: bool = False
    commit: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What should be of one tenant, as the store has it.

    `next`: the build that waits to be deployed. `hosts`: those of each service and site.
    """

    record: TenantRecord
    next: Build | None = None
    live: tuple[Deployed, ...] = ()
    generations: tuple[Generation, ...] = ()
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def targets(self) -> Mapping[str, Target]:
        return {deployed.key.name: deployed.target for deployed in self.live}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What is. `routes`: the table in force, None when it is not the one that was published."""

    units: Mapping[str, UnitStatus] = field(default_factory=dict)
    live: Mapping[Tenant, str] = field(default_factory=dict)
    routes: frozenset[Route] | None = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What one tenant needs, in this order."""

    deploy: Build | None = None
    start: tuple[Generation, ...] = ()
    switch: bool = False
    close: bool = False
    stop: tuple[Generation, ...] = ()
    evict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of every tenant that needs any, the table of routes, and when to look again.

    `publish`: whether the table has to be written. `again_in`: seconds until something is due
    that no event will announce; None: nothing is.
    """

    steps: Mapping[Tenant, Steps]
    routes: frozenset[Route]
    publish: bool
    again_in: float | None = None

    @property
    def is_empty(self) -> bool:
        return not self.steps and not self.publish


def make_plan(wanted: Iterable[Wanted], actual: Actual, *, now: float, drain: float) -> Plan:
    """Return what has to be done. `drain`: seconds a retired unit goes on."""
    tenants = list(wanted)
    steps = {one.record.tenant: steps_for(one, actual, now=now, drain=drain) for one in tenants}
    routes = frozenset(route for one in tenants for route in routes_of(one))
    return Plan(
        steps={tenant: needed for tenant, needed in steps.items() if needed != Steps()},
        routes=routes,
        publish=actual.routes != routes,
        again_in=_next_drain(tenants, now=now, drain=drain),
    )


def steps_for(wanted: Wanted, actual: Actual, *, now: float, drain: float) -> Steps:
    """Return what one tenant needs."""
    live = {d.generation.id: d.generation for d in wanted.live if d.generation}
    routed = wanted.record.tenant in actual.live
    if fate_of(wanted.record) is Fate.GONE:
        return Steps(close=routed, stop=wanted.generations, evict=True)
    return Steps(
        deploy=wanted.next,
        start=tuple(g for g in live.values() if needs_start(actual.units.get(g.unit))),
        switch=bool(wanted.live)
        and actual.live.get(wanted.record.tenant) != digest_of(wanted.targets),
        close=routed and not wanted.live and wanted.next is None,
        stop=tuple(
            g
            for g in wanted.generations
            if g.id not in live and is_over(g, wanted.next, now=now, drain=drain)
        ),
    )


def needs_start(status: UnitStatus | None) -> bool:
    """Return whether a unit that should run does not, and will not without help."""
    return status is None or status.state is UnitState.FAILED


def is_over(generation: Generation, upcoming: Build | None, *, now: float, drain: float) -> bool:
    """Return whether a generation that is not live has to go: drained, or of a failed build.

    The clock may jump: what was retired in a future too far to be drained by then is over as well.
    """
    if upcoming is not None and generation.build == upcoming.id:
        return False
    return generation.retired_at is None or abs(now - generation.retired_at) >= drain


def routes_of(wanted: Wanted) -> Iterable[Route]:
    """Return the routes of what is live of a tenant."""
    for deployed in wanted.live:
        if hosts := wanted.hosts.get(deployed.key.name):
            yield Route(
                key=deployed.key,
                hosts=hosts,
                site=deployed.generation is None,
                spa=deployed.spa,
            )


def _next_drain(tenants: Iterable[Wanted], *, now: float, drain: float) -> float | None:
    retired = [g.retired_at for one in tenants for g in one.generations if g.retired_at is not None]
    due = [at + drain - now for at in retired if now < at + drain and at < now + drain]
    return min(due, default=None)
