"""Tests and stand-ins for people who write plugins. Part of the public API.

A contract is a class of tests: subclass it, give it the one fixture it asks for, and pytest runs
a provider's whole conformance suite. The `Memory…` providers pass the same contracts.
"""

import importlib

import pytest

pytest.register_assert_rewrite(
    *(
        f"kennel.testing.{name}"
        for name in (
            "cache",
            "contract",
            "dns",
            "forge",
            "provisioner",
            "router",
            "secret_source",
            "supervisor",
        )
    )
)

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
    "MemoryRouter": "router",
    "MemorySecretSource": "secret_source",
    "MemorySupervisor": "supervisor",
    "ProvisionerContract": "provisioner",
    "RouterContract": "router",
    "SecretSourceContract": "secret_source",
    "SupervisorContract": "supervisor",
}


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"kennel.testing.{HOMES[name]}"), name)
