"""Cachix: what trusted builds make is pushed to a cache, for developers and other machines."""

from collections.abc import Iterable

from kennel.builtin.cachix.cache import CachixCache
from kennel.builtin.cachix.config import CachixConfig
from kennel.plugin import Cache, PluginSettings, hookimpl

__all__ = ["CachixCache", "CachixConfig", "kennel_caches"]


@hookimpl
def kennel_caches(settings: PluginSettings) -> Iterable[Cache]:
    config = settings.read("cachix", CachixConfig)
    return [] if config is None else [CachixCache(config, settings.host)]
