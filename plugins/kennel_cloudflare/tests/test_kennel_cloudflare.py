"""The plugin is found, and says honestly that it offers nothing yet."""

from importlib.metadata import entry_points
from pathlib import Path

import kennel_cloudflare
import pytest

from kennel.errors import ConfigError
from kennel.plugin import PluginSettings
from kennel.plugin.manager import Plugins
from kennel.plugin.settings import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


@pytest.fixture
def plugins() -> Plugins:
    """Return what is installed, were this plugin the only one."""
    (entry,) = entry_points(group="kennel", name="cloudflare")
    return Plugins({entry.name: (entry.load(), entry)})


def test_it_is_found_by_its_name(plugins: Plugins, host: Host) -> None:
    (found,) = plugins.listing(PluginSettings({}, host))
    assert (found.name, found.package) == ("cloudflare", "kennel-cloudflare")
    assert found.kinds == ("DNS provider",)
    assert found.on is False


def test_off_it_offers_nothing(plugins: Plugins, host: Host) -> None:
    assert not list(kennel_cloudflare.kennel_dns_providers(PluginSettings({}, host)))
    assert not plugins.ports(PluginSettings({}, host)).dns_providers


@pytest.mark.parametrize("table", [{}, {"url": "x"}], ids=["empty", "with settings"])
def test_on_it_says_what_it_lacks(plugins: Plugins, host: Host, table: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as error:
        plugins.ports(PluginSettings({"cloudflare": table}, host))
    assert str(error.value) == (
        "kennel-cloudflare 0.1.0 has no DNS provider yet: remove [plugins.cloudflare]"
    )
