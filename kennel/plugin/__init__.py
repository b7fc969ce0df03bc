"""All that a plugin may import from Kennel, besides `kennel.domain` and `kennel.errors`."""

from kennel.plugin.command import Command, Order
from kennel.plugin.hookspecs import hookimpl
from kennel.plugin.ports import (
    Cache,
    Delivery,
    DnsProvider,
    Forge,
    Provider,
    Provisioner,
    Resource,
    Router,
    RouterState,
    SecretSource,
    Supervisor,
)
from kennel.plugin.settings import PluginConfig, PluginSettings, SecretReference
from kennel.plugin.threads import in_thread

__all__ = [
    "Cache",
    "Command",
    "Delivery",
    "DnsProvider",
    "Forge",
    "Order",
    "PluginConfig",
    "PluginSettings",
    "Provider",
    "Provisioner",
    "Resource",
    "Router",
    "RouterState",
    "SecretReference",
    "SecretSource",
    "Supervisor",
    "hookimpl",
    "in_thread",
]
