"""Values that must never be shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never shows itself in a log, a repr or a traceback.

    `as_path`: a service finds it in a file that only it can read, and its variable holds the path.
    Bytes that are no UTF-8 are in `value` as `surrogateescape` has them.
    """

    value: str = field(repr=False)
    as_path: bool = False

    def __str__(self) -> str:
        return "Secret()"


Env: TypeAlias = Mapping[str, Secret]
"""The environment variables of a service. All of them count as secret: some are."""
