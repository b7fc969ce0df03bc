"""A provider that the start does not wait for: whoever does not use it goes on without.

It is opened and closed by one task of its own, for as long as that takes.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

import structlog

from kennel.domain import Env, Reference, Secret, Tenant
from kennel.errors import KennelError, Rejected, Unavailable
from kennel.plugin import (
    Order,
    Provider,
    Provisioner,
    Resource,
    SecretSource,
    Supervisor,
)

log = structlog.get_logger(__name__)
PATIENCE = 3.0
"""Seconds that the start waits for it."""
P = TypeVar("P", bound=Provider)
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between tries to open it."""


class Late(Provider, Generic[P]):
    """Stands before a provider, and says that it is away until it has been opened."""

    def __init__(self, inner: P) -> None:
        self.name = inner.name  # type: ignore[misc]  # that of a class, otherwise
        self._inner = inner
        self._away: KennelError | None = Unavailable(f"{inner.name}: it is being opened")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have it open, soon or later. Raises what opening it raises, unless that is Unavailable.

        What it refuses later than soon is told by all that is asked of it, and tried again.
        """
        closing = asyncio.Event()
        soon: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._stay_open(soon, closing), name=f"open {self.name}")
        try:
            await asyncio.wait({task, soon}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            if not soon.done():
                soon.cancel()
                log.warning(
                    "a provider is away: who uses it waits, and nobody else",
                    provider=self.name,
                    reason=str(self._away),
                )
            yield
        finally:
            closing.set()
            if self._away is not None:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _stay_open(self, soon: "asyncio.Future[None]", closing: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
                try:
                    await stack.enter_async_context(self._inner)
                    break
                except Unavailable as error:
                    self._away = Unavailable(str(error))
                except Exception as error:
                    if not soon.done():
                        raise
                    self._away = error if isinstance(error, KennelError) else _fault(error)
                await asyncio.sleep(pause)
            if soon.done():
                log.info("a provider is here", provider=self.name)
            else:
                soon.set_result(None)
            self._away = None
            await closing.wait()

    @property
    def _opened(self) -> P:
        """Return what is open. Raises Unavailable, or Rejected, with why it is not."""
        if self._away is not None:
            raise type(self._away)(str(self._away))
        return self._inner

    async def check(self) -> None:
        await self._opened.check()


class Latecomer(Late[Provisioner], Provisioner):
    """Stands before a provisioner."""

    def __init__(self, inner: Provisioner) -> None:
        super().__init__(inner)
        self.variables = inner.variables  # type: ignore[misc]  # those of a class, otherwise
        self.commands = inner.commands  # type: ignore[misc]

    def use(self, supervisor: Supervisor) -> None:
        self._inner.use(supervisor)

    def check_options(self, options: Mapping[str, object]) -> None:
        self._inner.check_options(options)

    async def observe(self) -> set[Tenant]:
        return await self._opened.observe()

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        return await self._opened.ensure(tenant, options)

    async def remove(self, tenant: Tenant) -> None:
        await self._opened.remove(tenant)

    async def lacking(self, tenants: Collection[Tenant]) -> set[Tenant]:
        return await self._opened.lacking(tenants)

    async def resources(self) -> Sequence[Resource]:
        return await self._opened.resources()

    async def command(self, name: str, order: Order, tell: Callable[[str], None]) -> None:
        await self._opened.command(name, order, tell)


class LateSource(Late[SecretSource], SecretSource):
    """Stands before a secret source."""

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        return await self._opened.resolve(project, profile, names)

    async def shared(
        self, project: str, profile: str, wanted: Collection[Reference]
    ) -> Mapping[Reference, Secret]:
        return await self._opened.shared(project, profile, wanted)

    def place(self, project: str, profile: str, name: str) -> str:
        return self._inner.place(project, profile, name)


def _fault(error: Exception) -> KennelError:
    return Rejected(f"a fault of the plugin ({type(error).__name__}: {error}): it cannot be opened")
