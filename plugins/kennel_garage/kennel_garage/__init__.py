"""A Garage bucket, and a key that reaches nothing else, for every tenant.

[plugins.garage]
admin_token = "file:/run/secrets/garage-admin-token"
"""

from collections.abc import Iterable

from kennel.plugin import PluginSettings, Provisioner, hookimpl
from kennel.plugin.settings import read_secret
from kennel_garage.admin import Admin
from kennel_garage.config import GarageConfig
from kennel_garage.provisioner import GarageProvisioner

__all__ = ["GarageConfig", "GarageProvisioner", "kennel_provisioners", "provisioner"]


@hookimpl
def kennel_provisioners(settings: PluginSettings) -> Iterable[Provisioner]:
    """Offer the provisioner where there is a table `[plugins.garage]`. Raises ConfigError."""
    config = settings.read("garage", GarageConfig)
    return [] if config is None else [provisioner(config)]


def provisioner(config: GarageConfig) -> GarageProvisioner:
    """Return the provisioner that these settings describe. Raises ConfigError."""
    token = read_secret(config.admin_token, where="[plugins.garage] admin_token")
    return GarageProvisioner(config, Admin(config.admin_url, token))
