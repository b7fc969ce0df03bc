"""Gives tenants their resources, and takes them away again.

    noted -> made -> recorded: how it is reached … gone -> forgotten

What is noted is never forgotten before it is gone, so that a crash leaks nothing: what a manifest
does not list any more stays until its tenant goes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

import structlog

from kennel.crashpoint import reached
from kennel.domain import Env, Manifest, Secret
from kennel.errors import Rejected
from kennel.plan import Wanted
from kennel.plugin import Provisioner
from kennel.reconcile.variables import Fingerprint
from kennel.store import Store, builds, provisions

log = structlog.get_logger(__name__)


class Provisioning:
    """Asks provisioners for what manifests list, for as many tenants at a time as `places`."""

    def __init__(
        self,
        store: Store,
        provisioners: Mapping[str, Provisioner],
        fingerprint: Fingerprint,
        places: asyncio.Semaphore,
    ) -> None:
        self._store = store
        self._provisioners = provisioners
        self._fingerprint = fingerprint
        self._places = places

    async def given(self, wanted: Wanted, manifest: Manifest) -> Env:
        """Give the tenant the resources of a manifest; return how to reach them.

        Raises Rejected for one that is not on, and whatever a provisioner raises.
        """
        for name in sorted(manifest.resources):
            self._provisioner(name)
        missing = set(manifest.resources) - {one.resource for one in wanted.provisions}
        if missing:
            note = partial(provisions.note, resources=missing, now=time.time())
            await self._store.write(partial(note, tenant_id=wanted.record.id))
        reached("resources-noted")
        made = await self._made(wanted, manifest, manifest.resources)
        reached("resources-ensured")
        await self._record(wanted, made)
        env: dict[str, Secret] = {}
        for name in sorted(made):
            env |= made[name]
        return env

    async def provide(self, wanted: Wanted, resources: Collection[str]) -> None:
        """Make resources again that what is live lacks. Raises as `given` does."""
        log.warning(
            "a resource is lacking: it is made again",
            tenant=str(wanted.record.tenant),
            resources=sorted(resources),
        )
        for name in sorted(resources):
            self._provisioner(name)
        build = await self._store.read(partial(builds.get, build_id=wanted.live[0].build))
        doubt = partial(provisions.doubt, resources=resources, now=time.time())
        await self._store.write(partial(doubt, tenant_id=wanted.record.id))
        reached("resources-doubted")
        made = await self._made(wanted, build.manifest or Manifest(), resources)
        digests = self._digests(made)
        await self._store.write(
            partial(provisions.gave, tenant_id=wanted.record.id, digests=digests)
        )
        reached("resources-provided")

    async def renew(self, wanted: Wanted) -> None:
        """Let what is live be deployed once more: its resources are reached otherwise by now."""
        log.info("resources are reached otherwise by now", tenant=str(wanted.record.tenant))
        live = max(one.build for one in wanted.live)
        renew = partial(provisions.renew, build_id=live, now=time.time())
        await self._store.write(partial(renew, tenant_id=wanted.record.id))
        reached("renewal-recorded")

    async def remove(self, wanted: Wanted, still: Callable[[], Awaitable[bool]]) -> bool:
        """Take away everything there may be of a tenant that is gone, while it `still` is.

        Return False if it came back. Raises Rejected, once all else is gone, for what nobody here
        can take away, and whatever a provisioner raises.
        """
        there = await self._store.read(partial(provisions.of, tenant_id=wanted.record.id))
        left = [name for name in there if name not in self._provisioners]
        for name in sorted(set(there).difference(left)):
            if not await still():
                return False
            await self._provisioners[name].remove(wanted.record.tenant)
            reached("resource-removed")
            drop = partial(provisions.drop, resource=name)
            await self._store.write(partial(drop, tenant_id=wanted.record.id))
        if left and await still():
            names = ", ".join(left)
            tables = " and ".join(f"[plugins.{name}]" for name in left)
            raise Rejected(
                f"its data stays: nobody here can remove what it has of {names}."
                f" An operator puts {tables} back into kennel.toml"
            )
        return await still()

    def _provisioner(self, name: str) -> Provisioner:
        """Return who makes a resource. Raises Rejected, with the fix, if nobody does."""
        if found := self._provisioners.get(name):
            return found
        there = ", ".join(sorted(self._provisioners)) or "none"
        raise Rejected(
            f"resource {name!r} is not to be had here; there is: {there}."
            f" An operator adds it with a [plugins.{name}] table in kennel.toml"
        )

    async def _made(
        self, wanted: Wanted, manifest: Manifest, resources: Collection[str]
    ) -> dict[str, Env]:
        tenant, made = wanted.record.tenant, dict[str, Env]()
        async with self._places:
            for name in sorted(resources):
                options = manifest.resources.get(name, {})
                made[name] = await self._provisioners[name].ensure(tenant, options)
        return made

    async def _record(self, wanted: Wanted, made: Mapping[str, Env]) -> None:
        """Record how resources are reached, if that is news."""
        known = {one.resource: one.given for one in wanted.provisions}
        digests = self._digests(made)
        changed = {name: digest for name, digest in digests.items() if known.get(name) != digest}
        if changed:
            gave = partial(provisions.gave, digests=changed)
            await self._store.write(partial(gave, tenant_id=wanted.record.id))

    def _digests(self, made: Mapping[str, Env]) -> dict[str, str]:
        return {name: self._fingerprint.of_given(name, env) for name, env in made.items()}
