"""What cannot be had is told when a commit is built, with who does what about it."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kennel.catalogue import Catalogue
from kennel.domain import Manifest
from kennel.errors import ManifestError
from kennel.plugin import PluginSettings, hookimpl
from kennel.plugin.manager import Plugins
from kennel.plugin.settings import Host
from kennel.testing import MemoryProvisioner

HERE = Catalogue(provisioners={"memory": MemoryProvisioner()}, off={"postgres": "kennel-postgres"})


def told(**resources: Mapping[str, Any]) -> str:
    """Return what is wrong with resources."""
    with pytest.raises(ManifestError) as raised:
        HERE.check(Manifest(resources=resources))
    return str(raised.value)


def test_what_is_to_be_had_is_let_through() -> None:
    HERE.check(Manifest())
    HERE.check(Manifest(resources={"memory": {}}))


def test_what_is_installed_and_not_on() -> None:
    assert told(postgres={}) == (
        "resources.postgres: is not on here, though kennel-postgres is installed: an operator adds"
        " a table [plugins.postgres] to kennel.toml"
    )


def test_what_nobody_installed() -> None:
    assert told(valkey={}) == (
        "resources.valkey: is not to be had here; there is: memory. An operator installs a plugin"
        " that gives it (such as pip install kennel-valkey) and adds a table [plugins.valkey] to"
        " kennel.toml"
    )


@pytest.mark.parametrize(("name", "near"), [("memroy", "memory"), ("postgresql", "postgres")])
def test_what_is_called_otherwise(name: str, near: str) -> None:
    assert f"resources.{name}: is not to be had here: did you mean {near!r}?" in told(**{name: {}})


def test_wrong_options_and_everything_at_once() -> None:
    assert told(valkey={}, memory={"size": 1}).splitlines()[0] == (
        "resources.memory: memory: unknown option size; there are none"
    )
    assert len(told(valkey={}, memory={"size": 1}).splitlines()) == 2


def test_a_fault_of_a_plugin_is_told() -> None:
    class Broken(MemoryProvisioner):
        def check_options(self, options: Mapping[str, object]) -> None:
            raise KeyError(options)

    with pytest.raises(ManifestError, match=r"resources\.memory: a fault of the plugin"):
        Catalogue(provisioners={"memory": Broken()}).check(Manifest(resources={"memory": {}}))


def test_what_is_on_and_off_is_found_out(tmp_path: Path) -> None:
    @hookimpl
    def kennel_provisioners(settings: PluginSettings) -> list[MemoryProvisioner]:
        return [MemoryProvisioner()]

    def plugin(name: str) -> tuple[object, EntryPoint | None]:
        module = ModuleType(name)
        module.kennel_provisioners = kennel_provisioners  # type: ignore[attr-defined]
        return module, None

    plugins = Plugins({"memory": plugin("memory"), "other": plugin("other")})
    said = PluginSettings({"memory": {}}, Host(state_dir=tmp_path, run_dir=tmp_path))
    found = Catalogue.of(plugins.ports(said), plugins, said)
    assert [*found.provisioners] == ["memory"]
    assert [*found.off] == ["other"]
