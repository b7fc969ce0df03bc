"""Find plugins, ask them for providers, refuse what does not fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from itertools import combinations
from types import MappingProxyType
from typing import Any, TypeVar

import pluggy

from kennel.errors import ConfigError, KennelError, PluginError
from kennel.plugin import hookspecs
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
from kennel.plugin.settings import PluginSettings

GROUP = "kennel"

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

P = TypeVar("P", bound=Provider)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin that is installed. `kinds`: what its hooks offer, such as `router`."""

    name: str
    version: str
    package: str
    kinds: tuple[str, ...]
    on: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The providers this daemon works with, by name, not yet opened."""

    supervisors: Mapping[str, Supervisor] = field(default_factory=dict)
    routers: Mapping[str, Router] = field(default_factory=dict)
    provisioners: Mapping[str, Provisioner] = field(default_factory=dict)
    secret_sources: Mapping[str, SecretSource] = field(default_factory=dict)
    dns_providers: Mapping[str, DnsProvider] = field(default_factory=dict)
    forges: Mapping[str, Forge] = field(default_factory=dict)
    caches: Mapping[str, Cache] = field(default_factory=dict)


class Plugins:
    """Everything that is installed in this environment."""

    def __init__(self, installed: Mapping[str, tuple[object, EntryPoint | None]]) -> None:
        self._installed = installed
        self._manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        self._manager.add_hookspecs(hookspecs)
        for name, (plugin, _) in installed.items():
            self._register(name, plugin)

    @classmethod
    def discover(cls) -> "Plugins":
        """Load every entry point of the group `kennel`.

        Raises PluginError naming the plugin when one cannot be imported, when two packages claim
        one name, or when one implements a hook that does not exist.
        """
        return cls({entry.name: (_import(entry), entry) for entry in _distinct()})

    def _register(self, name: str, plugin: object) -> None:
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {name!r}: {error}") from error

    def listing(self, settings: PluginSettings) -> list[Plugin]:
        """Return every installed plugin, in the order of their names."""
        return [self._describe(name, settings) for name in sorted(self._installed)]

    def _describe(self, name: str, settings: PluginSettings) -> Plugin:
        _, entry = self._installed[name]
        callers = self._manager.get_hookcallers(self._manager.get_plugin(name)) or []
        on = name in settings.names
        return Plugin(
            name=name,
            version=entry.dist.version if entry and entry.dist else "",
            package=entry.dist.name if entry and entry.dist else "",
            kinds=tuple(sorted(KINDS[c.name][0] for c in callers if c.name in KINDS)),
            on=on,
            why="" if on else f"kennel.toml has no [plugins.{name}]",
        )

    def ports(self, settings: PluginSettings) -> Ports:
        """Ask every plugin for its providers.

        Raises ConfigError for a table without a plugin or with wrong keys, and PluginError for
        providers that cannot live together.
        """
        self._refuse_unknown_tables(settings)
        found = {hook: self._providers(hook, settings) for hook in KINDS}
        _refuse_shared_variables(found["kennel_provisioners"])
        return Ports(**{hook.removeprefix("kennel_"): by for hook, by in found.items()})

    def _refuse_unknown_tables(self, settings: PluginSettings) -> None:
        for name in sorted(settings.names - self._installed.keys()):
            raise ConfigError(
                f"kennel.toml: [plugins.{name}]: no plugin of that name is installed;"
                f" installed are: {', '.join(sorted(self._installed))}."
                f" Install the package that has it (such as kennel-{name}) or remove the table"
            )

    def _providers(self, hook: str, settings: PluginSettings) -> Mapping[str, Any]:
        kind, shape = KINDS[hook]
        found: dict[str, tuple[str, Provider]] = {}
        for name in sorted(self._installed):
            for provider in self._ask(name, hook, settings):
                if not isinstance(provider, shape):
                    raise PluginError(f"plugin {name!r}: {hook} offers {provider!r}, no {kind}")
                if other := found.get(provider.name):
                    raise PluginError(
                        f"plugins {other[0]!r} and {name!r} both offer"
                        f" a {kind} called {provider.name!r}: turn one of them off"
                    )
                found[provider.name] = (name, provider)
        return {name: provider for name, (_, provider) in sorted(found.items())}

    def _ask(self, name: str, hook: str, settings: PluginSettings) -> Iterable[Provider]:
        others = [plugin for n, plugin in self._manager.list_name_plugin() if n != name]
        caller = self._manager.subset_hook_caller(hook, others)
        try:
            return [provider for answer in caller(settings=settings) for provider in answer]
        except KennelError:
            raise
        except Exception as error:
            raise PluginError(f"plugin {name!r}: {hook}: {error!r}") from error


def _distinct() -> list[EntryPoint]:
    """Return the entry points of the group in the order of their names, or refuse twins."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            packages = [e.dist.name if e.dist else e.value for e in (other, entry)]
            raise PluginError(
                f"two packages have a plugin called {entry.name!r}: {packages[0]} and"
                f" {packages[1]}. Uninstall one of them"
            )
    return list(found.values())


def _import(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else entry.value
        raise PluginError(
            f"plugin {entry.name!r} ({package}) cannot be imported: {error!r}."
            " Upgrade or uninstall it"
        ) from error


def _refuse_shared_variables(provisioners: Mapping[str, Provisioner]) -> None:
    for one, other in combinations(provisioners.values(), 2):
        if shared := one.variables & other.variables:
            raise PluginError(
                f"provisioners {one.name!r} and {other.name!r} both set"
                f" {', '.join(sorted(shared))}: turn one of them off"
            )


def choose(kind: str, setting: str, offered: Mapping[str, P]) -> P:
    """Return the provider that a setting names. Raises ConfigError listing what there is."""
    try:
        return offered[setting]
    except KeyError:
        there = ", ".join(sorted(offered)) or "none"
        raise ConfigError(
            f'kennel.toml: {kind} = "{setting}": no such {kind}; there is: {there}'
        ) from None
