"""What was published where: recorded before it is there, until it is gone again."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kennel.store.tables import publications


def by_provider(db: Connection) -> Mapping[str, frozenset[str]]:
    """Return the hosts that may have a record of ours, by the DNS provider that keeps it."""
    found: dict[str, set[str]] = {}
    for row in db.execute(sa.select(publications)):
        found.setdefault(row.provider, set()).add(row.host)
    return {provider: frozenset(hosts) for provider, hosts in found.items()}


def note(db: Connection, *, host: str, provider: str, now: float) -> None:
    """Note that a host may have a record from here on."""
    chosen = publications.c.host == host, publications.c.provider == provider
    if db.execute(sa.select(publications.c.host).where(*chosen)).first() is None:
        row = {"host": host, "provider": provider, "noted_at": now}
        db.execute(sa.insert(publications).values(**row))


def drop(db: Connection, *, host: str, provider: str) -> None:
    """Forget a record that is gone."""
    chosen = publications.c.host == host, publications.c.provider == provider
    db.execute(sa.delete(publications).where(*chosen))
