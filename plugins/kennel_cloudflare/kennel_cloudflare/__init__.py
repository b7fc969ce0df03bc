"""Names of custom domains at Cloudflare.

[plugins.cloudflare]
token = "file:/run/secrets/cloudflare-token"
zones = ["example.org"]
"""

from collections.abc import Iterable

from kennel.plugin import DnsProvider, PluginSettings, hookimpl
from kennel.plugin.settings import read_secret
from kennel_cloudflare.api import Api
from kennel_cloudflare.config import CloudflareConfig
from kennel_cloudflare.provider import CloudflareProvider

__all__ = ["CloudflareConfig", "CloudflareProvider", "kennel_dns_providers"]


@hookimpl
def kennel_dns_providers(settings: PluginSettings) -> Iterable[DnsProvider]:
    """Offer the provider where there is a table `[plugins.cloudflare]`. Raises ConfigError."""
    config = settings.read("cloudflare", CloudflareConfig)
    if config is None:
        return []
    token = read_secret(config.token, where="[plugins.cloudflare] token")
    return [CloudflareProvider(config, Api(config.api_url, token))]
