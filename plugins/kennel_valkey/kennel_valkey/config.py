"""What `[plugins.valkey]` in kennel.toml may say."""

import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from kennel.errors import ConfigError, Rejected
from kennel.plugin import PluginConfig, SecretReference

SIZE = re.compile(r"([1-9][0-9]*)([KMG])")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}

Size = Annotated[str, Meta(pattern=rf"^{SIZE.pattern}$", examples=["64M", "1G"])]


class ValkeyConfig(PluginConfig, frozen=True):
    """Where the server is, and how tenants are kept apart.

    `url`: where the URL is that Kennel connects with, as one who may do everything. Or: `socket`
    with `user` and `password`. `address`: where tenants connect, if that is elsewhere;
    `unix:///PATH`, `redis://HOST:PORT` or `rediss://HOST:PORT`.

    `state_dir`: where the book is that says whose database is whose; None: with Kennel's own.
    `key_file`: what passwords are derived from; None: beside the book. Both are made.

    `isolation`: "database" gives each tenant a number of one server, "instance" a server.
    `reserved`: numbers that are others'. `scripts`: whether tenants may run Lua; "auto": where
    the server keeps their scripts apart.

    Of instances: `program` is the server; each has `instance_memory` for its data, or what the
    manifest asks for, up to `instance_memory_max`; their sockets are in `instance_dir`.
    """

    url: SecretReference | None = None
    socket: Path | None = None
    user: str = "default"
    password: SecretReference | None = None
    address: str | None = None
    state_dir: Path | None = None
    key_file: Path | None = None
    isolation: Literal["database", "instance"] = "database"
    reserved: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    scripts: Literal["auto", "always", "never"] = "auto"
    program: Path | None = None
    instance_memory: Size = "64M"
    instance_memory_max: Size = "256M"
    instance_dir: Path = Path("/dev/shm/kennel-valkey")  # noqa: S108  see instances.py


def size(text: str) -> int:
    """Return the bytes of a size such as "64M". Raises Rejected for what is none."""
    found = SIZE.fullmatch(text)
    if found is None:
        raise Rejected(f'{text!r} is no size: it is written like "64M", with K, M or G')
    return int(found[1]) * UNITS[found[2]]


def wrong(key: str, message: str) -> ConfigError:
    """Return the error for a setting of the plugin's."""
    return ConfigError(f"kennel.toml: [plugins.valkey] {key}: {message}")
