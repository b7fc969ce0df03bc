"""What there is on the servers of provisioners, and whose it is."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from kennel import views
from kennel.domain import Tenant
from kennel.errors import ProviderError
from kennel.plugin import Provisioner, Resource
from kennel.store import Store, projects, tenants

log = structlog.get_logger(__name__)
LIMIT = 15.0
"""Seconds that a provisioner may take to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Stands behind `kennel resources`."""

    store: Store
    provisioners: Mapping[str, Provisioner]

    async def resources(self, project: str | None) -> views.Resources:
        """Return everything there is, or what a project has. Raises NotFound.

        What the store knows no ref of is an orphan: nobody takes it away unasked, for the store may
        be an older one.
        """
        if project is not None:
            await self.store.read(partial(projects.by_name, name=project))
        names = sorted(self.provisioners)
        answers = await asyncio.gather(*(self._asked(self.provisioners[name]) for name in names))
        known = {one.tenant for one in await self.store.read(tenants.every)}
        told = dict(zip(names, answers, strict=True))
        return views.Resources(
            resources=[
                _view(name, one, known)
                for name, found in told.items()
                if not isinstance(found, str)
                for one in sorted(found, key=lambda one: (one.tenant, one.name))
                if project in {None, one.tenant.project}
            ],
            unreachable={name: why for name, why in told.items() if isinstance(why, str)},
        )

    async def _asked(self, provisioner: Provisioner) -> Sequence[Resource] | str:
        """Return what a provisioner has, or why it does not say."""
        try:
            async with asyncio.timeout(LIMIT):
                return await provisioner.resources()
        except TimeoutError:
            return f"it has not answered for {LIMIT:g} s"
        except ProviderError as error:
            return str(error)
        except Exception as error:
            log.exception("a fault of a provisioner's plugin", provisioner=provisioner.name)
            return f"a fault of the plugin ({type(error).__name__}): see Kennel's log"


def _view(name: str, resource: Resource, known: Collection[Tenant]) -> views.Resource:
    return views.Resource(
        project=resource.tenant.project,
        ref=str(resource.tenant.ref),
        resource=name,
        name=resource.name,
        size=resource.size,
        detail=resource.detail,
        orphan=resource.tenant not in known,
    )
