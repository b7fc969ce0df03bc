"""Put the parts together and keep them running.

Started from the ground up (store, providers, servers, loops) and stopped from the roof down:
requests are finished, builds go back to the queue, services are left alone.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from kennel import __version__, checks, premises, retention
from kennel.build import Worker
from kennel.build.places import Places
from kennel.build.remote import Remote
from kennel.catalogue import Catalogue
from kennel.commands import Commands
from kennel.control import Control
from kennel.crashpoint import reached
from kennel.domain.delivery import NewDelivery
from kennel.errors import KennelError
from kennel.intake import Intake
from kennel.inventory import Inventory
from kennel.notify import notify, watchdog_seconds
from kennel.opening import in_use, opened
from kennel.orders import Orders
from kennel.plugin import Forge, PluginSettings
from kennel.plugin.manager import Plugins, Ports
from kennel.reconcile import Providers, Reconciler, Rules
from kennel.reconcile.variables import Fingerprint
from kennel.registry import Registry, register_configured
from kennel.residents import KnownResidents
from kennel.settings import Settings
from kennel.store import Store, builds, inbox
from kennel.sweep.orders import Sweeps
from kennel.sweep.sweeper import Sweeper
from kennel.terms import grants_of, policy
from kennel.waker import Waker
from kennel.web import create_control_app, create_public_app, listen_tcp, listen_unix, serve
from kennel.web.inbox import GroupCommit
from kennel.web.server import Serving

log = structlog.get_logger(__name__)
PATIENCE = 60.0
"""Seconds that a pass may take at least before the watchdog hears nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that runs, once it does."""

    settings: Settings
    store: Store
    plugins: Plugins
    ports: Ports
    providers: Providers
    registry: Registry
    reconciler: Reconciler
    worker: Worker
    intake: Intake
    sweeper: Sweeper
    public: Serving
    started_at: float


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises KennelError for what stops the start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with _given_up(stop):
                parts = await stack.enter_async_context(started(settings))
                control = await stack.enter_async_context(_controlled(parts))
        except _Stopped:
            return
        await _run(parts, control, stop)


async def _run(parts: Parts, control: Serving, stop: asyncio.Event) -> None:
    settings = parts.settings
    async with asyncio.TaskGroup() as loops:
        tasks = [
            loops.create_task(run_loop(), name=name)
            for name, run_loop in (
                ("reconcile", parts.reconciler.run),
                ("build", parts.worker.run),
                ("intake", parts.intake.run),
                ("sweep", parts.sweeper.run),
                ("retention", partial(retention.run, parts.store, keep=settings.build.keep)),
                ("checks", partial(checks.warn, in_use(parts.providers, parts.ports))),
                ("watchdog", partial(_watch, parts)),
                ("public", partial(_guard, parts.public)),
                ("control", partial(_guard, control)),
            )
        ]
        notify("READY=1")
        log.info("kennel is ready", version=__version__, **_facts(settings))
        await stop.wait()
        notify("STOPPING=1")
        log.info("stopping: services go on" if parts.providers.supervisor.survives else "stopping")
        for task in tasks:
            task.cancel()


class _Stopped(Exception):
    """We were told to stop before we had started."""


@contextlib.asynccontextmanager
async def _given_up(stop: asyncio.Event) -> AsyncIterator[None]:
    """Give up what is under way when we are told to stop: a provider may take long to open."""
    task = asyncio.current_task()

    async def give_up() -> None:
        await stop.wait()
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(give_up())
    try:
        yield
    except asyncio.CancelledError:
        if task is None or not stop.is_set():
            raise
        task.uncancel()
        raise _Stopped from None
    finally:
        watcher.cancel()


async def _guard(server: Serving) -> None:
    """End the daemon with its web server: nobody could reach it any more."""
    await server.ended()
    raise KennelError("a web server ended by itself")


def _facts(settings: Settings) -> dict[str, Any]:
    return {
        "supervisor": settings.supervisor,
        "router": settings.router,
        "webhooks": f"http://{settings.web.host}:{settings.web.port}/webhook",
        "domain": settings.domains.ephemeral,
    }


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Parts]:
    """Open the store and every provider; close them again. Raises KennelError.

    Webhooks are taken in as soon as they can be kept, however long providers take to open.
    """
    premises.make_folders(settings)
    premises.warn_of_missing_programs()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(premises.only_one(settings))
        store = Store(settings.database_url)
        stack.push_async_callback(store.close)
        await store.open()
        await premises.recognise(store, settings)
        now = time.time()
        await register_configured(store, settings, now=now)
        if lost := await store.write(builds.recover):
            log.info("builds that were interrupted are queued again", builds=lost)
        registry = Registry(store, settings)
        await registry.load()
        plugins = Plugins.discover()
        said = PluginSettings(settings.tables, settings.plugin_host)
        ports = plugins.ports(said)
        arrived = asyncio.Event()
        public = await stack.enter_async_context(
            _public(settings, store, registry, ports.forges, arrived=arrived.set)
        )
        providers = await opened(settings, ports, stack)

        def evicted() -> None:
            worker.tidy_soon()  # which is made below: it wakes the reconciler

        reconciler = _reconciler(settings, store, providers, registry, on_evict=evicted)
        stack.push_async_callback(reconciler.stop)
        residents = KnownResidents(store, reconciler, policy(settings))
        await stack.enter_async_context(
            Waker(settings.waker_socket, residents, group=providers.router.group)
        )
        worker = Worker(
            settings,
            store,
            ports.caches,
            on_built=reconciler.wake,
            check=Catalogue.of(ports, plugins, said).check,
            grants=lambda project: grants_of(project, settings, ports.secret_sources),
        )
        stack.push_async_callback(worker.stop)
        intake = Intake.of(
            store,
            ports.forges,
            allow=settings.allow,
            changed=worker.wake,
            gone=_all(reconciler.wake, worker.tidy_soon),
            registered=registry.load,
            label=settings.previews.approval_label,
            arrived=arrived,
        )
        sweeper = Sweeper(
            store,
            Remote(Places.of(settings)),
            ports.forges,
            every=settings.sweep.every,
            label=settings.previews.approval_label,
            drain=intake.drain,
            changed=_all(worker.wake, reconciler.wake),
        )
        yield Parts(
            settings=settings,
            store=store,
            plugins=plugins,
            ports=ports,
            providers=providers,
            registry=registry,
            reconciler=reconciler,
            worker=worker,
            intake=intake,
            sweeper=sweeper,
            public=public,
            started_at=now,
        )


def _all(*functions: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        for function in functions:
            function()

    return call


def _reconciler(
    settings: Settings,
    store: Store,
    providers: Providers,
    registry: Registry,
    *,
    on_evict: Callable[[], None],
) -> Reconciler:
    rules = Rules(
        host=settings.host,
        ephemeral=settings.domains.ephemeral,
        ports=settings.services.port_range,
        policy=policy(settings),
        ready_timeout=settings.services.ready_timeout,
        settle_time=settings.services.settle_time,
        grants=lambda project: grants_of(project, settings, providers.secret_sources),
        secrets_dir=settings.secrets_dir,
        target=settings.domains.target or "",
        wildcard=settings.domains.publish_ephemeral,
    )
    return Reconciler(
        store,
        providers,
        rules,
        Fingerprint(settings.state_dir / "fingerprint.key"),
        every=settings.reconcile.every,
        parallel=settings.reconcile.parallel,
        on_publish=lambda routes: registry.serve(
            frozenset(host for route in routes for host in route.names)
        ),
        on_evict=on_evict,
    )


@contextlib.asynccontextmanager
async def _public(
    settings: Settings,
    store: Store,
    registry: Registry,
    forges: Mapping[str, Forge],
    *,
    arrived: Callable[[], None],
) -> AsyncIterator[Serving]:
    """Take in webhooks on TCP. `arrived` is called when there are some."""
    web = settings.web

    async def keep(new: list[NewDelivery]) -> Sequence[int]:
        ids = await store.write(partial(inbox.add, new=new))
        reached("delivery-stored")
        arrived()
        return ids

    kept = GroupCommit(keep)
    app = create_public_app(
        registry,
        kept,
        forges.values(),
        max_body=web.max_body,
        requests_per_minute=web.requests_per_minute,
    )
    listener = listen_tcp(web.host, web.port)
    try:
        async with serve(app, listener, trusted_proxies=web.trusted_proxies) as server:
            yield server
    finally:
        await kept.close()


@contextlib.asynccontextmanager
async def _controlled(parts: Parts) -> AsyncIterator[Serving]:
    """Answer the command line on the control socket."""
    provisioners = parts.providers.provisioners
    commands = Commands(store=parts.store, reconciler=parts.reconciler, provisioners=provisioners)
    app = create_control_app(
        _control(parts),
        _orders(parts),
        Sweeps(parts.sweeper),
        Inventory(store=parts.store, provisioners=provisioners),
        commands,
    )
    try:
        async with serve(app, listen_unix(parts.settings.control_socket)) as server:
            yield server
    finally:
        await commands.stop()


def _control(parts: Parts) -> Control:
    return Control(
        settings=parts.settings,
        store=parts.store,
        installed=parts.plugins,
        registry=parts.registry,
        reconciler=parts.reconciler,
        sweeper=parts.sweeper,
        providers=parts.providers,
        in_use=in_use(parts.providers, parts.ports),
        changed=_all(parts.worker.wake, parts.reconciler.wake),
        started_at=parts.started_at,
    )


def _orders(parts: Parts) -> Orders:
    return Orders(
        settings=parts.settings,
        store=parts.store,
        reconciler=parts.reconciler,
        changed=_all(parts.worker.wake, parts.reconciler.wake),
    )


async def _watch(parts: Parts) -> None:
    """Tell systemd that we are alive, for as long as passes come about, well or not.

    That a provider is away is nothing that a new start would mend.
    """
    seconds = watchdog_seconds()
    if seconds is None:
        return
    seen, since = -1, time.monotonic()
    while True:
        if parts.reconciler.tries != seen:
            seen, since = parts.reconciler.tries, time.monotonic()
        if time.monotonic() - since < max(parts.settings.reconcile.every * 5, PATIENCE):
            notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 3)
