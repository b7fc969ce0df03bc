"""What a manifest may say of its resource `postgres`."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from kennel.errors import Rejected

SNAPSHOT = "snapshot"
"""The template that is the project's own snapshot."""

ALLOWED = (
    'it takes extensions = ["pg_trgm"] and template = "snapshot" or the name of one in kennel.toml'
)

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,63}$")]


class PostgresOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`extensions`: those that are to be there. `template`: what previews start as a copy of."""

    extensions: tuple[Name, ...] = ()
    template: Name | None = None


def read_options(options: Mapping[str, object]) -> PostgresOptions:
    """Return the options of a manifest. Raises Rejected with what is allowed."""
    try:
        return msgspec.convert(options, PostgresOptions)
    except msgspec.ValidationError as error:
        raise Rejected(f"resource postgres: {error}; {ALLOWED}") from error
