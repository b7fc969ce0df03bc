"""What the operator grants a project's secretspec.toml. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kennel.domain.secretspec import Reference

OWN = "secretspec"
"""The first part of the path of every project's own secrets."""
OPENBAO = "openbao"
SCHEMES = frozenset({"vault", "openbao"})
"""Addresses of providers that mean the operator's OpenBao, wherever they point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What one project may have.

    `project`: its name, which no commit chooses. `sources`: those that are on, in the order in
    which they are asked. `aliases`: what commits call them → a source. `shared`: paths outside the
    project it may refer to; one that ends in `/*` stands for everything below. `forks`: whether
    pull requests from forks get secrets once they are approved.
    """

    project: str
    sources: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    forks: bool = False

    def source(self, provider: str) -> str | None:
        """Return the source that a commit's name or address of a provider means, if any."""
        scheme, is_address, _ = provider.partition("://")
        if is_address or scheme in SCHEMES - set(self.sources) - self.aliases.keys():
            return OPENBAO if scheme in SCHEMES and OPENBAO in self.sources else None
        found = self.aliases.get(provider, provider)
        return found if found in self.sources else None

    def shares(self, item: str) -> bool:
        """Return whether a path outside the project may be read."""
        return any(_covers(grant, item) for grant in self.shared)

    def own_name(self, ref: Reference, profile: str) -> str | None:
        """Return which of the project's own secrets in a profile a reference means, if any."""
        prefix = f"{OWN}/{self.project}/{profile}/"
        name = ref.item.removeprefix(prefix)
        return name if name != ref.item and "/" not in name else None


def _covers(grant: str, item: str) -> bool:
    if grant.endswith("/*"):
        return item.startswith(grant[:-1])
    return item == grant
