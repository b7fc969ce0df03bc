"""Secrets from OpenBao.

This version registers the plugin and offers nothing yet: turning it on is refused.
"""

from collections.abc import Iterable
from importlib.metadata import version

from kennel.errors import ConfigError
from kennel.plugin import PluginSettings, SecretSource, hookimpl


@hookimpl
def kennel_secret_sources(settings: PluginSettings) -> Iterable[SecretSource]:
    """Refuse to be turned on. Raises ConfigError where there is a table `[plugins.openbao]`."""
    if "openbao" in settings.names:
        raise ConfigError(
            f"kennel-openbao {version('kennel-openbao')} has no secret source yet:"
            " remove [plugins.openbao]"
        )
    return ()
