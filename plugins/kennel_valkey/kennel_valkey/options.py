"""What a manifest may say of its resource `valkey`."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from kennel.errors import Rejected
from kennel_valkey.address import Form
from kennel_valkey.config import Size

S = TypeVar("S", bound=msgspec.Struct)


class DatabaseOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a database. `url`: how that of a socket is written; see `Address.url`."""

    url: Form = "unix"


class InstanceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of an instance. `url` as above; `memory`: for its data; None: what the operator set."""

    url: Form = "unix"
    memory: Size | None = None


ALLOWED = {
    DatabaseOptions: 'url = "unix" (the default) or "redis+unix" (for redis-rs)',
    InstanceOptions: (
        'url = "unix" (the default) or "redis+unix" (for redis-rs), and memory = "64M" or the like'
    ),
}


def read_options(options: Mapping[str, object], shape: type[S]) -> S:
    """Return the options. Raises Rejected with those that are allowed for any other."""
    try:
        return msgspec.convert(options, shape)
    except msgspec.ValidationError as error:
        raise Rejected(f"resource valkey: {error}; it takes {ALLOWED[shape]}") from error
