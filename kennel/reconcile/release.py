"""Run the release command of a build, once, before anything of it is live.

resources, generations recorded -> the command runs -> units start -> …

Its run is a generation that never becomes live: it is stopped and forgotten as such, however the
deployment ends.
"""

import time
from dataclasses import replace
from functools import partial

import structlog

from kennel.crashpoint import reached
from kennel.domain import Ready, Release, Service
from kennel.errors import Rejected
from kennel.plan import RELEASE, Generation, Wanted
from kennel.reconcile.candidate import Candidate, Preparer
from kennel.reconcile.reasons import told, with_last_lines
from kennel.reconcile.units import Units
from kennel.reconcile.variables import Fingerprint
from kennel.store import Store, builds, releases

log = structlog.get_logger(__name__)


class Releaser:
    """Runs release commands. What was live goes on meanwhile, and nothing new is started yet."""

    def __init__(
        self, store: Store, preparer: Preparer, fingerprint: Fingerprint, units: Units
    ) -> None:
        self._store = store
        self._preparer = preparer
        self._fingerprint = fingerprint
        self._units = units

    async def release(self, wanted: Wanted, candidate: Candidate) -> None:
        """Run the command, unless there is none or it has ended well before.

        Who waits for it may be cut off: it goes on by itself, and the next call waits for its end.
        Raises Rejected with what it wrote last if it fails, Unavailable if it was stopped.
        """
        build = candidate.build
        if build.manifest is None or build.manifest.release is None or build.released_at:
            return
        command = build.manifest.release
        owner = build.manifest.services[command.service]
        mine = await self._recorded(wanted, candidate, _errand(command, owner))
        await self._others_ended(wanted, mine)
        log.info("releasing", tenant=str(wanted.record.tenant), build=build.id, unit=mine.unit)
        env = candidate.around.env(owner)
        why = await self._units.run(mine, env, within=command.timeout)
        reached("release-ended")
        if why is not None:
            text = with_last_lines(f"{RELEASE}: {why}", await self._units.last_lines(mine))
            raise Rejected(told(text, candidate.around.given))
        await self._store.write(partial(builds.released, build_id=build.id, now=time.time()))
        reached("released")

    async def _recorded(self, wanted: Wanted, candidate: Candidate, errand: Service) -> Generation:
        """Record the run before it is there: whatever becomes of Kennel, it is known."""
        build = candidate.build
        program = build.outputs.release if build.outputs else None
        if program is None:
            raise Rejected("the build left no release command: build the commit again")
        claim = releases.Claim(
            service=errand,
            command=(program, *errand.args),
            digest=self._fingerprint.of_release(build),
        )
        [mine] = await self._preparer.claim(wanted, build, [claim])
        return mine

    async def _others_ended(self, wanted: Wanted, mine: Generation) -> None:
        """Let the command of an earlier build come to its end: two never run at a time.

        A newer push does not cut it off, for nobody knows what it would leave behind.
        """
        live = {d.generation.id for d in wanted.live if d.generation}
        others = [
            g
            for g in wanted.generations
            if g.key.name == RELEASE and g.id not in live and g.id != mine.id
        ]
        await self._units.ended(others)


def _errand(command: Release, owner: Service) -> Service:
    """Return a release command as something that is run: within the limits of its service."""
    return replace(
        owner,
        name=RELEASE,
        package=command.package,
        args=command.args,
        environment={},
        custom_domain=None,
        ready=Ready(),
        port=False,
        schedule=None,
    )
