"""Where requests go."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from kennel.domain.tenant import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service that listens on `port` at `address`."""

    port: int
    address: str = "127.0.0.1"

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """Something that listens on a unix socket, an absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """A folder of files, an absolute path. Its content never changes under one path."""

    root: str

    def __str__(self) -> str:
        return self.root


Target: TypeAlias = Upstream | Socket | Files


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Route:
    """The hosts (lower case) at which a service or site answers.

    It says nothing of ports or paths: those are switched apart from it. The last of `hosts` is
    the one that people are told; `redirects` are hosts that lead there (308), whatever path and
    query they are asked for. `site` and `spa` say how requests are handled: see
    `kennel.domain.manifest.Site`. `indexed`: whether search engines may list it.
    """

    key: Key
    hosts: tuple[str, ...]
    redirects: tuple[str, ...] = ()
    site: bool = False
    spa: bool = False
    indexed: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Return every host that leads here, and needs a certificate."""
        return (*self.hosts, *self.redirects)


def digest_of(targets: Mapping[str, Target]) -> str:
    """Return what tells one set of targets of a tenant from another: 16 hexadecimal digits."""
    text = "\n".join(f"{name}={type(t).__name__}:{t}" for name, t in sorted(targets.items()))
    return sha256(text.encode()).hexdigest()[:16]
