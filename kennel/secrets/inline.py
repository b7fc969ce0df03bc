"""What the official secretspec library is given: a specification with nothing of a commit's in it
but what was understood. Pure.

Kennel has looked every value up before, in the operator's sources, and hands it over by name: so
there is no provider, no reference, no command, and one profile, with its inheritance done.
Format: `with_inline_spec` of secretspec 0.21.
"""

from collections.abc import Mapping
from typing import Any

from kennel.domain.secretspec import Declaration


def inline(project: str, profile: str, declared: Mapping[str, Declaration]) -> dict[str, Any]:
    """Return the specification of what is declared, of which there has to be something."""
    secrets = {name: _secret(name, one) for name, one in declared.items()}
    return {"project": {"name": project}, "profiles": {profile: {"secrets": secrets}}}


def _secret(name: str, one: Declaration) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": name,
        "required": dict(one.group) if one.group else one.required,
        "default": one.default,
        "composed": one.composed,
        "encoding": one.encoding,
        "extract": dict(one.extract) if one.extract else None,
        "as_path": one.as_path or None,
    }
    return {key: value for key, value in found.items() if value is not None}
