"""The hooks a plugin may implement, version 1.

A plugin implements a hook with a function of its name that is marked with `hookimpl`; it may leave
out arguments it has no use for. A hook is asked once, when the daemon starts, and answers with
providers. What a provider then does is the business of its class in `kennel.plugin.ports`: that
is where the `await`s are, and what the contracts in `kennel.testing` hold it to.

A plugin that is installed but not on (kennel.toml has no table `[plugins.NAME]`) is not asked.
A hook returns or yields providers that are not opened yet. It starts no connection and no thread,
for `kennel check-config` asks it too.
"""

from collections.abc import Iterable

import pluggy

from kennel.plugin.ports import (
    Cache,
    DnsProvider,
    Forge,
    Provisioner,
    Router,
    SecretSource,
    Supervisor,
)
from kennel.plugin.settings import PluginSettings

NAMESPACE = "kennel"
hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@hookspec
def kennel_provisioners(settings: PluginSettings) -> Iterable[Provisioner]:
    """Offer resources that each tenant may ask for: a database, a cache, a bucket.

    Two provisioners that set the same variable stop the start. Held to `ProvisionerContract`;
    `examples/kennel_example` has one.
    """
    return ()


@hookspec
def kennel_secret_sources(settings: PluginSettings) -> Iterable[SecretSource]:
    """Offer places to look secrets up. They are asked in the order of their names.

    Held to `SecretSourceContract`.
    """
    return ()


@hookspec
def kennel_supervisors(settings: PluginSettings) -> Iterable[Supervisor]:
    """Offer ways to run a service. `supervisor = "NAME"` in kennel.toml picks one.

    Held to `SupervisorContract`; `kennel.builtin.process` has one.
    """
    return ()


@hookspec
def kennel_routers(settings: PluginSettings) -> Iterable[Router]:
    """Offer ways to bring traffic in. `router = "NAME"` in kennel.toml picks one.

    Held to `RouterContract`; `kennel.builtin.caddy` has one.
    """
    return ()


@hookspec
def kennel_dns_providers(settings: PluginSettings) -> Iterable[DnsProvider]:
    """Offer to publish custom domains, each for the zones it is configured with.

    Held to `DnsProviderContract`.
    """
    return ()


@hookspec
def kennel_forges(settings: PluginSettings) -> Iterable[Forge]:
    """Offer to understand the webhooks of a kind of forge.

    Held to `ForgeContract`; `kennel.builtin.forgejo` has one.
    """
    return ()


@hookspec
def kennel_caches(settings: PluginSettings) -> Iterable[Cache]:
    """Offer binary caches that what was built is pushed to.

    Held to `CacheContract`; `kennel.builtin.cachix` has one.
    """
    return ()
