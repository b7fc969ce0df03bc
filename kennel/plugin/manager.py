"""Find plugins, ask them for providers, refuse what does not fit."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy

from kennel.errors import ConfigError, PluginError
from kennel.plugin import hookspecs
from kennel.plugin.offer import KINDS, Offer, refuse_misfit, refuse_shared_variables, twins
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
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {name!r}: {' '.join(str(error).split())}") from error
        self._refuse_unknown_hooks(name, plugin)
        _refuse_unmarked_hooks(name, plugin)

    def _refuse_unknown_hooks(self, name: str, plugin: object) -> None:
        for caller in self._manager.get_hookcallers(plugin) or []:
            optional = all(i.optionalhook for i in caller.get_hookimpls() if i.plugin is plugin)
            if caller.name not in KINDS and not optional:
                close = get_close_matches(caller.name, KINDS, n=1)
                hint = f"did you mean {close[0]}" if close else f"there are: {', '.join(KINDS)}"
                raise PluginError(f"plugin {name!r}: there is no hook {caller.name!r}; {hint}")

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
        """Ask every plugin that is on for its providers.

        Raises ConfigError for a table without a plugin or with wrong keys, and PluginError for
        providers that cannot live together.
        """
        self._refuse_unknown_tables(settings)
        found = {hook: self._providers(hook, settings) for hook in KINDS}
        refuse_shared_variables(found["kennel_provisioners"])
        by_name = {
            hook.removeprefix("kennel_"): {offer.provider.name: offer.provider for offer in offers}
            for hook, offers in found.items()
        }
        return Ports(**by_name)

    def _refuse_unknown_tables(self, settings: PluginSettings) -> None:
        for name in sorted(settings.names - self._installed.keys()):
            # a supervisor or router is named in a line of its own, and need not have a table
            written = f"[plugins.{name}]" if settings.says_of(name) else f'"{name}"'
            raise ConfigError(
                f"kennel.toml: {written}: no plugin of that name is installed;"
                f" installed are: {', '.join(sorted(self._installed))}."
                f" Install the package that has it (such as kennel-{name}) or remove"
                f" {'the table' if settings.says_of(name) else 'the name'}"
            )

    def _providers(self, hook: str, settings: PluginSettings) -> list[Offer]:
        """Return what the plugins that are on offer for a hook, in the order of their names."""
        found: dict[str, Offer] = {}
        for offer in self._offers(hook, settings):
            refuse_misfit(offer, hook)
            other = found.setdefault(offer.provider.name, offer)
            if other is not offer:
                raise PluginError(twins(KINDS[hook][0], other, offer))
        return [found[name] for name in sorted(found)]

    def _offers(self, hook: str, settings: PluginSettings) -> Iterator[Offer]:
        for name in sorted(self._installed.keys() & settings.names):
            for provider in self._ask(name, hook, settings):
                yield Offer(name, provider)

    def _ask(self, name: str, hook: str, settings: PluginSettings) -> list[Provider]:
        others = [plugin for n, plugin in self._manager.list_name_plugin() if n != name]
        caller = self._manager.subset_hook_caller(hook, others)
        try:
            return [p for answer in caller(settings=settings) for p in _listed(answer)]
        except (ConfigError, PluginError):
            raise
        except Exception as error:
            raise PluginError(f"plugin {name!r}: {hook}: {_words(error)}") from error


def _listed(answer: object) -> Iterable[Any]:
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("a hook is a plain function, not an async one")
    if not isinstance(answer, Iterable):
        raise TypeError(
            f"a hook returns or yields providers, not {type(answer).__name__}: put it into a list"
        )
    return answer


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _refuse_unmarked_hooks(name: str, plugin: object) -> None:
    for hook in KINDS:
        found = getattr(plugin, hook, None)
        if inspect.isroutine(found) and not hasattr(found, f"{hookspecs.NAMESPACE}_impl"):
            raise PluginError(f"plugin {name!r}: {hook} lacks its @hookimpl: nobody would call it")


def _distinct() -> list[EntryPoint]:
    """Return the entry points of the group in the order of their names, or refuse twins."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _package(entry))):
        other = found.setdefault(entry.name, entry)
        if other is not entry:
            raise PluginError(
                f"two packages have a plugin called {entry.name!r}: {_package(other)} and"
                f" {_package(entry)}. Uninstall one of them"
            )
    return list(found.values())


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _import(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise PluginError(
            f"plugin {entry.name!r} ({_package(entry)}) cannot be imported: {_words(error)}."
            " Upgrade or uninstall it"
        ) from error


def choose(kind: str, setting: str, offered: Mapping[str, P]) -> P:
    """Return the provider that a setting names. Raises ConfigError listing what there is."""
    try:
        return offered[setting]
    except KeyError:
        there = ", ".join(sorted(offered)) or "none"
        raise ConfigError(
            f'kennel.toml: {kind} = "{setting}": no such {kind}; there is: {there}'
        ) from None
