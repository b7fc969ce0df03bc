"""What manifests may list under `resources` here, and what is wrong with what they list."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from kennel.domain import Manifest
from kennel.errors import ManifestError, ProviderError
from kennel.plugin import Provisioner
from kennel.plugin.manager import Plugins, Ports
from kennel.plugin.settings import PluginSettings

log = structlog.get_logger(__name__)
KIND = "provisioner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """`provisioners`: those that are on, by resource. `off`: plugins with some that are not on,
    with the package each is of.
    """

    provisioners: Mapping[str, Provisioner] = field(default_factory=dict)
    off: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ports: Ports, installed: Plugins, settings: PluginSettings) -> "Catalogue":
        """Return what is to be had with these plugins."""
        every = installed.listing(settings)
        mine = [one for one in every if KIND in one.kinds and not one.on]
        off = {one.name: one.package or one.name for one in mine}
        return cls(provisioners=ports.provisioners, off=off)

    def check(self, manifest: Manifest) -> None:
        """Refuse a manifest that asks for what cannot be had. Raises ManifestError."""
        if found := list(self.problems(manifest)):
            raise ManifestError("\n".join(found))

    def problems(self, manifest: Manifest) -> Iterator[str]:
        """Yield what is wrong with the resources of a manifest: the key, and the fix."""
        for name, options in sorted(manifest.resources.items()):
            provisioner = self.provisioners.get(name)
            if provisioner is None:
                yield f"resources.{name}: {self.why_not(name)}"
            elif why := _refusal(provisioner, options):
                yield f"resources.{name}: {why}"

    def why_not(self, name: str) -> str:
        """Return why a resource is not to be had, and who does what about it."""
        if package := self.off.get(name):
            return (
                f"is not on here, though {package} is installed:"
                f" an operator adds a table [plugins.{name}] to kennel.toml"
            )
        there = f"there is: {_listed(self.provisioners)}"
        near = difflib.get_close_matches(name, [*self.provisioners, *self.off], 1)
        if near:
            return f"is not to be had here: did you mean {near[0]!r}? {there.capitalize()}"
        return (
            f"is not to be had here; {there}. An operator installs a plugin that gives it (such as"
            f" pip install kennel-{name}) and adds a table [plugins.{name}] to kennel.toml"
        )


def _refusal(provisioner: Provisioner, options: Mapping[str, object]) -> str:
    """Return why a provisioner would not take options, "" if it would."""
    try:
        provisioner.check_options(options)
    except ProviderError as error:
        return str(error)
    except Exception as error:  # a bug in one plugin must not end a build without a word
        log.exception("a fault of a provisioner's plugin", provisioner=provisioner.name)
        return f"a fault of the plugin ({type(error).__name__}): see Kennel's log"
    return ""


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"
