"""DNS records for custom domains at Cloudflare.

This version registers the plugin and offers nothing yet: turning it on is refused.
"""

from collections.abc import Iterable
from importlib.metadata import version

from kennel.errors import ConfigError
from kennel.plugin import DnsProvider, PluginSettings, hookimpl


@hookimpl
def kennel_dns_providers(settings: PluginSettings) -> Iterable[DnsProvider]:
    """Refuse to be turned on. Raises ConfigError where there is a table `[plugins.cloudflare]`."""
    if "cloudflare" in settings.names:
        raise ConfigError(
            f"kennel-cloudflare {version('kennel-cloudflare')} has no DNS provider yet:"
            " remove [plugins.cloudflare]"
        )
    return ()
