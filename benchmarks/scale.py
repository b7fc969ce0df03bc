"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of everything. `TINY` is for finding out whether a benchmark works at all."""

    deployments: tuple[int, ...] = (10, 100, 300, 1000)
    passes: int = 30
    """Idle passes at each size."""
    one_by_one: int = 300
    """Routes up to which adding each again is tried: it takes minutes beyond."""
    seconds: float = 15.0
    """Of each measurement of webhooks."""
    units: int = 50
    pushes: int = 8
    redeploys: int = 20
    rate: int = 200
    """Requests a second during the redeploys."""
    resident: int = 300
    """Deployments when memory is measured."""
    repositories: int = 50
    refs: int = 20
    """Of each repository that is swept."""
    tenants: int = 200
    """Refs with a database each."""
    buckets: int = 30
    databases: int = 20
    """Times that a database is made in each way."""
    rows: int = 100_000
    """Of the template that some start from, 230 bytes each."""


TINY = Scale(
    deployments=(2, 4),
    passes=3,
    one_by_one=4,
    seconds=0.5,
    units=2,
    pushes=1,
    redeploys=1,
    rate=20,
    resident=3,
    repositories=2,
    refs=3,
    tenants=3,
    buckets=2,
    databases=2,
    rows=100,
)
