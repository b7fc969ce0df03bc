"""The plugin is on when kennel.toml says so."""

from typing import Any

import pytest

from kennel.builtin import caddy
from kennel.builtin.caddy import CaddyRouter
from kennel.errors import ConfigError
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host


def offered(host: Host, tables: dict[str, Any]) -> list[Any]:
    return list(caddy.kennel_routers(PluginSettings(tables, host)))


def test_it_is_on_with_a_table(host: Host) -> None:
    (router,) = offered(host, {"caddy": {}})
    assert isinstance(router, CaddyRouter)
    assert router.name == "caddy"


def test_it_is_off_without_one(host: Host) -> None:
    assert offered(host, {"other": {}}) == []


@pytest.mark.parametrize(
    "table",
    [
        {"admin": "localhost:2019"},
        {"admin": "unix/relative"},
        {"tls": "sometimes"},
        {"http_port": 0},
        {"https_port": 70000},
        {"port": 443},
    ],
)
def test_wrong_settings_are_named(host: Host, table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"\[plugins\.caddy\]"):
        offered(host, {"caddy": table})
