"""The table `[plugins.cachix]`."""

from typing import Annotated

from msgspec import Meta, field

from kennel.plugin import PluginConfig, SecretReference


class CachixConfig(PluginConfig, frozen=True):
    """A cache at cachix.org, or at a server that speaks its protocol.

    `cache`: its name. `token`: may push to it. `signing_key`: only for caches whose paths their
    owners sign. `program`: the name or path of cachix. `jobs`: uploads at a time. `timeout`:
    seconds that one push may take. `environment`: variables for cachix besides, never secrets.
    """

    cache: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,127}$", examples=["acme"])]
    token: SecretReference
    signing_key: SecretReference | None = None
    program: str = "cachix"
    jobs: Annotated[int, Meta(ge=1, le=64)] = 8
    timeout: Annotated[float, Meta(gt=0)] = 1800.0
    environment: dict[str, str] = field(default_factory=dict)
