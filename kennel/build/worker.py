"""Takes builds from the queue, several at a time, and records what came of them."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from kennel.build.aim import Over, aim
from kennel.build.builder import Builder, Built
from kennel.build.evaluation import Check
from kennel.build.git import Fetched, RefGone
from kennel.build.housekeeping import Housekeeping, sweep
from kennel.build.job import Job
from kennel.build.log import BuildLog
from kennel.build.places import Places
from kennel.crashpoint import reached
from kennel.domain import Environment, Manifest, environment_of
from kennel.domain.record import Build, Project
from kennel.errors import BuildError, KennelError, ManifestError, ProviderError
from kennel.plugin import Cache, in_thread
from kennel.secrets import Grants
from kennel.settings import Settings
from kennel.store import Store, builds, tenants, twins

log = structlog.get_logger(__name__)

EVERY = 30.0
"""Seconds between looks into the queue that nothing asked for."""
MOST_REASON = 8000
RECENT = 100
"""How many failures are remembered, for those that wait for them: they are next."""


class Worker:
    """Builds what is queued: `build.max_concurrent` commits side by side.

    `on_built` is called when there is something new to deploy, or to take away. `check` refuses
    what a manifest asks for and cannot be had here; `grants`: what each project's secretspec.toml
    may ask for.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        caches: Mapping[str, Cache],
        on_built: Callable[[], None],
        *,
        check: Check = lambda _: None,
        grants: Callable[[str], Grants] = lambda project: Grants(project=project),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._caches = caches
        self._on_built = on_built
        self._clock = clock
        self._places = Places.of(settings)
        self._builder = Builder(settings, self._places, check, grants)
        self._woken = asyncio.Event()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._projects: dict[int, str] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._faulty: deque[int] = deque(maxlen=RECENT)
        self._unrecorded = False
        self._housekeeping = Housekeeping(
            settings.build,
            store,
            self._places,
            self._builder.git.mirrors,
            lambda: self._projects,
            clock=clock,
        )

    def tidy_soon(self) -> None:
        """Say that a ref or a project was forgotten: what builds keep of it is to go."""
        self._housekeeping.soon()

    def wake(self) -> None:
        """Say that the queue changed: something new, or something nobody wants any more."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; what is under way then goes back to the queue."""
        try:
            await self._start()
            while True:
                self._woken.clear()
                try:
                    await self._take_back()
                    await self.cancel_superseded()
                    await self._fill()
                except Exception:  # such as a database that is away: the next look may go well
                    log.exception("cannot look into the queue")
                await self._wait()
        finally:
            await self.stop()

    async def _start(self) -> None:
        """Clean up after an earlier Kennel, whose builds are queued again."""
        await in_thread(self._places.prepare)
        if ended := await self._builder.programs.sweep():
            log.warning("ended builds that an earlier Kennel left running", names=ended)
        await in_thread(sweep, self._places)
        await self._store.write(builds.recover)
        self._in_background(self._housekeeping.run())

    async def _wait(self) -> None:
        # Not wait_for: before Python 3.12 that loses a cancellation that comes with the wake-up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await self._woken.wait()

    async def stop(self) -> None:
        """End what is under way and put it back into the queue. May be repeated."""
        while tasks := [*self._running.values(), *self._later]:  # one may leave another behind
            for task in tasks:
                self._cancel_once(task)
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

    @staticmethod
    def _cancel_once(task: asyncio.Task[None]) -> None:
        """Cancel a task, unless it is ending for that reason: that must not be cut short."""
        if not task.cancelling():
            task.cancel()

    async def _take_back(self) -> None:
        """Queue again what was built while the store was away: its ref would wait for ever."""
        if self._unrecorded:
            await self._store.write(partial(builds.recover, running=set(self._running)))
            self._unrecorded = False

    async def cancel_superseded(self) -> None:
        """End the builds that nobody wants any more."""
        for build_id, task in [*self._running.items()]:
            if not await self._store.read(partial(builds.wanted, build_id=build_id)):
                self._cancel_once(task)

    async def _fill(self) -> None:
        """Take builds for as long as there is room for them."""
        while len(self._running) < self._settings.build.max_concurrent:
            claimed = await self._store.write(partial(builds.claim, now=self._clock()))
            if claimed is None:
                return
            reached("build-claimed")
            build_id = claimed.build.id
            task = asyncio.create_task(self._work(claimed.project, claimed.build))
            self._running[build_id] = task
            self._projects[build_id] = claimed.project.name
            task.add_done_callback(partial(self._worked, build_id))

    def _worked(self, build_id: int, task: asyncio.Task[None]) -> None:
        self._running.pop(build_id, None)
        self._housekeeping.soon(self._projects.pop(build_id))
        if not task.cancelled() and (error := task.exception()):
            log.error("a build could not be recorded", build=build_id, exc_info=error)
            self._unrecorded = True
        self.wake()

    async def _work(self, project: Project, build: Build) -> None:
        about = log.bind(build=build.id, tenant=str(build.tenant), commit=build.commit[:12])
        about.info("building")
        record = BuildLog(self._places.log(build.id), most=self._settings.build.log_max_bytes)
        job = Job(project, build, record)
        try:
            about.info(await self._outcome(job))
        except asyncio.CancelledError:
            await self._interrupted(job)
            raise
        finally:
            record.close()  # here and now: waiting could be cancelled

    async def _outcome(self, job: Job) -> str:
        """Build, and record what came of it. Return that, for Kennel's own log."""
        limit, fetched = asyncio.timeout(self._settings.build.timeout), None
        try:
            async with limit:
                fetched = await self._builder.fetch(job)
                built = await self._build(job, fetched)
        except Over as why:
            await job.log.say(f"=== {why} ===")
            return str(why)
        except RefGone as error:
            return await self._gone(job, str(error))
        except Exception as error:
            if fetched is not None and isinstance(error, (BuildError, ManifestError, TimeoutError)):
                self._faulty.append(job.build.id)
            return await self._fail(job, self._reason(job, error, late=limit.expired()))
        return await self._record(job, built)

    async def _build(self, job: Job, fetched: Fetched) -> Built:
        """Build what was fetched, if it may be, or take what it gave on another ref.

        What a person has ordered is built. Raises what the commit's other build failed with.
        """
        ours, head, now = job.build, fetched.head, self._clock()
        change = partial(aim, build=ours, project_id=job.project.id, head=head, now=now)
        if why := await self._store.write(change):
            raise Over(why)
        if ours.commit == builds.HEAD:
            return await self._builder.build(job, fetched)
        for twin in await self._store.read(partial(twins.built, build_id=ours.id)):
            if built := await self._builder.share(job, fetched, twin):
                return built
        question = partial(twins.failed_meanwhile, build_id=ours.id, among=self._faulty)
        if (failed := await self._store.read(question)) is not None:
            await job.log.say(f"the same commit failed as build {failed.id}")
            raise BuildError(failed.reason)
        return await self._builder.build(job, fetched)

    def _reason(self, job: Job, error: Exception, *, late: bool) -> str:
        """Return why a build failed, for people."""
        if isinstance(error, TimeoutError) and late:
            limit = self._settings.build.timeout
            return f"it took longer than {limit:g} s (build.timeout) while {job.log.phase}"
        if isinstance(error, KennelError):
            return str(error)
        log.error("a fault of Kennel's own", build=job.build.id, exc_info=error)
        return f"a fault of Kennel's own ({type(error).__name__}): see its log"

    async def _record(self, job: Job, built: Built) -> str:
        if why := _declined(job.build, built.manifest):
            return await self._gone(job, why, is_there=True)
        change = partial(
            builds.built,
            build_id=job.build.id,
            manifest=built.manifest,
            outputs=built.outputs,
            secrets=built.secrets,
            now=self._clock(),
        )
        await job.log.say("=== built ===")
        if not await self._store.write(change):
            return "cancelled"
        reached("build-recorded")
        self._on_built()
        if job.build.trusted:
            self._in_background(self._push(job.build, sorted({*built.outputs.paths.values()})))
        return "built"

    async def _gone(self, job: Job, reason: str, *, is_there: bool = False) -> str:
        """Cancel the build of a ref that is not there or not to be, and let go of the ref.

        Nobody may have told us that it was deleted, or it was never there.
        """
        build, now, own = job.build, self._clock(), reason if is_there else ""

        def change(db: Any) -> None:
            if builds.cancelled(db, build.id, reason=reason, now=now):
                ref = build.tenant.ref
                tenants.gone(db, project_id=job.project.id, ref=ref, now=now, reason=own)

        await job.log.say(f"=== cancelled: {reason} ===")
        await self._store.write(change)
        self._on_built()
        return f"cancelled: {reason}"

    async def _fail(self, job: Job, reason: str) -> str:
        told = job.log.clean(reason)[:MOST_REASON]
        await job.log.say("=== failed ===", *told.splitlines())
        now = self._clock()
        await self._store.write(partial(builds.failed, build_id=job.build.id, reason=told, now=now))
        return f"failed: {told.splitlines()[0]}"

    async def _interrupted(self, job: Job) -> None:
        """Requeue what was interrupted by the end of Kennel; the store knows if it was not."""
        if await self._store.write(partial(builds.requeue, build_id=job.build.id)):
            await job.log.say("=== interrupted: Kennel stops; the build is queued again ===")
        else:
            await job.log.say("=== cancelled ===")

    async def _push(self, build: Build, paths: Sequence[str]) -> None:
        """Offer what was built to every cache. That it fails does no harm to what is deployed."""
        for cache in self._caches.values():
            try:
                await cache.push(paths)
            except ProviderError as error:
                log.warning("cannot push", cache=cache.name, build=build.id, reason=str(error))
            except Exception:
                log.exception("cannot push", cache=cache.name, build=build.id)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)


def _declined(build: Build, manifest: Manifest) -> str:
    """Return why a commit does not want to be on this ref, "" if it does."""
    if environment_of(build.tenant.ref) is not Environment.PREVIEW:
        return ""
    if not manifest.previews:
        return "the manifest says previews = false"
    left = manifest.of_preview()
    if not left.services and not left.sites:
        return "every service in the manifest says previews = false, and there is no site"
    return ""
