"""The daemon as a whole: how it starts, what it outlives, how it ends."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Self

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from kennel import daemon, latecomer, opening
from kennel.cli.client import Daemon
from kennel.domain import Ref, Service, Tenant
from kennel.domain.delivery import NewDelivery
from kennel.errors import ConfigError, KennelError, PluginError, Rejected, Unavailable
from kennel.plugin import PluginSettings, hookimpl
from kennel.plugin.manager import Plugins
from kennel.settings import ReconcileTable, Settings, WebTable
from kennel.store import Store, builds, inbox, projects, releases, tenants
from kennel.testing import MemoryProvisioner, MemoryRouter, MemorySupervisor


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Reluctant(MemoryProvisioner):
    """A resource that raises when it is opened, for as long as `problem` is set."""

    name: ClassVar[str] = "reluctant"
    variables: ClassVar[frozenset[str]] = frozenset({"RELUCTANT_URL"})

    def __init__(self) -> None:
        super().__init__()
        self.refusal: Exception | None = None
        self.opened = 0
        self.closed = 0

    async def __aenter__(self) -> Self:
        self.opened += 1
        if self.refusal:
            raise self.refusal
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed += 1


class Parts:
    """The providers of a daemon that a test runs, and its settings."""

    def __init__(self, folder: Path) -> None:
        self.supervisor, self.router, self.resource = (
            MemorySupervisor(),
            MemoryRouter(),
            Reluctant(),
        )
        self.settings = Settings(
            state_dir=folder / "state",
            run_dir=folder / "run",
            host="here",
            supervisor="memory",
            router="memory",
            web=WebTable(port=free_port()),
            plugins={"memory": {}},
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.web.port}"

    def plugin(self) -> ModuleType:
        module = ModuleType("kennel_memory")

        def offer(*providers: object) -> Callable[..., object]:
            def hook(settings: PluginSettings) -> Iterable[object]:
                return providers

            return hookimpl(hook)

        module.kennel_supervisors = offer(self.supervisor)  # type: ignore[attr-defined]
        module.kennel_routers = offer(self.router)  # type: ignore[attr-defined]
        module.kennel_provisioners = offer(self.resource)  # type: ignore[attr-defined]
        return module

    @asynccontextmanager
    async def running(self, *, ready: bool = True) -> AsyncIterator["asyncio.Task[None]"]:
        """Run the daemon; with `ready`, wait until it answers the command line."""
        task = asyncio.create_task(daemon.run(self.settings))
        try:
            if ready:
                await until(self.settings.control_socket.exists, task)
            yield task
        finally:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(20):
                await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        store = Store(self.settings.database_url)
        await store.open()
        yield store
        await store.close()


async def until(question: Callable[[], object], task: "asyncio.Task[None] | None" = None) -> None:
    async with asyncio.timeout(15):
        while not question():
            if task is not None and task.done():
                await task
            await asyncio.sleep(0.01)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    with tempfile.TemporaryDirectory(prefix="kennel-") as folder:  # sockets have short paths
        parts = Parts(Path(folder))
        installed = Plugins.discover()._installed
        both = {**installed, "memory": (parts.plugin(), None)}
        monkeypatch.setattr(Plugins, "discover", lambda: Plugins(both))
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        yield parts


async def listens(parts: Parts) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            answer = await client.post(f"{parts.url}/webhook", headers={"x-forgejo-event": "push"})
        except httpx.TransportError:
            return False
        return answer.status_code == 401


class TestTheStart:
    async def test_webhooks_are_taken_in_while_a_provider_is_away(
        self, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(latecomer, "PAUSES", (0.05,))
        parts.resource.refusal = Unavailable("the server is starting up")
        async with parts.running(ready=False) as task:
            await until(lambda: parts.resource.opened > 2, task)
            assert await listens(parts)
            assert not parts.settings.control_socket.exists()
            parts.resource.refusal = None
            await until(parts.settings.control_socket.exists, task)
        assert task.exception() is None

    async def test_it_waits_for_the_router(
        self, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(opening, "PAUSES", (0.05,))
        tries = 0

        async def enter(self: MemoryRouter) -> MemoryRouter:
            nonlocal tries
            tries += 1
            if tries < 4:
                assert not parts.settings.control_socket.exists()
                raise Unavailable("the proxy is starting up")
            return self

        monkeypatch.setattr(MemoryRouter, "__aenter__", enter)
        async with parts.running() as task:
            assert tries == 4
        assert task.exception() is None

    async def test_it_does_not_wait_long_for_what_only_some_use(
        self, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(latecomer, "PATIENCE", 0.1)
        monkeypatch.setattr(latecomer, "PAUSES", (0.05,))
        parts.resource.refusal = Unavailable("the server is starting up")
        async with parts.running() as task:
            with Daemon(parts.settings.control_socket) as kennel:
                said = await asyncio.to_thread(kennel.health)
                assert [one.problem for one in said.providers if one.problem] == [
                    "the server is starting up"
                ]
                found = await asyncio.to_thread(kennel.resources)
                assert found.unreachable == {"reluctant": "the server is starting up"}
                parts.resource.refusal = None
                async with asyncio.timeout(10):
                    while (await asyncio.to_thread(kennel.resources)).unreachable:
                        await asyncio.sleep(0.02)
        assert task.exception() is None
        assert parts.resource.closed == 1

    async def test_it_can_be_ended_while_a_provider_is_away(self, parts: Parts) -> None:
        parts.resource.refusal = Unavailable("the server is starting up")
        async with parts.running(ready=False) as task:
            await until(lambda: parts.resource.opened, task)
        assert task.done()
        assert task.exception() is None
        assert not await listens(parts)

    @pytest.mark.parametrize(
        ("refusal", "kind", "words"),
        [
            (Rejected("no such role"), ConfigError, "'reluctant' cannot be used: no such role"),
            (KeyError("x"), PluginError, "'reluctant' cannot be opened: KeyError"),
        ],
    )
    async def test_a_provider_that_refuses_stops_it_with_a_reason(
        self, parts: Parts, refusal: Exception, kind: type[KennelError], words: str
    ) -> None:
        parts.resource.refusal = refusal
        with pytest.raises(kind, match=words) as caught:
            await daemon.run(parts.settings)
        assert "\n" not in str(caught.value)
        assert not await listens(parts)

    async def test_two_on_one_state_folder_are_one_too_many(self, parts: Parts) -> None:
        async with parts.running():
            other = msgspec.structs.replace(
                parts.settings, run_dir=parts.settings.run_dir / "b", web=WebTable(port=0)
            )
            with pytest.raises(ConfigError, match="another Kennel runs on"):
                async with daemon.started(other):
                    pass

    async def test_a_port_that_is_taken_is_named(self, parts: Parts) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", parts.settings.web.port))
            taken.listen()
            with pytest.raises(ConfigError, match=r"web\.port"):
                await daemon.run(parts.settings)

    async def test_a_state_folder_that_cannot_be_written_to_is_named(self, parts: Parts) -> None:
        (parts.settings.state_dir / "daemon.lock").mkdir(parents=True)
        with pytest.raises(ConfigError, match="state_dir: cannot write"):
            await daemon.run(parts.settings)

    async def test_a_state_folder_that_cannot_be_made_is_named(self, parts: Parts) -> None:
        parts.settings.state_dir.write_text("a file")
        with pytest.raises(ConfigError, match="state_dir: cannot make"):
            await daemon.run(parts.settings)


class TestOldState:
    @staticmethod
    def live(db: sa.Connection, host: str) -> None:
        """Put a service that is live into the store, as an earlier Kennel would have."""
        project = projects.register(
            db, now=1.0, forge="forgejo", full_name="acme/shop", clone_url="https://x"
        )
        main = Ref.branch("main")
        tenants.seen(db, project_id=project.id, ref=main, trusted=True, now=1.0)
        record = tenants.find(db, Tenant("shop", main))
        assert record
        build = builds.queue(
            db, project_id=project.id, ref=main, commit="1" * 40, trusted=True, now=1.0
        )
        assert build
        claim = releases.Claim(
            service=Service(name="api", package="api"), command=("/x",), digest="d"
        )
        releases.claim(
            db,
            tenant_id=record.id,
            tenant=record.tenant,
            build_id=build,
            claims=[claim],
            host=host,
            ports=range(20000, 20001),
            is_free=lambda _: True,
            now=1.0,
        )

    async def test_a_machine_that_was_renamed_knows_what_runs_on_it(self, parts: Parts) -> None:
        async with parts.store() as store:
            await store.write(partial(self.live, host="laptop.local"))
        async with daemon.started(parts.settings) as started:
            assert await started.store.read(releases.machines) == {"here"}

    async def test_builds_that_were_interrupted_are_queued_again(self, parts: Parts) -> None:
        async with parts.store() as store:
            await store.write(partial(self.live, host="here"))
            await store.write(partial(builds.claim, now=2.0))
        async with daemon.started(parts.settings) as started:
            [build] = await started.store.read(builds.recent)
            assert build.state == "queued"

    async def test_deliveries_of_before_are_handled(self, parts: Parts) -> None:
        new = NewDelivery(
            forge="forgejo",
            event="push",
            delivery_id="1",
            project="acme/shop",
            headers={"x-forgejo-event": "push"},
            body=b"nonsense",
            received_at=1.0,
        )
        async with parts.store() as store:
            await store.write(partial(inbox.add, new=[new]))
        async with parts.running(), parts.store() as store:
            async with asyncio.timeout(10):
                while await store.read(inbox.waiting):
                    await asyncio.sleep(0.01)


class TestTheServiceManager:
    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
        """Listen as systemd does. Give a function that returns what was told so far."""
        said: list[str] = []
        with (
            tempfile.TemporaryDirectory(prefix="kennel-") as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        ):
            manager.bind(f"{folder}/notify")
            manager.setblocking(False)
            monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
            monkeypatch.setenv("WATCHDOG_USEC", "60000")
            monkeypatch.delenv("WATCHDOG_PID", raising=False)

            def read() -> list[str]:
                while True:
                    try:
                        said.append(manager.recv(4096).decode())
                    except BlockingIOError:
                        return said

            yield read

    async def test_it_is_told_of_start_life_and_end(
        self, parts: Parts, told: Callable[[], list[str]]
    ) -> None:
        async with parts.running() as task:
            await until(lambda: "WATCHDOG=1" in told(), task)
            assert "READY=1" in told()
        assert told()[-1] == "STOPPING=1"

    async def test_providers_that_are_away_are_no_reason_to_be_killed(
        self, parts: Parts, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(daemon, "PATIENCE", 0.3)
        monkeypatch.setattr("kennel.reconcile.reconciler.SOON", 0.05)
        parts.settings = msgspec.structs.replace(
            parts.settings, reconcile=ReconcileTable(every=0.05)
        )
        parts.supervisor.problem = Unavailable("no bus")
        async with parts.running() as task:
            await asyncio.sleep(1.0)
            told().clear()
            await asyncio.sleep(0.5)
            assert "WATCHDOG=1" in told()
            assert not task.done()

    async def test_a_pass_that_hangs_is_one(
        self, parts: Parts, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hang() -> None:
            await asyncio.sleep(3600)

        monkeypatch.setattr(daemon, "PATIENCE", 0.3)
        monkeypatch.setattr(parts.router, "observe", hang)
        parts.settings = msgspec.structs.replace(
            parts.settings, reconcile=ReconcileTable(every=0.05)
        )
        async with parts.running():
            await asyncio.sleep(1.0)
            told().clear()
            await asyncio.sleep(0.5)
            assert told() == []
