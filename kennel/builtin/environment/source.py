"""A variable of Kennel's for each secret: `KENNEL_SECRET__SHOP_ADMIN__PROD__NAME`."""

import os
import re
from collections.abc import Collection
from typing import Annotated

import msgspec

from kennel.domain import Env, Secret
from kennel.errors import Rejected
from kennel.plugin import PluginConfig, SecretSource

PART = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
"""A project or a profile of which a variable can tell: two dashes in a row look like the seam."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class EnvironmentConfig(PluginConfig, frozen=True):
    """What `[plugins.environment]` may say. `prefix`: how the variables begin that are meant."""

    prefix: Annotated[
        str, msgspec.Meta(pattern="^[A-Z][A-Z0-9_]*$", examples=["KENNEL_SECRET"])
    ] = "KENNEL_SECRET"


class EnvironmentSource(SecretSource):
    """Reads variables. No other than those with the prefix can be reached."""

    name = "environment"

    def __init__(self, config: EnvironmentConfig) -> None:
        self._prefix = config.prefix

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        wrong = [part for part in (project, profile) if not PART.fullmatch(part)]
        if wrong:
            raise Rejected(
                f"environment: no variable can tell of {wrong[0]!r}: use another source, such as"
                " [plugins.file]"
            )
        found = {name: os.environ.get(self.place(project, profile, name)) for name in names}
        return {
            name: Secret(value)
            for name, value in found.items()
            if value is not None and NAME.fullmatch(name)
        }

    def place(self, project: str, profile: str, name: str) -> str:
        owner = (part.upper().replace("-", "_") for part in (project, profile))
        return "__".join([self._prefix, *owner, name])
