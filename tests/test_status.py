"""What people are shown of a ref."""

from dataclasses import replace

import pytest

from kennel import status, views
from kennel.domain import (
    Environment,
    Files,
    Key,
    Ref,
    Service,
    Tenant,
    UnitState,
    UnitStatus,
    Upstream,
)
from kennel.domain.record import Build, TenantRecord
from kennel.lifecycle import Fate
from kennel.plan import Deployed, Generation, Plan, Wanted

SHOP = Tenant("shop", Ref.branch("main"))
RECORD = TenantRecord(
    id=1, tenant=SHOP, environment=Environment.PROD, trusted=True, wanted=True, active_at=5.0
)
API = Generation(
    id=1,
    key=Key(SHOP, "api"),
    build=1,
    unit="kennel-shop-main-api",
    port=20000,
    digest="d",
    command=("/x",),
    service=Service(name="api", package="api"),
)
LIVE = Wanted(
    record=RECORD,
    live=(
        Deployed(
            key=API.key,
            build=1,
            target=Upstream(port=20000),
            generation=API,
            commit="1" * 40,
            since=9.0,
        ),
        Deployed(key=Key(SHOP, "docs"), build=1, target=Files(root="/x"), generation=None),
    ),
    generations=(API,),
    hosts={"api": ("shop-main.example.net", "shop.example"), "docs": ("shop-docs.example.net",)},
)
NOTHING = Wanted(record=RECORD)


def build(number: int, state: str, reason: str = "") -> Build:
    return Build(
        id=number,
        tenant=SHOP,
        commit=str(number) * 40,
        state=state,
        reason=reason,
        trusted=True,
        manifest=None,
        outputs=None,
        created_at=7.0,
        started_at=None,
        built_at=None,
        finished_at=None,
    )


NO_PLAN = Plan(steps={}, routes=frozenset(), publish=False)


def shown(
    wanted: Wanted,
    newest: Build | None = None,
    *,
    unit: UnitStatus | None = None,
    trouble: str = "",
    ailing: str = "",
    plan: Plan = NO_PLAN,
) -> list[views.Deployment]:
    return status.deployments(
        [wanted],
        plan=plan,
        builds={SHOP: newest} if newest else {},
        units={API.unit: unit} if unit else {},
        troubles={SHOP: trouble} if trouble else {},
        url=lambda host: f"https://{host}",
        ailing={API.unit: ailing} if ailing else {},
        label="kennel: deploy",
    )


RUNNING = UnitStatus(state=UnitState.RUNNING)


def test_what_is_live_has_its_urls_the_custom_one_first() -> None:
    api, docs = shown(LIVE, build(1, "done"), unit=RUNNING)
    assert (api.name, api.kind, api.state, api.why, api.next_state) == (
        "api",
        "service",
        "live",
        "",
        "",
    )
    assert api.url == "https://shop.example"
    assert api.urls == ["https://shop.example", "https://shop-main.example.net"]
    assert (api.commit, api.build, api.since, api.environment) == ("1" * 40, 1, 9.0, "prod")
    assert (docs.name, docs.kind, docs.state) == ("docs", "site", "live")


@pytest.mark.parametrize(
    ("unit", "trouble", "state", "why"),
    [
        (UnitStatus(state=UnitState.STARTING), "", "starting", ""),
        (
            UnitStatus(state=UnitState.RESTARTING, reason="exited with status 3"),
            "",
            "failing",
            "exited with status 3",
        ),
        (UnitStatus(state=UnitState.FAILED, reason="x"), "no port", "failing", "x; no port"),
        (None, "", "failing", "its process is gone; it is started again"),
    ],
)
def test_a_service_that_does_not_do_well_says_why(
    unit: UnitStatus | None, trouble: str, state: str, why: str
) -> None:
    api, docs = shown(LIVE, build(1, "done"), unit=unit, trouble=trouble)
    assert (api.state, api.why) == (state, why)
    assert docs.state == "live"


def test_a_service_that_runs_and_does_not_answer_is_failing() -> None:
    api, docs = shown(LIVE, build(1, "done"), unit=RUNNING, ailing="GET http://x/: status 500")
    assert (api.state, api.why) == ("failing", "GET http://x/: status 500")
    assert docs.state == "live"
    failed = build(2, "failed", "no flake.nix")
    api, _ = shown(LIVE, failed, unit=RUNNING, ailing="GET http://x/: status 500")
    assert api.why == "GET http://x/: status 500; build 2: no flake.nix"


def test_what_was_looked_at_before_it_ended_says_how_it_is_now() -> None:
    api, _ = shown(LIVE, build(1, "done"), ailing="GET http://x/: status 500")
    assert (api.state, api.why) == ("failing", "its process is gone; it is started again")


@pytest.mark.parametrize(
    ("newest", "trouble", "upcoming", "why"),
    [
        (build(2, "queued"), "", "queued", ""),
        (build(2, "building"), "", "building", ""),
        (build(2, "built"), "", "starting", ""),
        (build(2, "built"), "the database is down", "waiting", "the database is down"),
        (build(2, "failed", "no flake.nix\nmore"), "", "failed", "build 2: no flake.nix"),
        (build(2, "cancelled"), "", "", ""),
        (build(1, "done"), "", "", ""),
    ],
)
def test_a_newer_build_is_shown_beside_what_is_live(
    newest: Build, trouble: str, upcoming: str, why: str
) -> None:
    api, _ = shown(LIVE, newest, unit=RUNNING, trouble=trouble)
    assert (api.state, api.next_state, api.why) == ("live", upcoming, why)


@pytest.mark.parametrize(
    ("newest", "trouble", "state", "why"),
    [
        (None, "", "queued", ""),
        (build(1, "queued"), "", "queued", ""),
        (build(1, "building"), "", "building", ""),
        (build(1, "built"), "", "starting", ""),
        (build(1, "built"), "the database is down", "waiting", "the database is down"),
        (build(1, "failed", "no flake.nix"), "", "failed", "no flake.nix"),
        (build(1, "cancelled", "by hand"), "", "cancelled", "by hand"),
    ],
)
def test_a_ref_that_has_nothing_yet_is_one_line(
    newest: Build | None, trouble: str, state: str, why: str
) -> None:
    [line] = shown(NOTHING, newest, trouble=trouble)
    assert (line.name, line.state, line.why) == ("", state, why)
    assert line.since == (7.0 if newest else 5.0)


def test_production_that_is_gone_is_kept_and_says_so() -> None:
    [line] = shown(replace(NOTHING, record=replace(RECORD, wanted=False)), build(1, "done"))
    assert line.state == "kept"
    assert "production data is kept" in line.why


def test_a_preview_that_is_gone_is_being_removed_and_says_what_keeps_it() -> None:
    preview = replace(RECORD, wanted=False, environment=Environment.PREVIEW)
    [line] = shown(replace(NOTHING, record=preview), build(1, "done"), trouble="no bus")
    assert (line.state, line.why) == ("removing", "no bus")


def test_lines_are_in_order() -> None:
    other = Tenant("another", Ref.branch("main"))
    second = replace(NOTHING, record=replace(RECORD, tenant=other))
    lines = status.deployments(
        [LIVE, second], plan=NO_PLAN, builds={}, units={}, troubles={}, url=lambda host: host
    )
    assert [(line.project, line.name) for line in lines] == [
        ("another", ""),
        ("shop", "api"),
        ("shop", "docs"),
    ]


@pytest.mark.parametrize("fate", [Fate.ASLEEP, Fate.STOPPED])
def test_what_rests_is_not_shown_as_failing(fate: Fate) -> None:
    plan = replace(NO_PLAN, fates={SHOP: fate})
    api, docs = shown(LIVE, build(1, "done"), plan=plan)
    assert (api.state, api.why) == (fate.value, "")
    assert docs.state == "live"


def test_a_pull_request_from_a_fork_says_what_it_waits_for() -> None:
    ref = Tenant("shop", Ref.pull_request(5))
    fork = replace(RECORD, tenant=ref, trusted=False, head="abc" * 10)
    [line] = shown(replace(NOTHING, record=fork))
    assert line.state == "waiting"
    assert "approval of abcabcabcabc" in line.why
    assert "kennel: deploy" in line.why
    assert "kennel approve shop pr-5" in line.why


def test_what_is_live_of_a_fork_says_that_a_newer_commit_waits() -> None:
    fork = replace(LIVE, record=replace(RECORD, trusted=False, head="2" * 40, approved="1" * 40))
    api, _ = shown(fork, build(1, "done"), unit=RUNNING)
    assert api.state == "live"
    assert "waits for approval of 222222222222" in api.why


@pytest.mark.parametrize(
    ("newest", "state", "waits"),
    [
        (build(1, "done"), "waiting", True),  # of another time: it was closed and opened again
        (build(2, "done"), "waiting", True),
        (build(2, "cancelled", "its approval was withdrawn"), "waiting", True),
        (build(1, "failed", "no flake.nix"), "waiting", True),
        (build(2, "failed", "no flake.nix"), "failed", False),
        (build(1, "building"), "building", False),
        (build(1, "built"), "starting", False),
    ],
)
def test_nothing_passes_for_an_answer_that_is_none_to_what_a_fork_waits_for(
    newest: Build, state: str, waits: bool
) -> None:
    fork = replace(RECORD, trusted=False, head="2" * 40)
    [line] = shown(replace(NOTHING, record=fork), newest)
    assert (line.state, "waits for approval" in line.why) == (state, waits)


def test_what_is_live_and_not_approved_any_more_waits_for_nothing() -> None:
    fork = replace(LIVE, record=replace(RECORD, trusted=False, head="1" * 40))
    api, _ = shown(fork, build(1, "done"), unit=RUNNING)
    assert (api.state, api.why) == ("live", "")


def test_a_stopped_ref_says_what_waits_for_its_start() -> None:
    stopped = replace(LIVE, record=replace(RECORD, stopped=True), next=build(2, "built"))
    api, _ = shown(stopped, build(2, "built"), plan=replace(NO_PLAN, fates={SHOP: Fate.STOPPED}))
    assert api.state == "stopped"
    assert "build 2 waits for `kennel start`" in api.why


def test_what_there_is_no_room_for_says_so() -> None:
    plan = replace(NO_PLAN, waiting=frozenset({SHOP}))
    [line] = shown(replace(NOTHING, next=build(1, "built")), build(1, "built"), plan=plan)
    assert line.state == "waiting"
    assert "previews.memory_max" in line.why


def test_what_is_held_back_says_how_to_let_it_go() -> None:
    preview = replace(RECORD, wanted=False, environment=Environment.PREVIEW)
    plan = replace(NO_PLAN, held=frozenset({SHOP}))
    [line] = shown(replace(NOTHING, record=preview), build(1, "done"), plan=plan)
    assert line.state == "removing"
    assert "kennel removals --allow" in line.why


def test_what_was_rolled_back_says_so_and_does_not_seem_to_wait_for_what_was_live() -> None:
    api, _ = shown(LIVE, build(4, "done"), unit=RUNNING)
    assert (api.state, api.next_state, api.why) == ("live", "", "rolled back from build 4")


def test_a_rollback_that_is_on_its_way_is_shown() -> None:
    api, _ = shown(replace(LIVE, next=build(1, "built")), build(4, "done"), unit=RUNNING)
    assert (api.state, api.next_state) == ("live", "starting")
