"""Secrets from Kennel's own environment: for development, on one's own machine.

[plugins.environment]
"""

from collections.abc import Iterable

from kennel.builtin.environment.source import EnvironmentConfig, EnvironmentSource
from kennel.plugin import PluginSettings, SecretSource, hookimpl

__all__ = ["EnvironmentConfig", "EnvironmentSource", "kennel_secret_sources"]


@hookimpl
def kennel_secret_sources(settings: PluginSettings) -> Iterable[SecretSource]:
    """Offer the source where there is a table `[plugins.environment]`. Raises ConfigError."""
    config = settings.read("environment", EnvironmentConfig)
    return [] if config is None else [EnvironmentSource(config)]
