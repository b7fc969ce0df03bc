"""The plan of a pass, as a table and as properties."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kennel.domain import Environment, Key, Ref, Route, Service, Tenant, UnitState, UnitStatus
from kennel.domain.record import Build, TenantRecord
from kennel.domain.route import Files, Upstream, digest_of
from kennel.lifecycle import Fate, Terms, fate_of
from kennel.plan import (
    RELEASE,
    Actual,
    Deployed,
    Generation,
    Policy,
    Provision,
    Steps,
    Wanted,
    make_plan,
    needs_start,
    routes_of,
    steps_for,
)

ADA = Tenant("shop", Ref.branch("main"))
BOB = Tenant("shop", Ref.pull_request(42))
NOW, DRAIN = 1000.0, 5.0
POLICY = Policy(drain=DRAIN)


def record(tenant: Tenant = ADA, *, wanted: bool = True) -> TenantRecord:
    main = tenant.ref == Ref.branch("main")
    return TenantRecord(
        id=hash(tenant) % 1000,
        tenant=tenant,
        environment=Environment.PROD if main else Environment.PREVIEW,
        trusted=True,
        wanted=wanted,
        active_at=0.0,
    )


def generation(number: int, tenant: Tenant = ADA, *, retired: float | None = None) -> Generation:
    return Generation(
        id=number,
        key=Key(tenant, "api"),
        build=number,
        unit=f"kennel-{tenant}-{number}",
        port=20000 + number,
        digest=str(number),
        command=("/bin/x",),
        service=Service(name="api", package="api"),
        retired_at=retired,
    )


def build(number: int, tenant: Tenant = ADA) -> Build:
    return Build(
        id=number,
        tenant=tenant,
        commit="1" * 40,
        state="built",
        reason="",
        trusted=True,
        manifest=None,
        outputs=None,
        created_at=0,
        started_at=0,
        built_at=0,
        finished_at=None,
    )


def live(one: Generation) -> Deployed:
    target = Upstream(port=one.port or 0)
    return Deployed(key=one.key, build=one.build, target=target, generation=one)


OLD, NEW = generation(1), generation(2)
RUNNING = UnitStatus(state=UnitState.RUNNING)
FAILED = UnitStatus(state=UnitState.FAILED)
SETTLED = Wanted(
    record=record(),
    live=(live(OLD),),
    generations=(OLD,),
    hosts={"api": ("shop-main.example.net",)},
)
ASLEEP = replace(OLD, retired_at=NOW - DRAIN)
STOPPED = replace(
    SETTLED, record=replace(record(), stopped=True), live=(live(ASLEEP),), generations=(ASLEEP,)
)
PROVIDED = replace(
    SETTLED,
    resources=frozenset({"postgres"}),
    provisions=(Provision(resource="postgres", given="a", served="a"),),
)
COMMAND = replace(generation(3), build=2, key=Key(ADA, RELEASE))


def world(wanted: Wanted, **units: UnitStatus) -> Actual:
    """Return a world in which requests and routes are right and these units are there."""
    return Actual(
        units={OLD.unit: RUNNING, **units},
        live={wanted.record.tenant: digest_of(wanted.targets)} if wanted.live else {},
        routes=frozenset(routes_of(wanted)),
    )


def resting(wanted: Wanted) -> Actual:
    """Return a world in which a tenant's requests go to the waker, and nothing of it runs."""
    targets = wanted.targets_at_rest(POLICY.waker)
    return Actual(
        live={wanted.record.tenant: digest_of(targets)}, routes=frozenset(routes_of(wanted))
    )


def test_nothing_is_done_where_all_is_well() -> None:
    plan = make_plan([SETTLED], world(SETTLED), POLICY, now=NOW)
    assert plan.is_empty
    assert plan.again_in is None


@pytest.mark.parametrize(
    ("wanted", "actual", "expected"),
    [
        pytest.param(
            replace(SETTLED, next=build(2)),
            world(SETTLED),
            Steps(deploy=build(2)),
            id="deploy what is built",
        ),
        pytest.param(
            SETTLED,
            replace(world(SETTLED), units={}),
            Steps(start=(OLD,)),
            id="start what is live and not there",
        ),
        pytest.param(
            SETTLED,
            replace(world(SETTLED), units={OLD.unit: FAILED}),
            Steps(start=(OLD,)),
            id="start what has failed for good",
        ),
        pytest.param(PROVIDED, world(PROVIDED), Steps(), id="leave what is provided alone"),
        pytest.param(
            PROVIDED,
            replace(world(PROVIDED), lacking={ADA: frozenset({"postgres", "valkey"})}),
            Steps(provide=("postgres",)),
            id="provide what is lacking, and nothing that is not asked for",
        ),
        pytest.param(
            replace(PROVIDED, provisions=()),
            world(PROVIDED),
            Steps(provide=("postgres",)),
            id="provide what nobody recorded",
        ),
        pytest.param(
            replace(PROVIDED, provisions=(Provision(resource="postgres", served="a"),)),
            world(PROVIDED),
            Steps(provide=("postgres",)),
            id="provide what was cut off",
        ),
        pytest.param(
            replace(PROVIDED, provisions=(Provision(resource="postgres", given="b", served="a"),)),
            world(PROVIDED),
            Steps(renew=True),
            id="renew what does not find what it was given",
        ),
        pytest.param(
            replace(
                PROVIDED,
                next=build(2),
                provisions=(Provision(resource="postgres", given="b", served="a"),),
            ),
            world(PROVIDED),
            Steps(deploy=build(2)),
            id="renew nothing that is replaced anyway",
        ),
        pytest.param(
            replace(
                STOPPED, resources=PROVIDED.resources, provisions=(Provision(resource="postgres"),)
            ),
            replace(resting(STOPPED), lacking={ADA: frozenset({"postgres", "valkey"})}),
            Steps(),
            id="provide nothing to who rests",
        ),
        pytest.param(
            SETTLED,
            replace(world(SETTLED), live={ADA: "elsewhere"}),
            Steps(switch=True),
            id="switch back what goes elsewhere",
        ),
        pytest.param(
            SETTLED,
            replace(world(SETTLED), live={}),
            Steps(switch=True),
            id="switch what a reboot forgot",
        ),
        pytest.param(
            replace(SETTLED, generations=(OLD, replace(NEW, retired_at=NOW - DRAIN))),
            world(SETTLED),
            Steps(stop=(replace(NEW, retired_at=NOW - DRAIN),)),
            id="stop what has drained",
        ),
        pytest.param(
            replace(SETTLED, generations=(OLD, replace(NEW, retired_at=NOW - 1))),
            world(SETTLED),
            Steps(),
            id="let drain what is retired",
        ),
        pytest.param(
            replace(SETTLED, generations=(OLD, replace(NEW, retired_at=NOW + 1))),
            world(SETTLED),
            Steps(),
            id="let drain what is retired, though the clock went back a little",
        ),
        pytest.param(
            replace(SETTLED, generations=(OLD, replace(NEW, retired_at=NOW + 3600))),
            world(SETTLED),
            Steps(stop=(replace(NEW, retired_at=NOW + 3600),)),
            id="stop what is retired in a future that was none",
        ),
        pytest.param(
            replace(SETTLED, generations=(OLD, NEW)),
            world(SETTLED),
            Steps(stop=(NEW,)),
            id="stop what a failed build left",
        ),
        pytest.param(
            replace(SETTLED, generations=(OLD, NEW), next=build(2)),
            world(SETTLED),
            Steps(deploy=build(2)),
            id="leave alone what is being deployed",
        ),
        pytest.param(
            replace(STOPPED, generations=(ASLEEP, NEW, COMMAND), next=build(2)),
            resting(STOPPED),
            Steps(stop=(NEW,)),
            id="stop what was being deployed when the ref was stopped, but for its release command",
        ),
        pytest.param(
            Wanted(record=record(BOB, wanted=False), generations=(OLD,)),
            Actual(live={BOB: "x"}),
            Steps(close=True, stop=(OLD,), evict=True),
            id="evict a preview whose ref is gone",
        ),
        pytest.param(
            Wanted(record=record(ADA, wanted=False), generations=(OLD,)),
            Actual(live={ADA: "x"}),
            Steps(close=True, stop=(OLD,)),
            id="stop production whose ref is gone, and keep its data",
        ),
    ],
)
def test_steps(wanted: Wanted, actual: Actual, expected: Steps) -> None:
    assert steps_for(wanted, actual, fate_of(wanted.record), POLICY, now=NOW) == expected


def test_what_the_store_never_heard_of_is_left_alone() -> None:
    foreign = Actual(units={"kennel-x": RUNNING}, live={BOB: "x"}, routes=frozenset())
    assert make_plan([], foreign, POLICY, now=NOW).is_empty


def test_routes_are_written_only_when_they_differ() -> None:
    assert make_plan([SETTLED], replace(world(SETTLED), routes=None), POLICY, now=0).publish
    stale = frozenset({Route(key=Key(BOB, "api"), hosts=("x.example.net",))})
    plan = make_plan([SETTLED], replace(world(SETTLED), routes=stale), POLICY, now=NOW)
    assert plan.publish
    assert plan.routes == {Route(key=OLD.key, hosts=("shop-main.example.net",))}


def test_the_next_drain_is_announced() -> None:
    draining = replace(SETTLED, generations=(OLD, replace(NEW, retired_at=NOW - 2)))
    plan = make_plan([draining], world(SETTLED), POLICY, now=NOW)
    assert plan.again_in == pytest.approx(3.0)


def test_what_is_overdue_and_held_back_goes_on_like_others() -> None:
    policy = Policy(drain=DRAIN, terms_of=lambda _: Terms(expire_after=100.0))
    previews = [
        replace(SETTLED, record=record(Tenant("shop", Ref.pull_request(number))), generations=())
        for number in range(1, 5)
    ]
    drained = replace(NEW, retired_at=NOW - DRAIN)
    previews[0] = replace(previews[0], generations=(OLD, drained))
    actual = Actual(
        units={OLD.unit: RUNNING},
        live={one.record.tenant: digest_of(one.targets) for one in previews},
    )
    plan = make_plan(previews, actual, policy, now=NOW)
    assert plan.held == {one.record.tenant for one in previews}
    assert plan.steps == {previews[0].record.tenant: Steps(stop=(drained,))}
    assert set(plan.fates.values()) == {Fate.AWAKE}


@pytest.mark.parametrize("state", list(UnitState))
def test_only_what_will_not_come_back_by_itself_is_started(state: UnitState) -> None:
    assert needs_start(UnitStatus(state=state)) is (state is UnitState.FAILED)


@pytest.mark.parametrize(
    ("tenant", "wanted", "fate"),
    [
        (ADA, True, Fate.AWAKE),
        (BOB, True, Fate.AWAKE),
        (ADA, False, Fate.KEPT),
        (BOB, False, Fate.GONE),
        (Tenant("shop", Ref.branch("pr-42")), False, Fate.GONE),
    ],
)
def test_fates(tenant: Tenant, wanted: bool, fate: Fate) -> None:
    assert fate_of(record(tenant, wanted=wanted)) is fate


@st.composite
def tenants(draw: st.DrawFn) -> Wanted:
    tenant = Tenant("p", Ref.branch(draw(st.text("abc", min_size=1, max_size=6))))
    numbers = draw(st.lists(st.integers(1, 9), unique=True, max_size=4))
    retired = st.one_of(st.none(), st.floats(NOW - 20, NOW))
    mine = tuple(generation(n, tenant, retired=draw(retired)) for n in numbers)
    chosen = draw(st.sampled_from([None, *mine])) if mine else None
    site = Deployed(
        key=Key(tenant, "docs"), build=1, target=Files(root="/nix/store/x"), generation=None
    )
    up = (live(replace(chosen, retired_at=None)),) if chosen else ()
    wanted = draw(st.booleans())
    return Wanted(
        record=record(tenant, wanted=wanted),
        next=build(draw(st.integers(1, 9)), tenant) if wanted and draw(st.booleans()) else None,
        live=(*up, *draw(st.sampled_from([(), (site,)]))) if wanted else (),
        generations=mine,
        hosts={"api": (f"{tenant}.x",), "docs": (f"docs.{tenant}.x",)},
    )


@given(
    st.lists(tenants(), max_size=5, unique_by=lambda w: w.record.tenant),
    st.sets(st.integers(1, 9)),
)
def test_no_plan_ever_stops_what_is_live(wanted: list[Wanted], up: set[int]) -> None:
    units = {g.unit: RUNNING for one in wanted for g in one.generations if g.id in up}
    plan = make_plan(wanted, Actual(units=units), POLICY, now=NOW)
    for one in wanted:
        steps = plan.steps.get(one.record.tenant, Steps())
        serving = {d.generation.id for d in one.live if d.generation}
        assert not serving & {g.id for g in steps.stop}
        assert {g.id for g in steps.start} <= serving
        assert steps.evict <= (not one.record.wanted)


@given(st.lists(tenants(), max_size=5, unique_by=lambda w: w.record.tenant))
def test_a_world_that_was_settled_needs_nothing(wanted: list[Wanted]) -> None:
    settled = [
        replace(
            one,
            next=None,
            generations=tuple(d.generation for d in one.live if d.generation),
        )
        for one in wanted
        if one.record.wanted
    ]
    actual = Actual(
        units={g.unit: RUNNING for one in settled for g in one.generations},
        live={one.record.tenant: digest_of(one.targets) for one in settled if one.live},
        routes=frozenset(route for one in settled for route in routes_of(one)),
    )
    assert make_plan(settled, actual, POLICY, now=NOW).is_empty
