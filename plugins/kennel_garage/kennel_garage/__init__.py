"""A Garage bucket and key for every tenant.

This version registers the plugin and offers nothing yet: turning it on is refused.
"""

from collections.abc import Iterable
from importlib.metadata import version

from kennel.errors import ConfigError
from kennel.plugin import PluginSettings, Provisioner, hookimpl


@hookimpl
def kennel_provisioners(settings: PluginSettings) -> Iterable[Provisioner]:
    """Refuse to be turned on. Raises ConfigError where there is a table `[plugins.garage]`."""
    if "garage" in settings.names:
        raise ConfigError(
            f"kennel-garage {version('kennel-garage')} has no provisioner yet:"
            " remove [plugins.garage]"
        )
    return ()
