"""What a profile amounts to once it has inherited. Pure; as the secretspec library has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kennel.domain.secretspec import Declaration

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile as it is written.

    `secrets`: name → the fields of its declaration that it sets. The rest: its `defaults`, for
    those that set them nowhere.
    """

    secrets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inherits: bool = True
    required: bool | None = None
    default: str | None = None
    sources: tuple[str, ...] = ()


def merged(profiles: Mapping[str, Profile], name: str) -> dict[str, Declaration]:
    """Return what is expected in a profile, by name. One that is not there is `default`.

    A secret has the fields its profile sets, then those `default` sets, then the profile's
    `defaults`. Whatever has a default is not required.
    """
    base = profiles.get(DEFAULT, Profile())
    mine = profiles.get(name, base)
    inherited = base.secrets if mine.inherits else {}
    return {
        key: _declaration({**inherited.get(key, {}), **mine.secrets.get(key, {})}, mine)
        for key in sorted({*inherited, *mine.secrets})
    }


def _declaration(fields: dict[str, Any], profile: Profile) -> Declaration:
    if profile.required is not None and "group" not in fields:
        fields.setdefault("required", profile.required)
    if "composed" not in fields:
        if profile.default is not None:
            fields.setdefault("default", profile.default)
        if profile.sources:
            fields.setdefault("sources", profile.sources)
    if fields.get("default") is not None:
        fields["required"] = False
    return Declaration(**fields)
