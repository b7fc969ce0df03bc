"""Tests and stand-ins for people who write plugins. Part of the public API.

A contract is a class of tests: subclass it, give it the one fixture it asks for, and pytest runs
a provider's whole conformance suite. The `Memory…` providers pass the same contracts.

Everything is imported when it is first asked for: the contract of a router needs more libraries
than the author of a provisioner has.
"""

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kennel.testing.cache import CacheContract, MemoryCache
    from kennel.testing.contract import Contract
    from kennel.testing.deliveries import signed_delivery
    from kennel.testing.dns import DnsProviderContract, MakeDnsProvider, MemoryDnsProvider
    from kennel.testing.forge import ForgeContract, PullRequestsContract
    from kennel.testing.host import NoBox, systemd_box
    from kennel.testing.memory_router import MemoryRouter
    from kennel.testing.postgresql import postgresql_server
    from kennel.testing.provisioner import MakeProvisioner, MemoryProvisioner, ProvisionerContract
    from kennel.testing.router import RouterContract
    from kennel.testing.secret_source import (
        Kept,
        MakeSecretSource,
        MemorySecretSource,
        SecretSourceContract,
    )
    from kennel.testing.supervisor import MemorySupervisor, SupervisorContract
    from kennel.testing.valkey import valkey_server

HOMES = {
    "CacheContract": "cache",
    "Contract": "contract",
    "DnsProviderContract": "dns",
    "ForgeContract": "forge",
    "Kept": "secret_source",
    "MakeDnsProvider": "dns",
    "MakeProvisioner": "provisioner",
    "MakeSecretSource": "secret_source",
    "MemoryCache": "cache",
    "MemoryDnsProvider": "dns",
    "MemoryProvisioner": "provisioner",
    "MemoryRouter": "memory_router",
    "MemorySecretSource": "secret_source",
    "MemorySupervisor": "supervisor",
    "NoBox": "host",
    "ProvisionerContract": "provisioner",
    "PullRequestsContract": "forge",
    "RouterContract": "router",
    "SecretSourceContract": "secret_source",
    "SupervisorContract": "supervisor",
    "postgresql_server": "postgresql",
    "signed_delivery": "deliveries",
    "systemd_box": "host",
    "valkey_server": "valkey",
}

__all__ = [
    "CacheContract",
    "Contract",
    "DnsProviderContract",
    "ForgeContract",
    "Kept",
    "MakeDnsProvider",
    "MakeProvisioner",
    "MakeSecretSource",
    "MemoryCache",
    "MemoryDnsProvider",
    "MemoryProvisioner",
    "MemoryRouter",
    "MemorySecretSource",
    "MemorySupervisor",
    "NoBox",
    "ProvisionerContract",
    "PullRequestsContract",
    "RouterContract",
    "SecretSourceContract",
    "SupervisorContract",
    "postgresql_server",
    "signed_delivery",
    "systemd_box",
    "valkey_server",
]

REWRITTEN = {*HOMES.values(), "supervised", "supervised_at_times", "supervised_once"}
pytest.register_assert_rewrite(*(f"{__name__}.{home}" for home in sorted(REWRITTEN)))


if not TYPE_CHECKING:  # it would make a type checker believe in any name

    def __getattr__(name: str) -> object:
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
