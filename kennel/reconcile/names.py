"""Keeps the names of custom domains where they are published like the store.

Beside the passes, not in them: who keeps a zone may be slow, and wants to be asked seldom. Only
what was published from here is ever taken away, whatever a zone has that is marked as Kennel's:
another Kennel may publish there too, and an empty store removes nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from kennel.crashpoint import reached
from kennel.domain import Tenant
from kennel.errors import ProviderError
from kennel.plan import Wanted
from kennel.plugin import DnsProvider
from kennel.store import Store, publications

log = structlog.get_logger(__name__)
PATIENCE = 120.0
"""Seconds that one provider may take for everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """What is published. `target`: where every name leads, an address or another name.

    `ephemeral`: the domain whose hosts are nobody's custom ones. `wildcard`: whether one record for
    all of them is published as well. `every`: seconds between two looks that nothing asked for.
    """

    target: str
    ephemeral: str
    wildcard: bool = False
    every: float = 30.0


class Names:
    """Publishes what is live, and takes away what is not any more."""

    def __init__(
        self, store: Store, providers: Mapping[str, DnsProvider], publishing: Publishing
    ) -> None:
        self._store = store
        self._providers = providers
        self._publishing = publishing
        self._task: asyncio.Task[None] | None = None
        self._looked_for: Mapping[str, Tenant | None] | None = None
        self._looked_at = 0.0
        self._troubles: Mapping[str, str] = {}

    @property
    def troubles(self) -> Mapping[Tenant, str]:
        """Return why names of tenants are not published."""
        wanted = self._looked_for or {}
        return {
            tenant: why
            for host, why in self._troubles.items()
            if (tenant := wanted.get(host)) is not None
        }

    def look(self, tenants: Sequence[Wanted]) -> None:
        """Begin to publish, if something else is live than last time or that is long ago."""
        if not self._providers or (self._task is not None and not self._task.done()):
            return
        wanted = hosts_to_publish(tenants, self._publishing)
        due = time.monotonic() - self._looked_at >= self._publishing.every
        if wanted == self._looked_for and not due:
            return
        self._looked_for, self._looked_at = wanted, time.monotonic()
        self._task = asyncio.create_task(self._publish(wanted), name="publish names")

    async def settled(self) -> None:
        """Wait for the end of what is under way. For tests."""
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        """Cut off what is under way. The next start goes on from there."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _publish(self, wanted: Mapping[str, Tenant | None]) -> None:
        troubles: dict[str, str] = {}
        try:
            published = await self._store.read(publications.by_provider)
            shares = shared_out(wanted, self._providers)
            for name in sorted(published.keys() - self._providers.keys()):
                log.warning("names stay published: the plugin is not on", provider=name)
            for name, provider in self._providers.items():
                hosts, noted = shares.get(name, frozenset()), published.get(name, frozenset())
                if hosts or noted:
                    troubles |= await self._attend(provider, hosts, noted)
        except Exception:  # the passes go on whatever this is
            log.exception("publishing names failed")
        finally:
            for host, why in troubles.items():
                if self._troubles.get(host) != why:
                    log.warning("cannot publish", host=host, reason=why)
            self._troubles = troubles

    async def _attend(
        self, provider: DnsProvider, hosts: frozenset[str], noted: frozenset[str]
    ) -> Mapping[str, str]:
        """Bring what one provider has to where it should be. Return why not, by host."""
        troubles: dict[str, str] = {}
        left = sorted(hosts | noted)
        try:
            async with asyncio.timeout(PATIENCE):
                seen = await provider.observe()
                while left:
                    host = left[0]
                    try:
                        if host in hosts:
                            await self._keep(provider, host, seen.get(host), noted=host in noted)
                        else:
                            await self._take_away(provider, host)
                    except ProviderError as error:
                        troubles[host] = str(error)
                    left.pop(0)
        except ProviderError as error:
            troubles |= dict.fromkeys(left, str(error))
        except TimeoutError:
            troubles |= dict.fromkeys(left, f"{provider.name} takes longer than {PATIENCE:g} s")
        except Exception as error:  # a bug in one plugin must not cost those of the others
            log.exception("publishing failed", provider=provider.name)
            troubles |= dict.fromkeys(left, f"internal error: {type(error).__name__}")
        return troubles

    async def _keep(
        self, provider: DnsProvider, host: str, target: str | None, *, noted: bool
    ) -> None:
        """Publish a host that leads to `target` now, None: nowhere. Raises ProviderError."""
        name = provider.name
        if not noted:
            note = partial(publications.note, host=host, provider=name, now=time.time())
            await self._store.write(note)
            reached("name-noted")
        if target != self._publishing.target:
            await provider.ensure(host, self._publishing.target)
            log.info("published", host=host, provider=name, target=self._publishing.target)

    async def _take_away(self, provider: DnsProvider, host: str) -> None:
        """Remove what was published of a host. Raises ProviderError."""
        await provider.remove(host)
        reached("name-removed")
        await self._store.write(partial(publications.drop, host=host, provider=provider.name))
        log.info("not published any more", host=host, provider=provider.name)


def hosts_to_publish(
    tenants: Iterable[Wanted], publishing: Publishing
) -> Mapping[str, Tenant | None]:
    """Return every host that has to be found, with whose it is; None: everybody's."""
    within = f".{publishing.ephemeral}"
    found: dict[str, Tenant | None] = {f"*{within}": None} if publishing.wildcard else {}
    for one in tenants:
        for deployed in one.live:
            name = deployed.key.name
            for host in (*one.hosts.get(name, ()), *one.redirects.get(name, ())):
                if not host.endswith(within):
                    found[host] = one.record.tenant
    return found


def shared_out(
    hosts: Iterable[str], providers: Mapping[str, DnsProvider]
) -> Mapping[str, frozenset[str]]:
    """Return which hosts each provider is to publish: the first that has their zone."""
    found: dict[str, set[str]] = {}
    for host in hosts:
        for name in sorted(providers):
            if providers[name].covers(host):
                found.setdefault(name, set()).add(host)
                break
    return {name: frozenset(those) for name, those in found.items()}
