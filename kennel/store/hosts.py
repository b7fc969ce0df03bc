"""Who has which host. A host belongs to one tenant at a time, and its choice stays."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kennel.domain import Manifest, Service, Site, Tenant, names
from kennel.errors import Rejected
from kennel.store.tables import hosts, projects, tenants

TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host a service or site of a tenant answers at."""

    host: str
    name: str
    custom: bool


def reserve(
    db: Connection,
    *,
    tenant_id: int,
    tenant: Tenant,
    manifest: Manifest,
    ephemeral: str,
    custom: bool,
    granted: tuple[str, ...],
) -> list[Host]:
    """Return the hosts of everything a manifest declares, and hold those that are new.

    `ephemeral`: the domain every ref gets a host under. `custom`: whether the tenant may have its
    custom domains, within what is `granted`. Hosts that the tenant had for something else stay
    with that until `settle`. Raises Rejected for a custom domain it cannot have.
    """
    primary = names.primary_of(tenant.project, manifest)
    wanted: list[Host] = []
    listening = [name for name, service in manifest.services.items() if service.listens]
    for name in sorted([*listening, *manifest.sites]):
        labels = names.host_labels(tenant, None if name == primary else name)
        candidates = (f"{label}.{ephemeral}" for label in islice(labels, TRIES))
        taken = {host.host for host in wanted}
        free = (h for h in candidates if h not in taken and _owner(db, h) in {None, tenant_id})
        wanted.append(Host(host=next(free), name=name, custom=False))
    if custom:
        wanted += _custom_hosts(db, tenant_id, tenant, manifest, granted)
    for host in wanted:
        _hold(db, tenant_id, host)
    return wanted


def _custom_hosts(
    db: Connection, tenant_id: int, tenant: Tenant, manifest: Manifest, granted: tuple[str, ...]
) -> list[Host]:
    found = []
    things: list[Service | Site] = [*manifest.services.values(), *manifest.sites.values()]
    for thing in things:
        if thing.custom_domain is None:
            continue
        if not is_granted(thing.custom_domain, granted):
            raise Rejected(
                f"{thing.name}: custom domain {thing.custom_domain} is not granted to project"
                f" {tenant.project}. An operator grants it in kennel.toml:"
                f' [projects.{tenant.project}] domains = ["{thing.custom_domain}"]'
            )
        if _owner(db, thing.custom_domain) not in {None, tenant_id}:
            raise Rejected(
                f"{thing.name}: custom domain {thing.custom_domain} is in use by another project"
                " or ref: take it away there first"
            )
        found.append(Host(host=thing.custom_domain, name=thing.name, custom=True))
    return found


def is_granted(host: str, granted: tuple[str, ...]) -> bool:
    """Return whether a host is one of those granted; `*.` stands for one label."""
    return host in granted or f"*.{host.partition('.')[2]}" in granted


def _owner(db: Connection, host: str) -> int | None:
    return db.scalar(sa.select(hosts.c.tenant_id).where(hosts.c.host == host))


def _hold(db: Connection, tenant_id: int, host: Host) -> None:
    if _owner(db, host.host) is None:
        row = {"host": host.host, "tenant_id": tenant_id, "name": host.name, "custom": host.custom}
        db.execute(sa.insert(hosts).values(**row))


def settle(db: Connection, *, tenant_id: int, wanted: list[Host]) -> None:
    """Make these the tenant's only hosts: what it does not need any more is free again."""
    keep = [host.host for host in wanted]
    mine = hosts.c.tenant_id == tenant_id
    db.execute(sa.delete(hosts).where(mine, hosts.c.host.not_in(keep)))
    for host in wanted:
        change = {"name": host.name, "custom": host.custom}
        db.execute(sa.update(hosts).where(mine, hosts.c.host == host.host).values(**change))


def by_tenant(db: Connection) -> Mapping[int, list[Host]]:
    """Return all hosts, in order, by the id of the tenant."""
    found: dict[int, list[Host]] = {}
    order = (hosts.c.tenant_id, hosts.c.custom, hosts.c.host)
    for row in db.execute(sa.select(hosts).order_by(*order)):
        host = Host(host=row.host, name=row.name, custom=row.custom)
        found.setdefault(row.tenant_id, []).append(host)
    return found


def owner_of(db: Connection, host: str) -> str | None:
    """Return the project that has a host."""
    query = (
        sa.select(projects.c.name)
        .join(tenants, tenants.c.project_id == projects.c.id)
        .join(hosts, hosts.c.tenant_id == tenants.c.id)
        .where(hosts.c.host == host)
    )
    return db.scalar(query)
