"""What people are shown of a ref: derived, never stored. Pure."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from kennel import views
from kennel.approval import waits_for
from kennel.domain import Tenant, UnitState, UnitStatus
from kennel.domain.record import Build
from kennel.lifecycle import Fate, fate_of
from kennel.plan import Deployed, Plan, Wanted

BUILD_STATES = {"built": "starting", "done": "live"}
"""How a build's state reads as that of its ref, where it is not the same word."""

TOLD = {"waiting", "failed"}
"""States of a newer build of which it is said why, beside what is live."""
UNDER_WAY = {"queued", "building", "built"}
"""States of a build that show by themselves what a ref waits for."""
NEWLINE = "\n"

NO_ROOM = "no room: all previews together may use no more memory (previews.memory_max)"

AT_REST = {Fate.ASLEEP: "asleep", Fate.STOPPED: "stopped"}
"""How a service reads whose tenant rests."""

ENDED = UnitStatus(state=UnitState.FAILED, reason="its process is gone; it is started again")

UNIT_STATES = {
    UnitState.RUNNING: "live",
    UnitState.STARTING: "starting",
    UnitState.RESTARTING: "failing",
    UnitState.STOPPING: "failing",
    UnitState.FAILED: "failing",
    UnitState.SCHEDULED: "scheduled",
}


def deployments(
    wanted: Iterable[Wanted],
    *,
    plan: Plan,
    builds: Mapping[Tenant, Build],
    units: Mapping[str, UnitStatus],
    troubles: Mapping[Tenant, str],
    unpublished: Mapping[Tenant, str] = MappingProxyType({}),
    url: Callable[[str], str],
    ailing: Mapping[str, str] | None = None,
    label: str = "",
) -> list[views.Deployment]:
    """Return a line for everything that is live, and one for every ref that has nothing yet.

    `builds`: the newest build of each ref. `troubles`: why a tenant could not be settled.
    `unpublished`: why a name of it is not. `ailing`: units that run, and what is wrong with them.
    `label`: that of pull requests which may be built.
    """
    units = {**units, **_ill(units, ailing or {})}
    lines: list[views.Deployment] = []
    for one in sorted(wanted, key=lambda w: w.record.tenant):
        tenant = one.record.tenant
        build = builds.get(tenant)
        trouble = troubles.get(tenant, "") or _waits(one, build, plan, label)
        upcoming = next_state(one, build, trouble)
        if build is not None and upcoming == "failed":
            trouble = trouble or f"build {build.id}: {build.reason.partition(NEWLINE)[0]}"
        lines += [
            _live(
                one,
                deployed,
                fate=plan.fates.get(tenant, Fate.AWAKE),
                units=units,
                trouble=trouble or unpublished.get(tenant, ""),
                upcoming=upcoming,
                url=url,
            )
            for deployed in sorted(one.live, key=lambda d: d.key)
        ] or [_nothing_live(one, build, trouble)]
    return lines


def _ill(units: Mapping[str, UnitStatus], ailing: Mapping[str, str]) -> dict[str, UnitStatus]:
    """Return the units that run and do not do well, as if they had failed."""
    return {
        unit: UnitStatus(state=UnitState.FAILED, reason=why)
        for unit, why in ailing.items()
        if unit in units and units[unit].state is UnitState.RUNNING
    }


def _waits(wanted: Wanted, build: Build | None, plan: Plan, label: str) -> str:
    """Return what a ref waits for that somebody has to do, or give up; "": for nothing."""
    record = wanted.record
    if record.tenant in plan.held:
        return (
            f"{len(plan.held)} refs would be removed at once: `kennel removals` lists them,"
            " `kennel removals --allow` lets them go"
        )
    if record.tenant in plan.waiting:
        return NO_ROOM
    if needs_approval(wanted, build):
        return waits_for(record, label)
    newest_live = max((one.build for one in wanted.live), default=0)
    done = build is not None and build.state == "done" and wanted.next is None
    if build is not None and done and build.id > newest_live > 0:
        return f"rolled back from build {build.id}"
    if record.stopped and wanted.next is not None:
        return f"build {wanted.next.id} waits for `kennel start`: the ref is stopped"
    return ""


def needs_approval(wanted: Wanted, build: Build | None) -> bool:
    """Return whether the head of a ref may not be built, and is not live or on its way already.

    That it was live before the ref was closed and opened again is no help.
    """
    record = wanted.record
    live = any(one.commit == record.head for one in wanted.live)
    if not record.wanted or not record.head or record.may_build(record.head) or live:
        return False
    if build is None or build.state in {"cancelled", "done"}:
        return True
    return build.state not in UNDER_WAY and build.commit != record.head


def next_state(wanted: Wanted, build: Build | None, trouble: str) -> str:
    """Return the state of a build that is to follow what is live, "" where there is none.

    One that was live, and that was rolled back from, is not to follow.
    """
    newest_live = max((deployed.build for deployed in wanted.live), default=0)
    if build is None or build.id <= newest_live or build.state in {"cancelled", "done"}:
        build = wanted.next
    if build is None:
        return ""
    if build.state == "built" and trouble:
        return "waiting"
    return BUILD_STATES.get(build.state, build.state)


def _live(
    wanted: Wanted,
    deployed: Deployed,
    *,
    fate: Fate,
    units: Mapping[str, UnitStatus],
    trouble: str,
    upcoming: str,
    url: Callable[[str], str],
) -> views.Deployment:
    service = deployed.generation
    status = units.get(service.unit, ENDED) if service else UnitStatus(state=UnitState.RUNNING)
    urls = [url(host) for host in reversed(wanted.hosts.get(deployed.key.name, ()))]
    state = AT_REST.get(fate, UNIT_STATES[status.state]) if service else "live"
    return views.Deployment(
        project=wanted.record.tenant.project,
        ref=str(wanted.record.tenant.ref),
        name=deployed.key.name,
        kind="service" if service else "site",
        environment=str(wanted.record.environment),
        url=urls[0] if urls else "",
        urls=urls,
        state=state,
        why=_why(state, upcoming, trouble, status),
        commit=deployed.commit,
        build=deployed.build,
        next_state=upcoming,
        since=deployed.since,
        pinned=wanted.record.pinned,
    )


def _why(state: str, upcoming: str, trouble: str, status: UnitStatus) -> str:
    if state in AT_REST.values():
        return trouble
    if state == "failing" and trouble and status.reason:
        return f"{status.reason}; {trouble}"
    return (
        "" if state == "live" and upcoming not in TOLD and not trouble else trouble or status.reason
    )


def _nothing_live(wanted: Wanted, build: Build | None, trouble: str) -> views.Deployment:
    state, why = _state_of_a_ref(wanted, build, trouble)
    return views.Deployment(
        project=wanted.record.tenant.project,
        ref=str(wanted.record.tenant.ref),
        name="",
        kind="",
        environment=str(wanted.record.environment),
        url="",
        urls=[],
        state=state,
        why=why,
        commit=build.commit if build else "",
        build=build.id if build else None,
        next_state="",
        since=build.created_at if build else wanted.record.active_at,
        pinned=wanted.record.pinned,
    )


def _state_of_a_ref(wanted: Wanted, build: Build | None, trouble: str) -> tuple[str, str]:
    fate = fate_of(wanted.record)
    if fate is Fate.KEPT:
        tenant = wanted.record.tenant
        purge = f"kennel purge {tenant.project} {tenant.ref} --yes"
        return "kept", f"the branch is gone; its production data is kept: `{purge}` removes it"
    if fate is Fate.GONE:
        return "removing", trouble
    unbuilt = build is None or build.state in {"cancelled", "built"}
    if trouble and (unbuilt or needs_approval(wanted, build)):
        return "waiting", trouble
    if build is None:
        return "queued", ""
    return BUILD_STATES.get(build.state, build.state), build.reason
