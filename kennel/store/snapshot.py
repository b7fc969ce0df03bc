"""Everything the reconciler wants to know, read in one transaction."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from kennel.domain.record import Build, TenantRecord
from kennel.plan import Deployed, Generation, Provision, Wanted
from kennel.store import builds, hosts, provisions, releases, tenants
from kennel.store.tables import builds as build_rows
from kennel.store.tables import deployments, generations

_deployed = sa.select(
    deployments, build_rows.c.commit, build_rows.c.manifest["resources"].label("resources")
).join(build_rows, deployments.c.build_id == build_rows.c.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of one host, by the id of their tenant."""

    generations: dict[int, list[Row[Any]]]
    deployments: dict[int, list[Row[Any]]]
    hosts: dict[int, list[hosts.Host]]
    provisions: dict[int, list[Provision]]


def wanted(db: Connection, host: str) -> list[Wanted]:
    """Return what should be of every tenant on a host: a handful of queries, however many."""
    rows = _Rows(
        generations=_grouped(db.execute(sa.select(generations).where(generations.c.host == host))),
        deployments=_grouped(db.execute(_deployed.where(deployments.c.host == host))),
        hosts=dict(hosts.by_tenant(db)),
        provisions=provisions.by_tenant(db),
    )
    waiting = {build.tenant: build for build in builds.built_ones(db)}
    return [_wanted(row, rows, waiting.get(row.tenant)) for row in tenants.every(db)]


def _grouped(rows: sa.CursorResult[Any]) -> dict[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.tenant_id, []).append(row)
    return found


def _wanted(record: TenantRecord, rows: _Rows, upcoming: Build | None) -> Wanted:
    mine = [releases.generation(r, record.tenant) for r in rows.generations.get(record.id, ())]
    by_id: dict[int | None, Generation] = {one.id: one for one in mine}
    here = rows.deployments.get(record.id, ())
    live: list[Deployed] = [
        releases.deployed(row, record.tenant, by_id.get(row.generation_id)) for row in here
    ]
    return Wanted(
        record=record,
        next=upcoming,
        live=tuple(live),
        generations=tuple(mine),
        hosts=hosts.by_name(held := rows.hosts.get(record.id, ())),
        redirects=hosts.by_name(held, redirects=True),
        resources=frozenset(name for row in here for name in row.resources or ()),
        provisions=tuple(rows.provisions.get(record.id, ())),
    )
