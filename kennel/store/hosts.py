"""Who has which host. A host belongs to one tenant at a time, and its choice stays."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kennel.domain import Manifest, Service, Site, Tenant, names
from kennel.errors import Rejected
from kennel.store.tables import hosts, projects, tenants

TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host that leads to a service or site of a tenant.

    `position`: among its custom ones, in the order of the manifest. `redirect`: it answers at
    another, the first of these.
    """

    host: str
    name: str
    custom: bool
    position: int = 0
    redirect: bool = False


def by_name(held: Iterable[Host], *, redirects: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the hosts at which each service and site answers, the one that people are told last.

    `redirects`: those that lead there instead.
    """
    found: dict[str, tuple[str, ...]] = {}
    for one in sorted(held, key=lambda h: (h.custom, -h.position, h.host)):
        if one.redirect is redirects:
            found[one.name] = (*found.get(one.name, ()), one.host)
    return found


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
    things: list[Service | Site] = [*manifest.services.values(), *manifest.sites.values()]
    found = [host for thing in things for host in _asked_by(thing)]
    for host in found:
        if not is_granted(host.host, granted):
            raise Rejected(
                f"{host.name}: custom domain {host.host} is not granted to project"
                f" {tenant.project}. An operator grants it in kennel.toml:"
                f' [projects.{tenant.project}] domains = ["{host.host}"]'
            )
        if _owner(db, host.host) not in {None, tenant_id}:
            raise Rejected(
                f"{host.name}: custom domain {host.host} is in use by another project"
                " or ref: take it away there first"
            )
    return found


def _asked_by(thing: Service | Site) -> Iterator[Host]:
    """Yield the custom hosts that a service or site asks for."""
    for redirect, asked in ((False, thing.custom_domains), (True, thing.redirects)):
        for position, host in enumerate(asked):
            yield Host(
                host=host, name=thing.name, custom=True, position=position, redirect=redirect
            )


def is_granted(host: str, granted: Collection[str]) -> bool:
    """Return whether a host is one of those granted; `*.` stands for one label."""
    return host in granted or f"*.{host.partition('.')[2]}" in granted


def withdraw(db: Connection, *, project_id: int, granted: Collection[str]) -> None:
    """Free the custom hosts of a project that are not granted to it any more."""
    query = (
        sa.select(hosts.c.host)
        .join(tenants, tenants.c.id == hosts.c.tenant_id)
        .where(tenants.c.project_id == project_id, hosts.c.custom)
    )
    lost = [host for host in db.scalars(query) if not is_granted(host, granted)]
    db.execute(sa.delete(hosts).where(hosts.c.host.in_(lost)))


def _owner(db: Connection, host: str) -> int | None:
    return db.scalar(sa.select(hosts.c.tenant_id).where(hosts.c.host == host))


def _hold(db: Connection, tenant_id: int, host: Host) -> None:
    if _owner(db, host.host) is None:
        db.execute(sa.insert(hosts).values(tenant_id=tenant_id, **asdict(host)))


def settle(db: Connection, *, tenant_id: int, wanted: list[Host]) -> None:
    """Make these the tenant's only hosts: what it does not need any more is free again."""
    keep = [host.host for host in wanted]
    mine = hosts.c.tenant_id == tenant_id
    db.execute(sa.delete(hosts).where(mine, hosts.c.host.not_in(keep)))
    for host in wanted:
        db.execute(sa.update(hosts).where(mine, hosts.c.host == host.host).values(**asdict(host)))


def by_tenant(db: Connection) -> Mapping[int, list[Host]]:
    """Return all hosts, by the id of the tenant."""
    found: dict[int, list[Host]] = {}
    for row in db.execute(sa.select(hosts)):
        values = row._asdict()
        found.setdefault(values.pop("tenant_id"), []).append(Host(**values))
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
