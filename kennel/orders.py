"""What people order to be done with a ref: bring back, restart, stop, keep, remove."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy.engine import Connection

from kennel import views
from kennel.approval import approve, withdraw
from kennel.build import has_outputs
from kennel.build.places import Places
from kennel.domain import Ref, Tenant
from kennel.domain.record import Build, TenantRecord
from kennel.errors import Conflict, NotFound
from kennel.plan import Wanted
from kennel.reconcile import Reconciler
from kennel.settings import Settings
from kennel.store import Store, builds, projects, tenants

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Carries out orders about one ref. `changed` wakes whoever has something to do then.

    Every method raises NotFound for what is not there, Conflict for what cannot be done now, and
    ValueError for what can be no ref.
    """

    settings: Settings
    store: Store
    reconciler: Reconciler
    changed: Callable[[], None]

    # What is live.

    async def rollback(self, order: views.RollbackOrder) -> int:
        """Bring an earlier good build back without building. Return its number."""
        record, wanted = await self._running(order)
        good = await self.store.read(partial(builds.good, tenant=record.tenant))
        chosen = _earlier(record.tenant, good, live_build(wanted), order.to)
        if not await has_outputs(Places.of(self.settings), chosen):
            raise Conflict(
                f"what build {chosen.id} gave is not in the store any more (build.keep ="
                f" {self.settings.build.keep}): push its commit again"
            )
        return await self._again(record, chosen.id)

    async def redeploy(self, order: views.Order) -> int:
        """Deploy what is live once more: what has changed around it is taken up."""
        record, wanted = await self._running(order)
        return await self._again(record, _must_be_live(record.tenant, wanted))

    async def restart(self, order: views.Order) -> int:
        """Put new processes beside those that run, and then in their place."""
        record, wanted = await self._running(order)
        live = _must_be_live(record.tenant, wanted)
        return await self._again(record, live, restarts=record.restarts + 1)

    async def _again(self, record: TenantRecord, build_id: int, **values: object) -> int:
        def change(db: Connection) -> None:
            _still_there(db, record)
            if not builds.again(db, build_id, now=time.time()):
                raise Conflict(f"build {build_id} is being deployed already")
            tenants.change(db, record.id, active_at=time.time(), **tenants.USED, **values)

        await self._write(change)
        return build_id

    # Stopping, starting, keeping.

    async def stop(self, order: views.Order) -> str:
        """Stop a ref's services until `start`."""
        record = await self._there(order)
        await self._write(partial(tenants.change, tenant_id=record.id, stopped=True))
        return f"{record.tenant} stops; its data, its sites and its URLs stay: `kennel start`"

    async def start(self, order: views.Order) -> str:
        """Start what was stopped by hand, or sleeps."""
        record = await self._there(order)
        now = time.time()
        await self._write(
            lambda db: tenants.change(db, record.id, stopped=False, active_at=now, **tenants.USED)
        )
        return f"{record.tenant} starts"

    async def pin(self, order: views.PinOrder) -> str:
        """Let a ref neither sleep nor expire, or let it again."""
        record = await self._there(order)
        change = partial(
            tenants.change, tenant_id=record.id, pinned=order.pinned, active_at=time.time()
        )
        await self._write(change)
        if order.pinned:
            return f"{record.tenant} neither sleeps nor expires from here on"
        return f"{record.tenant} sleeps and expires like others, counted from now"

    # Letting in.

    async def approve(self, order: views.ApproveOrder) -> str:
        """Let a commit of an untrusted pull request be built, or every one; or no more."""
        record = await self._there(order)
        if record.trusted:
            raise Conflict(f"{record.tenant} needs no approval: its head is in the repository")
        if order.withdraw:
            await self._write(partial(withdraw, record=record, now=time.time()))
            return f"no new commit of {record.tenant} is built without approval"
        commit = _chosen_commit(record, order.commit)

        def change(db: Connection) -> int | None:
            _still_there(db, record)
            project = projects.by_name(db, record.tenant.project)
            return approve(
                db, record, project.id, commit=commit, every=order.every, now=time.time()
            )

        queued = await self._write(change)
        which = "every commit" if order.every else f"commit {commit[:12]}"
        then = f": build {queued}" if queued else "; its head is built already"
        return f"{which} of {record.tenant} is approved{then}"

    # Removing.

    async def purge(self, order: views.Order) -> str:
        """Remove the data of a ref that is gone. Nothing brings it back."""
        record = await self._known(order)
        if record.wanted:
            raise Conflict(
                f"{record.tenant} is there: delete the branch, or close the pull request, first."
                " What is kept after that can be purged"
            )
        change = partial(tenants.change, tenant_id=record.id, purged=True, confirmed=True)
        await self._write(change)
        return f"{record.tenant} is removed with its data"

    async def removals(self) -> list[views.Removal]:
        """Return what would be removed, and is held back because it is so much at once."""
        return [_removal(record) for record in await self._held()]

    async def _held(self) -> list[TenantRecord]:
        world = await self.reconciler.look()
        return [one.record for one in world.wanted if one.record.tenant in world.plan.held]

    async def allow_removals(self) -> list[views.Removal]:
        """Let everything go that is held back now. Return what that is."""
        held = await self._held()

        def change(db: Connection) -> list[TenantRecord]:
            same = [one for one in held if tenants.find(db, one.tenant) == one]
            for record in same:
                tenants.change(db, record.id, confirmed=True)
            return same

        return [_removal(record) for record in await self._write(change)]

    # Finding.

    async def _write(self, change: Callable[[Connection], R]) -> R:
        done = await self.store.write(change)
        self.changed()
        return done

    async def _known(self, order: views.Order) -> TenantRecord:
        project = await self.store.read(partial(projects.by_name, name=order.project))
        tenant = Tenant(project.name, Ref.parse(order.ref))
        return await self.store.read(partial(tenants.known, tenant=tenant))

    async def _there(self, order: views.Order) -> TenantRecord:
        record = await self._known(order)
        if not record.wanted:
            raise Conflict(f"{record.tenant} is gone")
        return record

    async def _running(self, order: views.Order) -> tuple[TenantRecord, Wanted | None]:
        """Return a ref that is not stopped, and what is live of it."""
        record = await self._there(order)
        if record.stopped:
            raise Conflict(f"{record.tenant} is stopped: `kennel start` it first")
        wanted = await self.reconciler.wanted()
        return record, next((one for one in wanted if one.record.id == record.id), None)


def _still_there(db: Connection, record: TenantRecord) -> None:
    """Refuse an order if the ref went, or was stopped, since it was looked at."""
    now = tenants.find(db, record.tenant)
    if now is None or not now.wanted or now.stopped != record.stopped:
        raise Conflict(f"{record.tenant} has just changed: try again")


def _removal(record: TenantRecord) -> views.Removal:
    return views.Removal(
        project=record.tenant.project,
        ref=str(record.tenant.ref),
        environment=str(record.environment),
        expired=record.wanted,
    )


def live_build(wanted: Wanted | None) -> int | None:
    """Return the build that is live of a ref, if one is."""
    return max((one.build for one in wanted.live), default=None) if wanted else None


def _must_be_live(tenant: Tenant, wanted: Wanted | None) -> int:
    live = live_build(wanted)
    if live is None:
        raise NotFound(
            f"nothing of {tenant} is live: `kennel deploy {tenant.project} {tenant.ref}` builds it"
        )
    return live


def _earlier(tenant: Tenant, good: list[Build], live: int | None, to: int | None) -> Build:
    """Return the good build to go back to: the one that is asked for, else the one before."""
    others = [build for build in good if build.id != live]
    if to is None:
        found = next((one for one in others if live is None or one.id < live), None)
        if found is None:
            newer = ", ".join(f"--to {one.id}" for one in others)
            hint = f"; forward again goes with {newer}" if newer else ""
            raise NotFound(f"no earlier build of {tenant} was ever live{hint}")
        return found
    if to == live:
        raise Conflict(f"build {to} of {tenant} is live: `kennel redeploy` deploys it again")
    found = next((one for one in others if one.id == to), None)
    if found is None:
        there = ", ".join(str(one.id) for one in others) or "none"
        raise NotFound(f"build {to} of {tenant} was never live; there is: {there}")
    return found


def _chosen_commit(record: TenantRecord, asked: str | None) -> str:
    """Return the commit to approve: the head, which is what was asked for if anything was."""
    if not record.head:
        raise Conflict(f"no commit of {record.tenant} is known yet: push to it once more")
    if asked and not record.head.startswith(asked.lower()):
        raise Conflict(f"the head of {record.tenant} is {record.head} by now, not {asked}")
    return record.head
