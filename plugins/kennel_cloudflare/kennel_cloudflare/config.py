"""What kennel.toml says of Cloudflare."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

import msgspec

from kennel.plugin import PluginConfig, SecretReference

Zone: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        examples=["example.org"],
    ),
]
ZoneId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
Url: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^https?://[^\s@?#]+[^\s@?#/]$", examples=["https://host/path"])
]
AUTOMATIC = 1
Ttl: TypeAlias = Annotated[int, msgspec.Meta(ge=AUTOMATIC, le=86400)]


class CloudflareConfig(PluginConfig, frozen=True):
    """What `[plugins.cloudflare]` may say.

    `token`: of the API, with the right Zone → DNS → Edit for each of the `zones`, and Zone → Zone →
    Read where an id is not in `zone_ids` (zone → id). `proxied`: whether visitors go through
    Cloudflare. `ttl`: seconds that a record may be kept; 1: as Cloudflare likes. `api_url`: where
    the API is.
    """

    token: SecretReference
    zones: Annotated[tuple[Zone, ...], msgspec.Meta(min_length=1)]
    zone_ids: Mapping[Zone, ZoneId] = MappingProxyType({})
    proxied: bool = False
    ttl: Ttl = AUTOMATIC
    api_url: Url = "https://api.cloudflare.com/client/v4"
