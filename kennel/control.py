"""What people may ask of the daemon, and what it answers: it stands behind `kennel.web`."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
from sqlalchemy.engine import Connection

from kennel import __version__, status, views
from kennel.build import follow as follow_log
from kennel.build.places import Places
from kennel.checks import check_all
from kennel.domain import Ref, RefKind, Tenant, environment_of, names
from kennel.domain.record import Build, Project, TenantRecord
from kennel.errors import ConfigError, Conflict, NotFound
from kennel.plan import Deployed, Steps, Wanted
from kennel.plugin import PluginSettings, Provider, SecretReference
from kennel.plugin.manager import Plugin, Plugins
from kennel.reconcile import Providers, Reconciler
from kennel.registry import Registry, full_name_of
from kennel.settings import Settings
from kennel.store import Store, builds, departures, inbox, projects, tenants
from kennel.sweep.sweeper import Sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Answers the command line. `changed` wakes whoever has something to do then."""

    settings: Settings
    store: Store
    registry: Registry
    reconciler: Reconciler
    sweeper: Sweeper
    providers: Providers
    installed: Plugins
    in_use: Sequence[tuple[str, Provider]]
    changed: Callable[[], None]
    started_at: float

    # Looking.

    async def health(self) -> views.Health:
        return views.Health(
            version=__version__,
            started_at=self.started_at,
            passes=self.reconciler.passes,
            last_pass_seconds=self.reconciler.last_pass_seconds,
            providers=await check_all(self.in_use),
            repairs=self.sweeper.repairs,
            unswept={name: why for name, why in sorted(self.sweeper.last.items()) if why},
        )

    async def status(self, project: str | None) -> list[views.Deployment]:
        """Return what there is of every ref, or of one project's. Raises NotFound."""
        if project is not None:
            await self._project(project)
        world = await self.reconciler.look()
        newest = await self.store.read(builds.latest)
        return status.deployments(
            [one for one in world.wanted if project in {None, one.record.tenant.project}],
            plan=world.plan,
            builds={build.tenant: build for build in newest},
            units=world.actual.units,
            ailing=world.actual.ailing,
            troubles=self.reconciler.troubles,
            unpublished=self.reconciler.names.troubles,
            url=self.providers.router.url,
            label=self.settings.previews.approval_label,
        )

    async def projects(self) -> list[views.Project]:
        every, seen = await self.store.read(lambda db: (projects.every(db), tenants.every(db)))
        return [_project_view(project, seen) for project in every]

    async def builds(self, project: str | None, ref: str | None, limit: int) -> list[views.Build]:
        """Return the newest builds. Raises NotFound for a project that is not there."""
        if project is not None:
            await self._project(project)
        chosen = _ref(ref) if ref is not None else None
        question = partial(builds.recent, project=project, ref=chosen, limit=limit)
        found, wanted = await self.store.read(question), await self.reconciler.wanted()
        return [self._build_view(build, wanted) for build in found]

    async def build(self, build_id: int) -> views.Build:
        found = await self.store.read(partial(builds.get, build_id=build_id))
        return self._build_view(found, await self.reconciler.wanted())

    async def plan(self) -> list[views.Step]:
        """Return what the next pass would do."""
        world = await self.reconciler.look()
        steps = [view for t, s in world.plan.steps.items() for view in _step_views(t, s)]
        steps += [
            views.Step(tenant=str(tenant), step=step, why=why)
            for step, tenants, why in (
                ("hold", world.plan.held, "`kennel removals` lists what is held, and lets it go"),
                ("wait", world.plan.waiting, status.NO_ROOM),
            )
            for tenant in sorted(tenants)
        ]
        if world.plan.publish:
            hosts = sum(len(route.hosts) for route in world.plan.routes)
            why = f"the router does not have the table of {hosts} hosts"
            steps.append(views.Step(tenant="", step="publish", why=why))
        return steps

    async def unit_logs(self, project: str, ref: str, name: str | None, lines: int) -> list[str]:
        """Return the last lines of a ref's services. Raises NotFound where nothing runs."""
        tenant = Tenant((await self._project(project)).name, _ref(ref))
        found = [w for w in await self.reconciler.wanted() if w.record.tenant == tenant]
        services = [d for one in found for d in one.live if d.generation]
        chosen = [d for d in services if name in {None, d.key.name}]
        if not chosen:
            there = ", ".join(d.key.name for d in services) or "none"
            what = f"no service {name}" if name else "no service"
            raise NotFound(
                f"{what} of {tenant} is live; there is: {there}. `kennel status` shows what runs,"
                " `kennel logs --build ID` what a build wrote"
            )
        return [
            f"{d.key.name}: {line}" if len(chosen) > 1 else line
            for d in chosen
            if d.generation
            for line in await self.providers.supervisor.logs(d.generation.unit, lines)
        ]

    async def deliveries(self, limit: int) -> list[views.Delivery]:
        rows = await self.store.read(partial(inbox.recent, limit=limit))
        return [views.Delivery(**row._asdict()) for row in rows]

    def build_log(self, build: int, *, follow: bool) -> AsyncIterator[bytes]:
        """Yield the log of a build; with `follow`, until it is over."""

        async def is_over() -> bool:
            state = (await self.store.read(partial(builds.get, build_id=build))).state
            return not follow or state not in builds.UNDER_WAY

        return _encoded(follow_log(Places.of(self.settings).log(build), is_over))

    async def plugins(self) -> list[Plugin]:
        return self.installed.listing(
            PluginSettings(self.settings.tables, self.settings.plugin_host)
        )

    # Changing.

    async def add_project(self, new: views.NewProject) -> views.Project:
        """Register a repository. Raises Conflict, or ConfigError for a URL without OWNER/NAME."""
        full_name = new.full_name or full_name_of(new.url)
        for key, reference in (
            ("secret", new.secret),
            ("token", new.token),
            ("ssh_key", new.ssh_key),
        ):
            _refuse_value(key, reference)
        if new.token and new.ssh_key:
            raise ConfigError("give a token or an SSH key, not both")
        self._refuse_unknown(new)
        change = partial(
            projects.register,
            now=time.time(),
            forge=new.forge,
            full_name=full_name,
            clone_url=new.url,
            name=new.name,
            default_branch=new.default_branch,
            secret=new.secret,
            token=new.token,
            ssh_key=new.ssh_key,
            domains=tuple(new.domains),
            previews=new.previews,
        )
        project = await self.store.write(change)
        await self.registry.load()
        return _project_view(project, [])

    def _refuse_unknown(self, new: views.NewProject) -> None:
        """Refuse a forge whose webhooks nobody here reads, and domains that no URL can have."""
        forges = sorted(one.name for kind, one in self.in_use if kind == "forge")
        if new.forge not in forges:
            raise ConfigError(f"forge: no {new.forge!r} here; there is: {', '.join(forges)}")
        for domain in new.domains:
            if not names.HOST.fullmatch(domain.removeprefix("*.")):
                raise ConfigError(
                    f"domain: {domain!r} is no host name in lower case, such as shop.example.org"
                    " or *.example.org"
                )
        if names.has_password(new.url):
            raise ConfigError("url: has a password in it, which would be shown: give a token")

    async def remove_project(self, name: str) -> None:
        """Take a project down, with everything it has but its production data."""

        def change(db: Connection) -> None:
            project = projects.by_name(db, name)
            projects.remove(db, name)
            tenants.leave(db, project_id=project.id, now=time.time())
            tenants.forget_projects(db)  # one that has nothing is gone at once

        await self.store.write(change)
        await self.registry.load()
        self.changed()

    async def deploy(self, request: views.DeployRequest) -> views.Build:
        """Queue a build of whatever a ref points to now. Raises NotFound, ValueError."""
        ref = _ref(request.ref)

        def change(db: Connection) -> int:
            project = projects.by_name(db, request.project)
            if project.removed:
                raise Conflict(f"project {project.name} is being removed")
            tenant = Tenant(project.name, ref)
            known = tenants.find(db, tenant)
            _refuse_what_waits(db, project, tenant, known)
            now = time.time()
            trusted = _is_trusted(db, tenant)
            tenants.seen(db, project_id=project.id, ref=ref, trusted=trusted, now=now)
            queued = builds.queue(
                db,
                project_id=project.id,
                ref=ref,
                commit=builds.HEAD,
                trusted=trusted,
                now=now,
                again=True,
            )
            if queued is None:
                raise Conflict(f"a build of {ref} is queued already")
            return queued

        build_id = await self.store.write(change)
        self.changed()
        return await self.build(build_id)

    async def cancel(self, build_id: int) -> views.Build:
        """Cancel a build that is not over yet. Raises NotFound, Conflict."""
        build = await self.store.read(partial(builds.get, build_id=build_id))
        change = partial(
            builds.cancelled,
            build_id=build_id,
            reason="cancelled by hand",
            now=time.time(),
        )
        if not await self.store.write(change):
            raise Conflict(f"build {build_id} is {build.state} already")
        self.changed()
        return await self.build(build_id)

    async def _project(self, name: str) -> Project:
        return await self.store.read(partial(projects.by_name, name=name))

    def _build_view(self, build: Build, wanted: Sequence[Wanted]) -> views.Build:
        live = [(one.hosts.get(d.key.name), d) for one in wanted for d in one.live]
        mine = [(held[-1], d) for held, d in live if held and d.build == build.id]
        mine.sort(key=lambda one: _rank(build.tenant.project, one[1]))
        hosts = [host for host, _ in mine]
        return views.Build(
            id=build.id,
            project=build.tenant.project,
            ref=str(build.tenant.ref),
            environment=str(environment_of(build.tenant.ref)),
            commit="" if build.commit == builds.HEAD else build.commit,
            state=build.state,
            reason=build.reason,
            trusted=build.trusted,
            created_at=build.created_at,
            started_at=build.started_at,
            built_at=build.built_at,
            finished_at=build.finished_at,
            urls=[self.providers.router.url(host) for host in hosts],
        )


def _rank(project: str, deployed: Deployed) -> tuple[bool, bool, str]:
    """Put what has the shortest URL first: scripts read one line (see `names.primary_of`)."""
    return deployed.key.name != project, deployed.generation is None, deployed.key.name


def _refuse_value(key: str, reference: str | None) -> None:
    """Refuse what is no reference. It may be the secret itself: it is not shown, and not kept."""
    if reference is None:
        return
    try:
        msgspec.convert(reference, SecretReference)
    except msgspec.ValidationError:
        raise ConfigError(
            f'{key}: give a reference, "env:NAME", "file:/path" or "credential:name", and not the'
            " secret itself"
        ) from None


def _refuse_what_waits(
    db: Connection, project: Project, tenant: Tenant, known: TenantRecord | None
) -> None:
    """Refuse to build what was stopped, is closed, or comes from a fork nobody approved of."""
    if known is not None and known.wanted:
        if known.stopped:
            raise Conflict(f"{tenant} is stopped: `kennel start` it first")
        if known.head and not known.trusted and not known.approved:
            by_hand = f"`kennel approve {tenant.project} {tenant.ref}`"
            raise Conflict(f"{tenant} comes from a fork that nobody approved of: {by_hand}")
        return
    left = departures.find(db, project_id=project.id, ref=tenant.ref)
    if left is not None and not left.reason and tenant.ref.kind is RefKind.PULL_REQUEST:
        raise Conflict(f"{tenant} is closed: reopen it at the forge")


def _is_trusted(db: Connection, tenant: Tenant) -> bool:
    """Return whether a ref is known to be the repository's own. That of a pull request nobody
    told us of may be anybody's: an operator may build it, but it is not pushed to a cache.
    """
    known = tenants.find(db, tenant)
    return known.trusted if known else tenant.ref.kind is RefKind.BRANCH


async def _encoded(texts: AsyncIterator[str]) -> AsyncIterator[bytes]:
    async for text in texts:
        yield text.encode()


def _ref(text: str) -> Ref:
    """Return the ref a person means. Raises ValueError for what cannot be one."""
    return Ref.parse(text)


def _project_view(project: Project, seen: Sequence[TenantRecord]) -> views.Project:
    return views.Project(
        name=project.name,
        forge=project.forge,
        full_name=project.full_name,
        clone_url=project.clone_url,
        default_branch=project.default_branch,
        domains=list(project.domains),
        secret=project.secret,
        token=project.token,
        ssh_key=project.ssh_key,
        previews=project.previews,
        refs=sum(one.tenant.project == project.name for one in seen),
        removed=project.removed,
    )


def _step_views(tenant: Tenant, steps: Steps) -> list[views.Step]:
    found = []
    if steps.expire:
        found.append(("expire", "nobody needed it for long"))
    if steps.sleep:
        found.append(("sleep", "nobody needs it, or it was stopped"))
    found += [("provide", f"its resource {name} is lacking") for name in steps.provide]
    if steps.renew:
        found.append(("renew", "its resources are reached otherwise by now"))
    if steps.deploy:
        found.append(("deploy", f"build {steps.deploy.id} of {steps.deploy.commit[:12]} is built"))
    found += [("restart", f"{g.unit} does not answer any more") for g in steps.hung]
    found += [
        ("start", f"{g.unit} is live and does not run") for g in steps.start if g not in steps.hung
    ]
    if steps.switch:
        found.append(("switch", "requests do not go where they should"))
    if steps.wake:
        found.append(("wake", "it is needed again"))
    if steps.close:
        found.append(("close", "nothing of it is live"))
    found += [("rest", f"{g.unit} sleeps and has drained") for g in steps.rest]
    found += [("stop", f"{g.unit} was replaced, or never became live") for g in steps.stop]
    if steps.evict:
        found.append(("remove", "its ref is gone"))
    return [views.Step(tenant=str(tenant), step=step, why=why) for step, why in found]
