"""What a commit says of its secrets: their names and what is expected of them, never values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A secret that is kept elsewhere than under its own name.

    `item`: the path of the entry in the source, such as `shared/smtp`. `field`: which value of it.
    """

    item: str
    field: str = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What is expected of one secret in one profile.

    `group`: "at_least_one" or "exactly_one" → the group of secrets of which so many are required.
    `default`: what it is where nobody has set it. `composed`: a text with `${OTHER}` in it that it
    is made of. `as_path`: the service finds it in a file, and the variable holds its path.
    `encoding` and `extract`: how it is kept; see the secretspec documentation. `sources`: who is
    asked for it, in that order; none: everybody.
    """

    required: bool = True
    group: Mapping[str, str] | None = None
    default: str | None = None
    composed: str | None = None
    as_path: bool = False
    encoding: str | None = None
    extract: Mapping[str, str] | None = None
    sources: tuple[str, ...] = ()
    ref: Reference | None = None

    @property
    def is_looked_up(self) -> bool:
        """Return whether a source is asked for it."""
        return self.composed is None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """The secrets of a commit.

    `profiles`: environment → name → what is expected there, inheritance done. `scopes`: service →
    the only secrets it gets; a service that is not in it gets all.
    """

    profiles: Mapping[str, Mapping[str, Declaration]] = field(default_factory=dict)
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, profile: str) -> Mapping[str, Declaration]:
        """Return what is expected in a profile, by name."""
        return self.profiles.get(profile, {})
