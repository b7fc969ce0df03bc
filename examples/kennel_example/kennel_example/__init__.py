"""An example of a plugin: it gives every tenant a SQLite file of its own.

[plugins.example]
folder = "/var/lib/kennel-sqlite"
"""

from collections.abc import Iterable
from pathlib import Path

from kennel.plugin import PluginConfig, PluginSettings, Provisioner, hookimpl
from kennel_example.sqlite import SqliteProvisioner

__all__ = ["ExampleConfig", "SqliteProvisioner", "kennel_provisioners"]


class ExampleConfig(PluginConfig, frozen=True):
    """What `[plugins.example]` may say. `folder`: where the files are; None: with Kennel's own."""

    folder: Path | None = None


@hookimpl
def kennel_provisioners(settings: PluginSettings) -> Iterable[Provisioner]:
    config = settings.read("example", ExampleConfig)
    if config is None:
        return []
    return [SqliteProvisioner(config.folder or settings.host.state_dir / "example")]
