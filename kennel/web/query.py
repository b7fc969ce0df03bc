"""What may stand behind the `?` of the control socket's paths."""

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from litestar import Request
from msgspec import Meta, Struct

T = TypeVar("T")

Some: TypeAlias = Annotated[int, Meta(ge=1, le=10_000)]
"""How many rows or lines."""


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all of them."""


def of(request: Request[Any, Any, Any], shape: type[T]) -> T:
    """Return the query as `shape`. Raises ValueError naming what is wrong."""
    try:
        return msgspec.convert(dict(request.query_params), shape, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"the query is not as expected: {error}") from error


class Status(Query, frozen=True):
    project: str | None = None


class Resources(Query, frozen=True):
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
