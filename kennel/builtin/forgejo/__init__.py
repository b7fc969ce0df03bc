"""Webhooks and pull requests of Forgejo and Gitea. On by default."""

from collections.abc import Iterable

from kennel.builtin.forgejo.forge import Forgejo, Gitea
from kennel.plugin import Forge, PluginConfig, PluginSettings, hookimpl
from kennel.plugin.rest import ApiUrl

__all__ = ["Config", "Forgejo", "Gitea", "kennel_forges"]


class Config(PluginConfig, frozen=True):
    """`api_url`: where the API is, such as `https://git.example.net/api/v1`, for all projects.

    By default it is where a project is cloned from. Secrets belong to projects.
    """

    api_url: ApiUrl | None = None


@hookimpl
def kennel_forges(settings: PluginSettings) -> Iterable[Forge]:
    """Offer both: they speak the same language, and Forgejo speaks Gitea's as well."""
    config = settings.read("forgejo", Config)
    return () if config is None else (Forgejo(config.api_url), Gitea(config.api_url))
