"""Run the commands of a build that are run once, before anything of it is live.

resources, generations recorded -> seed -> release -> units start -> …

A run is a generation that never becomes live: it is stopped and forgotten as such, however the
deployment ends.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import structlog

from kennel.crashpoint import reached
from kennel.domain import Environment, Errand, Ready, Service
from kennel.errors import Rejected
from kennel.plan import RELEASE, SEED, Generation, Wanted
from kennel.reconcile.candidate import Candidate, Preparer
from kennel.reconcile.reasons import told, with_last_lines
from kennel.reconcile.units import Units
from kennel.reconcile.variables import Fingerprint
from kennel.store import Store, builds, releases, tenants

log = structlog.get_logger(__name__)


class Errands:
    """Runs seed and release commands. What was live goes on meanwhile, and nothing new starts yet.

    Who waits for a run may be cut off: it goes on by itself, and the next call waits for its end.
    Both raise Rejected with what it wrote last if it fails, Unavailable if it was stopped.
    """

    def __init__(
        self, store: Store, preparer: Preparer, fingerprint: Fingerprint, units: Units
    ) -> None:
        self._store = store
        self._preparer = preparer
        self._fingerprint = fingerprint
        self._units = units

    async def seed(self, wanted: Wanted, candidate: Candidate) -> None:
        """Run the seed command, unless there is none, or the tenant has its first data already.

        Production has none of it unless the manifest says so.
        """
        manifest, record = candidate.build.manifest, wanted.record
        if manifest is None or manifest.seed is None or record.seeded_at is not None:
            return
        if record.environment is Environment.PROD and not manifest.seed.production:
            return
        if not await self._has_been_seeded(wanted, candidate, manifest.seed):
            await self._run(wanted, candidate, SEED, manifest.seed)
        reached("seed-ended")
        change = partial(tenants.change, tenant_id=record.id, seeded_at=time.time())
        await self._store.write(change)
        reached("seeded")

    async def release(self, wanted: Wanted, candidate: Candidate) -> None:
        """Run the release command, unless there is none, or it has ended well before.

        That of an earlier build comes to its end first: two never run at a time. A newer push does
        not cut it off, for nobody knows what it would leave behind.
        """
        build = candidate.build
        if build.manifest is None or build.manifest.release is None or build.released_at:
            return
        await self._units.ended(_earlier(wanted, build.id, RELEASE))
        await self._run(wanted, candidate, RELEASE, build.manifest.release)
        reached("release-ended")
        await self._store.write(partial(builds.released, build_id=build.id, now=time.time()))
        reached("released")

    async def _has_been_seeded(self, wanted: Wanted, candidate: Candidate, seed: Errand) -> bool:
        """Return whether the command of an earlier build, which was overtaken, has done it.

        It is waited for, and not run a second time.
        """
        env = candidate.around.env(_owner(candidate, seed))
        for one in _earlier(wanted, candidate.build.id, SEED):
            if await self._units.run(one, env, within=seed.timeout) is None:
                return True
        return False

    async def _run(self, wanted: Wanted, candidate: Candidate, name: str, errand: Errand) -> None:
        """Run a command to its end. Raises Rejected, with its last lines, if that is no good."""
        build = candidate.build
        owner = _owner(candidate, errand)
        mine = await self._recorded(wanted, candidate, _unit(name, errand, owner))
        tenant = str(wanted.record.tenant)
        log.info("running a command", command=name, tenant=tenant, build=build.id, unit=mine.unit)
        env = candidate.around.env(owner)
        why = await self._units.run(mine, env, within=errand.timeout)
        if why is not None:
            text = with_last_lines(f"{name}: {why}", await self._units.last_lines(mine))
            raise Rejected(told(text, candidate.around.hidden))

    async def _recorded(self, wanted: Wanted, candidate: Candidate, unit: Service) -> Generation:
        """Record the run before it is there: whatever becomes of Kennel, it is known."""
        build = candidate.build
        programs = (
            {RELEASE: build.outputs.release, SEED: build.outputs.seed} if build.outputs else {}
        )
        if (program := programs.get(unit.name)) is None:
            raise Rejected(f"the build left no {unit.name} command: build the commit again")
        claim = releases.Claim(
            service=unit,
            command=(program, *unit.args),
            digest=self._fingerprint.of_errand(unit.name, build),
        )
        [mine] = await self._preparer.claim(wanted, build, [claim])
        return mine


def _owner(candidate: Candidate, errand: Errand) -> Service:
    """Return the service whose environment a command finds; a preview may go without it."""
    services = candidate.build.manifest.services if candidate.build.manifest else {}
    return services[errand.service]


def _earlier(wanted: Wanted, build: int, name: str) -> Sequence[Generation]:
    """Return the runs of earlier builds' commands of that name."""
    live = {d.generation.id for d in wanted.live if d.generation}
    runs = (g for g in wanted.generations if g.key.name == name and g.id not in live)
    return [g for g in runs if g.build != build]


def _unit(name: str, errand: Errand, owner: Service) -> Service:
    """Return a command as something that is run: within the limits of its service."""
    return replace(
        owner,
        name=name,
        package=errand.package,
        args=errand.args,
        environment={},
        custom_domains=(),
        redirects=(),
        ready=Ready(),
        port=False,
        schedule=None,
    )
