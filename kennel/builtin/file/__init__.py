"""Secrets from files on this machine, such as those that sops-nix or agenix put there.

[plugins.file]
folder = "/run/kennel-secrets"
"""

from collections.abc import Iterable

from kennel.builtin.file.source import FileConfig, FileSource
from kennel.plugin import PluginSettings, SecretSource, hookimpl

__all__ = ["FileConfig", "FileSource", "kennel_secret_sources"]


@hookimpl
def kennel_secret_sources(settings: PluginSettings) -> Iterable[SecretSource]:
    """Offer the source where there is a table `[plugins.file]`. Raises ConfigError."""
    config = settings.read("file", FileConfig)
    return [] if config is None else [FileSource(config)]
