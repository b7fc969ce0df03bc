"""What is live and what is becoming live: generations, and the deployments that point to them."""

import socket
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from kennel.domain import Environment, Key, Manifest, Route, Service, Target, Tenant, names
from kennel.domain.record import TenantRecord
from kennel.domain.route import Files, Upstream
from kennel.errors import Unavailable
from kennel.plan import Deployed, Generation
from kennel.store import builds, hosts, provisions
from kennel.store.hosts import Host
from kennel.store.tables import deployments, generations, tenants

DIGITS = 12
"""Digits of a generation's digest in the name of its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A service of a build that needs a generation of this digest."""

    service: Service
    command: tuple[str, ...]
    digest: str


def generation(row: Row[Any], tenant: Tenant) -> Generation:
    """Return a row of generations as the plan wants it."""
    return Generation(
        id=row.id,
        key=Key(tenant, row.name),
        build=row.build_id,
        unit=row.unit,
        port=row.port,
        digest=row.digest,
        command=tuple(row.command),
        service=msgspec.convert(row.spec, Service),
        retired_at=row.retired_at,
    )


def claim(
    db: Connection,
    *,
    tenant_id: int,
    tenant: Tenant,
    build_id: int,
    claims: Iterable[Claim],
    host: str,
    ports: range,
    is_free: Callable[[int], bool],
    now: float,
) -> list[Generation]:
    """Return a generation for every claim: the one of that digest, or a new one.

    What listens gets a port of its own. One that is live, and whose tenant sleeps, is not awake
    before `go_live`. The rows are written before anything is started, so that whatever is started
    is known. What a claim says of readiness is answered, and recorded by `go_live`: until then it
    does not hold for what is live. `is_free` tells whether a port can be bound. Raises Unavailable
    when no port is left.
    """
    found = []
    for wanted in claims:
        mine = (
            generations.c.tenant_id == tenant_id,
            generations.c.name == wanted.service.name,
            generations.c.digest == wanted.digest,
        )
        if (known := db.scalar(sa.select(generations.c.id).where(*mine))) is not None:
            if not _is_live(db, known):
                rouse(db, [known])
        else:
            key = Key(tenant, wanted.service.name)
            row = {
                "tenant_id": tenant_id,
                "name": wanted.service.name,
                "build_id": build_id,
                "digest": wanted.digest,
                "host": host,
                "unit": names.unit(key, wanted.digest[:DIGITS]),
                "port": _free_port(db, host, ports, is_free) if wanted.service.listens else None,
                "command": list(wanted.command),
                "spec": msgspec.to_builtins(wanted.service),
                "created_at": now,
            }
            db.execute(sa.insert(generations).values(**row))
        one = db.execute(sa.select(generations).where(*mine)).one()
        found.append(replace(generation(one, tenant), service=wanted.service))
    return found


def _is_live(db: Connection, generation_id: int) -> bool:
    live = sa.select(deployments.c.id).where(deployments.c.generation_id == generation_id)
    return db.execute(live).first() is not None


def _free_port(db: Connection, host: str, ports: range, is_free: Callable[[int], bool]) -> int:
    taken = set(db.scalars(sa.select(generations.c.port).where(generations.c.host == host)))
    for port in ports:
        if port not in taken and is_free(port):
            return port
    raise Unavailable(
        f"no port is free between {ports.start} and {ports.stop - 1}: widen services.ports"
    )


def can_bind(port: int) -> bool:
    """Return whether nobody listens on a port of 127.0.0.1 or of every address."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def go_live(
    db: Connection,
    *,
    tenant_id: int,
    build_id: int,
    host: str,
    services: Iterable[Generation],
    sites: Iterable[tuple[str, str, bool]],
    wanted_hosts: list[Host],
    now: float,
) -> bool:
    """Record that a build is what is live of a tenant: its services and sites, and no others.

    `sites`: name, root, spa. What was live before and is not any more is retired. Return False,
    and record nothing, if the build was cancelled meanwhile.
    """
    services = list(services)
    if not builds.done(db, build_id, now=now):
        return False
    rouse(db, [one.id for one in services])
    for one in services:
        spec = msgspec.to_builtins(one.service)
        db.execute(sa.update(generations).where(generations.c.id == one.id).values(spec=spec))
    db.execute(sa.delete(deployments).where(deployments.c.tenant_id == tenant_id))
    common = {"tenant_id": tenant_id, "build_id": build_id, "host": host, "deployed_at": now}
    rows: list[dict[str, object]] = [
        {**common, "name": g.key.name, "generation_id": g.id, "root": None, "spa": False}
        for g in services
    ]
    rows += [
        {**common, "name": name, "generation_id": None, "root": root, "spa": spa}
        for name, root, spa in sites
    ]
    if rows:
        db.execute(sa.insert(deployments), rows)
    hosts.settle(db, tenant_id=tenant_id, wanted=wanted_hosts)
    provisions.serve(db, tenant_id)
    _keep(db, tenant_id, now)
    _retire(db, tenant_id, now)
    return True


def _keep(db: Connection, tenant_id: int, now: float) -> None:
    """Note that there is data from here on: it is not seeded any more."""
    empty = sa.update(tenants).where(tenants.c.id == tenant_id, tenants.c.seeded_at.is_(None))
    db.execute(empty.values(seeded_at=now))


def _retire(db: Connection, tenant_id: int, now: float) -> None:
    live = sa.select(deployments.c.generation_id).where(deployments.c.generation_id.is_not(None))
    old = sa.update(generations).where(
        generations.c.tenant_id == tenant_id,
        generations.c.id.not_in(live),
        generations.c.retired_at.is_(None),
    )
    db.execute(old.values(retired_at=now))


def routes(record: TenantRecord, manifest: Manifest, held: Collection[Host]) -> frozenset[Route]:
    """Return the routes of a manifest that is about to be live: those `plan.routes_of` gives."""
    redirects = hosts.by_name(held, redirects=True)
    return frozenset(
        Route(
            key=Key(record.tenant, name),
            hosts=at,
            redirects=redirects.get(name, ()),
            site=name in manifest.sites,
            spa=name in manifest.sites and manifest.sites[name].spa,
            indexed=record.environment is Environment.PROD,
        )
        for name, at in hosts.by_name(held).items()
    )


def machines(db: Connection) -> set[str]:
    """Return the machines that the store knows units or deployments of."""
    named = sa.union(sa.select(generations.c.host), sa.select(deployments.c.host))
    return set(db.scalars(named))


def rename_machine(db: Connection, *, old: str, new: str) -> None:
    """Note that a machine is called something else now."""
    for table in (generations, deployments):
        db.execute(sa.update(table).where(table.c.host == old).values(host=new))


def lay_to_rest(db: Connection, generation_ids: Collection[int], *, now: float) -> None:
    """Note that nothing is sent any more to generations that are live: their tenant sleeps."""
    chosen = generations.c.id.in_(list(generation_ids)), generations.c.retired_at.is_(None)
    db.execute(sa.update(generations).where(*chosen).values(retired_at=now))


def rouse(db: Connection, generation_ids: Collection[int]) -> None:
    """Note that requests are sent to generations again."""
    chosen = generations.c.id.in_(list(generation_ids))
    db.execute(sa.update(generations).where(chosen).values(retired_at=None))


def drop(db: Connection, generation_ids: Iterable[int]) -> None:
    """Forget generations whose units are gone, unless they have become live meanwhile."""
    live = sa.select(deployments.c.generation_id).where(deployments.c.generation_id.is_not(None))
    chosen = generations.c.id.in_(list(generation_ids))
    db.execute(sa.delete(generations).where(chosen, generations.c.id.not_in(live)))


def target_of(generation: Generation) -> Target | None:
    """Return where the requests of a service go; None: it gets none."""
    return None if generation.port is None else Upstream(port=generation.port)


def deployed(row: Row[Any], tenant: Tenant, service: Generation | None) -> Deployed:
    """Return a row of deployments, with its build's commit, as the plan wants it."""
    target: Target | None = Files(root=row.root) if service is None else target_of(service)
    return Deployed(
        key=Key(tenant, row.name),
        build=row.build_id,
        target=target,
        generation=service,
        spa=row.spa,
        commit=row.commit,
        since=row.deployed_at,
    )
