"""Traffic comes in through Caddy: one that Kennel starts, or one that is there already."""

from collections.abc import Iterable

from kennel.builtin.caddy.config import Config
from kennel.builtin.caddy.router import CaddyRouter
from kennel.plugin import PluginSettings, Router, hookimpl

__all__ = ["CaddyRouter", "Config"]


@hookimpl
def kennel_routers(settings: PluginSettings) -> Iterable[Router]:
    """Offer Caddy, if `[plugins.caddy]` is there."""
    config = settings.read("caddy", Config)
    return () if config is None else (CaddyRouter(config, settings.host),)
