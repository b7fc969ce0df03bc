"""What kennel.toml says of Garage."""

from typing import Annotated, TypeAlias

import msgspec

from kennel.plugin import PluginConfig, SecretReference

Url: TypeAlias = Annotated[
    str,
    msgspec.Meta(pattern=r"^https?://[^\s/@?#]+$", examples=["http://127.0.0.1:3900"]),
]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class GarageConfig(PluginConfig, frozen=True):
    """What `[plugins.garage]` may say.

    `admin_token`: of Garage's admin API, which is at `admin_url`. `endpoint`: where tenants, and
    Kennel when it empties a bucket, speak S3. `region`: Garage's `s3_region`. `max_size` (bytes)
    and `max_objects`: of each bucket; None: there is no limit.
    """

    admin_token: SecretReference
    admin_url: Url = "http://127.0.0.1:3903"
    endpoint: Url = "http://127.0.0.1:3900"
    region: str = "garage"
    max_size: Count | None = None
    max_objects: Count | None = None
