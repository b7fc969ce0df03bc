"""Values that must never be shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never shows itself in a log, a repr or a traceback."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "Secret()"


Env: TypeAlias = Mapping[str, Secret]
"""The environment variables of a service. All of them count as secret: some are."""
