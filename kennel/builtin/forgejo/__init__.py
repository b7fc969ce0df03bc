"""Webhooks of Forgejo and Gitea. On by default; there is nothing to set in `[plugins.forgejo]`."""

from collections.abc import Iterable

from kennel.builtin.forgejo.forge import Forgejo, Gitea
from kennel.plugin import Forge, PluginConfig, PluginSettings, hookimpl

__all__ = ["Config", "Forgejo", "Gitea", "kennel_forges"]


class Config(PluginConfig, frozen=True):
    """Nothing to set: secrets belong to projects."""


@hookimpl
def kennel_forges(settings: PluginSettings) -> Iterable[Forge]:
    """Offer both: they speak the same language, and Forgejo speaks Gitea's as well."""
    return () if settings.read("forgejo", Config) is None else (Forgejo(), Gitea())
