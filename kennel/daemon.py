"""Put the parts together and keep them running.

Started from the ground up (store, providers, servers, loops) and stopped from the roof down:
requests are finished, builds go back to the queue, services are left alone.
"""

import asyncio
import contextlib
import fcntl
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from kennel import __version__
from kennel.build import Worker
from kennel.control import Control
from kennel.crashpoint import reached
from kennel.domain.delivery import NewDelivery
from kennel.errors import ConfigError, KennelError
from kennel.intake import Intake
from kennel.notify import notify, watchdog_seconds
from kennel.plugin import PluginSettings, Provider
from kennel.plugin.manager import Plugins, Ports, choose
from kennel.plugin.offer import KINDS
from kennel.reconcile import Providers, Reconciler, Rules
from kennel.reconcile.variables import Fingerprint
from kennel.registry import Registry, register_configured
from kennel.settings import Settings
from kennel.store import Store, builds, inbox
from kennel.web import create_control_app, create_public_app, listen_tcp, listen_unix, serve
from kennel.web.inbox import GroupCommit

log = structlog.get_logger(__name__)


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
    started_at: float


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises KennelError for what stops the start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with started(settings) as parts, serving(parts), asyncio.TaskGroup() as loops:
        tasks = [
            loops.create_task(run_loop(), name=name)
            for name, run_loop in (
                ("reconcile", parts.reconciler.run),
                ("build", parts.worker.run),
                ("intake", parts.intake.run),
                ("watchdog", partial(_watch, parts)),
            )
        ]
        notify("READY=1")
        log.info("kennel is ready", version=__version__, **_facts(settings))
        await stop.wait()
        notify("STOPPING=1")
        log.info("stopping: services go on" if parts.providers.supervisor.survives else "stopping")
        for task in tasks:
            task.cancel()


def _facts(settings: Settings) -> dict[str, Any]:
    return {
        "supervisor": settings.supervisor,
        "router": settings.router,
        "webhooks": f"http://{settings.web.host}:{settings.web.port}/webhook",
        "domain": settings.domains.ephemeral,
    }


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Parts]:
    """Open the store and every provider; close them again. Raises KennelError."""
    _make_folders(settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_only_one(settings))
        store = Store(settings.database_url)
        stack.push_async_callback(store.close)
        await store.open()
        now = time.time()
        await register_configured(store, settings, now=now)
        if lost := await store.write(builds.recover):
            log.info("builds that were interrupted are queued again", builds=lost)
        registry = Registry(store, settings)
        await registry.load()
        plugins = Plugins.discover()
        ports = plugins.ports(PluginSettings(settings.tables, settings.plugin_host))
        providers = await _opened(settings, ports, stack)
        reconciler = _reconciler(settings, store, providers, registry)
        stack.push_async_callback(reconciler.stop)
        worker = Worker(settings, store, ports.caches, on_built=reconciler.wake)
        stack.push_async_callback(worker.stop)
        intake = Intake.of(
            store,
            ports.forges,
            allow=settings.allow,
            changed=_all(worker.wake, reconciler.wake),
            registered=registry.load,
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
    with (settings.state_dir / "daemon.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"another Kennel runs on {settings.state_dir}: stop it, or choose another state_dir"
            ) from error
        yield


def _all(*functions: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        for function in functions:
            function()

    return call


async def _opened(settings: Settings, ports: Ports, stack: contextlib.AsyncExitStack) -> Providers:
    """Choose and open the providers in use. A Rejected one stops the start."""
    providers = Providers(
        supervisor=choose("supervisor", settings.supervisor, ports.supervisors),
        router=choose("router", settings.router, ports.routers),
        provisioners=ports.provisioners,
    )
    for kind, one in in_use(providers, ports):
        try:
            await stack.enter_async_context(one)
        except KennelError as error:
            raise ConfigError(f"{kind} {one.name!r} cannot be used: {error}") from error
    return providers


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
async def serving(parts: Parts) -> AsyncIterator[None]:
    """Answer webhooks on TCP and the command line on the control socket."""
    settings, web = parts.settings, parts.settings.web

    async def keep(new: list[NewDelivery]) -> Sequence[int]:
        ids = await parts.store.write(partial(inbox.add, new=new))
        reached("delivery-stored")
        parts.intake.wake()
        return ids

    kept = GroupCommit(keep)
    public = create_public_app(
        parts.registry,
        kept,
        parts.ports.forges.values(),
        max_body=web.max_body,
        requests_per_minute=web.requests_per_minute,
    )
    control = create_control_app(_control(parts))
    async with (
        serve(control, listen_unix(settings.control_socket)),
        serve(public, listen_tcp(web.host, web.port), trusted_proxies=web.trusted_proxies),
    ):
        yield
    await kept.close()


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
    """Tell systemd that we are alive, for as long as passes come about."""
    seconds = watchdog_seconds()
    if seconds is None:
        return
    seen, since = -1, time.monotonic()
    while True:
        if parts.reconciler.passes != seen:
            seen, since = parts.reconciler.passes, time.monotonic()
        if time.monotonic() - since < parts.settings.reconcile.every * 5:
            notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 3)
