"""Webhooks of GitHub. On by default; there is nothing to set in `[plugins.github]`."""

from collections.abc import Iterable

from kennel.builtin.github.forge import GitHub
from kennel.plugin import Forge, PluginConfig, PluginSettings, hookimpl

__all__ = ["Config", "GitHub", "kennel_forges"]


class Config(PluginConfig, frozen=True):
    """Nothing to set: secrets belong to projects."""


@hookimpl
def kennel_forges(settings: PluginSettings) -> Iterable[Forge]:
    return () if settings.read("github", Config) is None else (GitHub(),)
