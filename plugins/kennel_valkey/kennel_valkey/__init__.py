"""A Valkey database for every tenant, or a server.

[plugins.valkey]
url = "credential:valkey-url"
"""

from collections.abc import Iterable

from kennel.plugin import PluginSettings, Provisioner, hookimpl
from kennel_valkey.config import ValkeyConfig
from kennel_valkey.databases import DatabaseProvisioner
from kennel_valkey.instances import InstanceProvisioner
from kennel_valkey.opening import provisioner

__all__ = ["DatabaseProvisioner", "InstanceProvisioner", "ValkeyConfig", "kennel_provisioners"]


@hookimpl
def kennel_provisioners(settings: PluginSettings) -> Iterable[Provisioner]:
    config = settings.read("valkey", ValkeyConfig)
    return [] if config is None else [provisioner(config, settings.host)]
