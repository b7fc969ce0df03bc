"""What may stand behind the `?` of the control socket's paths."""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

Some: TypeAlias = Annotated[int, Meta(ge=1, le=10_000)]
"""How many rows or lines."""


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all of them."""


class Status(Query, frozen=True):
    project: str | None = None


class Builds(Query, frozen=True):
    project: str | None = None
    ref: str | None = None
    limit: Some = 20


class BuildLog(Query, frozen=True):
    follow: bool = False


class Logs(Query, frozen=True):
    project: str
    ref: str
    name: str | None = None
    lines: Some = 100


class Deliveries(Query, frozen=True):
    limit: Some = 20
