"""What plugins offer, and what of it cannot be taken."""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any

from kennel.errors import PluginError
from kennel.plugin.ports import (
    Cache,
    DnsProvider,
    Forge,
    Provider,
    Provisioner,
    Router,
    SecretSource,
    Supervisor,
)

KINDS: Mapping[str, tuple[str, type[Provider]]] = MappingProxyType(
    {
        "kennel_provisioners": ("provisioner", Provisioner),
        "kennel_secret_sources": ("secret source", SecretSource),
        "kennel_supervisors": ("supervisor", Supervisor),
        "kennel_routers": ("router", Router),
        "kennel_dns_providers": ("DNS provider", DnsProvider),
        "kennel_forges": ("forge", Forge),
        "kennel_caches": ("cache", Cache),
    }
)

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = re.compile(r"PORT|HOST|KENNEL_.*")
"""The variables of Kennel itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A provider and the plugin it comes from."""

    plugin: str
    provider: Any


def refuse_misfit(offer: Offer, hook: str) -> None:
    """Refuse what is no provider of the hook's kind, or does not say what it has to."""
    kind, shape = KINDS[hook]
    where = f"plugin {offer.plugin!r}: {hook}"
    given = offer.provider
    if isinstance(given, type):
        raise PluginError(f"{where} offers the class {given.__name__}, not one made of it")
    if not isinstance(given, shape):
        raise PluginError(
            f"{where} offers {type(given).__name__}, which is no"
            f" {shape.__module__}.{shape.__name__}"
        )
    what = f"{where} offers a {kind}, {type(given).__name__},"
    if not NAME.fullmatch(str(getattr(given, "name", ""))):
        raise PluginError(f"{what} whose `name` is not of a-z, 0-9 and -")
    if isinstance(given, Provisioner):
        _refuse_variables(given, what)


def _refuse_variables(given: Provisioner, what: str) -> None:
    variables = getattr(given, "variables", None)
    if not isinstance(variables, AbstractSet) or not variables:
        raise PluginError(f"{what} without `variables`: the names that `ensure` answers with")
    for name in sorted(map(str, variables)):
        if not VARIABLE.fullmatch(name):
            raise PluginError(f"{what} that sets {name!r}: no name of a variable")
        if RESERVED.fullmatch(name):
            raise PluginError(f"{what} that sets {name}: Kennel itself sets that")


def twins(kind: str, one: Offer, other: Offer) -> str:
    called = f"a {kind} called {one.provider.name!r}"
    if one.plugin == other.plugin:
        return f"plugin {one.plugin!r} offers {called} twice"
    return f"plugins {one.plugin!r} and {other.plugin!r} both offer {called}: turn one of them off"


def refuse_shared_variables(offers: Iterable[Offer]) -> None:
    for one, other in combinations(offers, 2):
        if shared := one.provider.variables & other.provider.variables:
            raise PluginError(
                f"provisioners {one.provider.name!r} (plugin {one.plugin!r}) and"
                f" {other.provider.name!r} (plugin {other.plugin!r}) both set"
                f" {', '.join(sorted(shared))}: turn one of them off"
            )
