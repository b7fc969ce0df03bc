"""Webhooks and pull requests of GitHub. On by default."""

from collections.abc import Iterable

from kennel.builtin.github.forge import GitHub
from kennel.plugin import Forge, PluginConfig, PluginSettings, hookimpl
from kennel.plugin.rest import ApiUrl

__all__ = ["Config", "GitHub", "kennel_forges"]


class Config(PluginConfig, frozen=True):
    """`api_url`: where the API is, such as `https://github.example.net/api/v3`, for all projects.

    By default it is GitHub's, or that of the host a project is cloned from. Secrets belong to
    projects.
    """

    api_url: ApiUrl | None = None


@hookimpl
def kennel_forges(settings: PluginSettings) -> Iterable[Forge]:
    config = settings.read("github", Config)
    return () if config is None else (GitHub(config.api_url),)
