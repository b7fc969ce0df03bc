"""Put the parts together and keep them running.

Started from the ground up (store, providers, servers, loops) and stopped from the roof down:
requests are finished, builds go back to the queue, services are left alone.
"""

import asyncio
import contextlib
import fcntl
import itertools
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from kennel import __version__, retention
from kennel.build import Worker
from kennel.control import Control
from kennel.crashpoint import reached
from kennel.domain.delivery import NewDelivery
from kennel.errors import ConfigError, KennelError, PluginError, Unavailable
from kennel.intake import Intake
from kennel.notify import notify, watchdog_seconds
from kennel.plugin import Forge, PluginSettings, Provider
from kennel.plugin.manager import Plugins, Ports, choose
from kennel.plugin.offer import KINDS
from kennel.reconcile import Providers, Reconciler, Rules
from kennel.reconcile.variables import Fingerprint
from kennel.registry import Registry, register_configured
from kennel.settings import Settings
from kennel.store import Store, builds, inbox, releases
from kennel.web import create_control_app, create_public_app, listen_tcp, listen_unix, serve
from kennel.web.inbox import GroupCommit
from kennel.web.server import Serving

log = structlog.get_logger(__name__)
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between tries to open a provider that is out of reach."""
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
                ("retention", partial(retention.run, parts.store, keep=settings.build.keep)),
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
    _make_folders(settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_only_one(settings))
        store = Store(settings.database_url)
        stack.push_async_callback(store.close)
        await store.open()
        await _recognise(store, settings)
        now = time.time()
        await register_configured(store, settings, now=now)
        if lost := await store.write(builds.recover):
            log.info("builds that were interrupted are queued again", builds=lost)
        registry = Registry(store, settings)
        await registry.load()
        plugins = Plugins.discover()
        ports = plugins.ports(PluginSettings(settings.tables, settings.plugin_host))
        arrived = asyncio.Event()
        public = await stack.enter_async_context(
            _public(settings, store, registry, ports.forges, arrived=arrived.set)
        )
        providers = await _opened(settings, ports, stack)
        reconciler = _reconciler(settings, store, providers, registry)
        stack.push_async_callback(reconciler.stop)
        worker = Worker(settings, store, ports.caches, on_built=reconciler.wake)
        stack.push_async_callback(worker.stop)
        intake = Intake.of(
            store,
            ports.forges,
            allow=settings.allow,
            changed=worker.wake,
            gone=reconciler.wake,
            registered=registry.load,
            arrived=arrived,
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
            public=public,
            started_at=now,
        )


def _make_folders(settings: Settings) -> None:
    for folder, setting in ((settings.state_dir, "state_dir"), (settings.run_dir, "run_dir")):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        except OSError as error:
            raise ConfigError(
                f"{setting}: cannot make {folder}: {error.strerror}. Choose another folder in"
                " kennel.toml, or run as a user who may write there"
            ) from error


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Hold the state folder for ourselves: two daemons on it would fight over every tenant."""
    try:
        held = (settings.state_dir / "daemon.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"state_dir: cannot write to {settings.state_dir}: {error.strerror}. Run as the user"
            " that it belongs to, or choose another folder in kennel.toml"
        ) from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"another Kennel runs on {settings.state_dir}: stop it, or choose another state_dir"
            ) from error
        yield


async def _recognise(store: Store, settings: Settings) -> None:
    """Know this machine again if it is called something else by now.

    What runs on it would not be known otherwise, and nothing be sent to it.
    """
    known = await store.read(releases.machines)
    if not known or settings.host in known:
        return
    if not store.is_local or len(known) > 1:
        raise ConfigError(
            f"host: the database knows what runs on {', '.join(sorted(known))}, and this machine is"
            f' {settings.host}: set host = "{min(known)}" in kennel.toml if it is the same one'
        )
    [old] = known
    log.warning("this machine was called something else", before=old, now=settings.host)
    await store.write(partial(releases.rename_machine, old=old, new=settings.host))


def _all(*functions: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        for function in functions:
            function()

    return call


async def _opened(settings: Settings, ports: Ports, stack: contextlib.AsyncExitStack) -> Providers:
    """Choose and open the providers in use. A Rejected one stops the start, others are awaited."""
    providers = Providers(
        supervisor=choose("supervisor", settings.supervisor, ports.supervisors),
        router=choose("router", settings.router, ports.routers),
        provisioners=ports.provisioners,
    )
    for kind, one in in_use(providers, ports):
        await _open(stack, kind, one)
    return providers


async def _open(stack: contextlib.AsyncExitStack, kind: str, one: Provider) -> None:
    for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
        try:
            await stack.enter_async_context(one)
        except Unavailable as error:
            reason = str(error)
        except KennelError as error:
            raise ConfigError(f"{kind} {one.name!r} cannot be used: {error}") from error
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise PluginError(f"{kind} {one.name!r} cannot be opened: {what}") from error
        else:
            return
        log.warning("waiting for a provider", kind=kind, provider=one.name, reason=reason)
        notify(f"STATUS=waiting for {kind} {one.name}: {reason}\nEXTEND_TIMEOUT_USEC=60000000")
        await asyncio.sleep(pause)


def in_use(providers: Providers, ports: Ports) -> Sequence[tuple[str, Provider]]:
    """Return every provider that this daemon works with, with its kind."""
    chosen: list[tuple[str, Provider]] = [
        ("supervisor", providers.supervisor),
        ("router", providers.router),
    ]
    rest = ("kennel_provisioners", "kennel_secret_sources", "kennel_dns_providers")
    for hook in (*rest, "kennel_forges", "kennel_caches"):
        offered = getattr(ports, hook.removeprefix("kennel_"))
        chosen += [(KINDS[hook][0], one) for one in offered.values()]
    return chosen


def _reconciler(
    settings: Settings, store: Store, providers: Providers, registry: Registry
) -> Reconciler:
    rules = Rules(
        host=settings.host,
        ephemeral=settings.domains.ephemeral,
        ports=settings.services.port_range,
        limits=settings.services.limits,
        drain=settings.services.drain,
        ready_timeout=settings.services.ready_timeout,
    )
    return Reconciler(
        store,
        providers,
        rules,
        Fingerprint(settings.state_dir / "fingerprint.key"),
        every=settings.reconcile.every,
        parallel=settings.reconcile.parallel,
        on_publish=lambda routes: registry.serve(
            frozenset(host for route in routes for host in route.hosts)
        ),
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
    app = create_control_app(_control(parts))
    async with serve(app, listen_unix(parts.settings.control_socket)) as server:
        yield server


def _control(parts: Parts) -> Control:
    return Control(
        settings=parts.settings,
        store=parts.store,
        installed=parts.plugins,
        registry=parts.registry,
        reconciler=parts.reconciler,
        providers=parts.providers,
        in_use=in_use(parts.providers, parts.ports),
        changed=_all(parts.worker.wake, parts.reconciler.wake),
        started_at=parts.started_at,
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
