"""All that a plugin may import from Kennel, besides `kennel.domain` and `kennel.errors`."""

from kennel.plugin.hookspecs import hookimpl
from kennel.plugin.ports import (
    Cache,
    Delivery,
    DnsProvider,
    Forge,
    Provider,
    Provisioner,
    Router,
    RouterState,
    SecretSource,
    Supervisor,
)
from kennel.plugin.settings import PluginConfig, PluginSettings, SecretReference
from kennel.plugin.threads import in_thread

__all__ = [
    "Cache",
    "Delivery",
    "DnsProvider",
    "Forge",
    "PluginConfig",
    "PluginSettings",
    "Provider",
    "Provisioner",
    "Router",
    "RouterState",
    "SecretReference",
    "SecretSource",
    "Supervisor",
    "hookimpl",
    "in_thread",
]
