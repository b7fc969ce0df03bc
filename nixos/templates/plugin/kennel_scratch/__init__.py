"""A folder for every tenant."""

from collections.abc import Iterable
from pathlib import Path

from kennel.plugin import PluginConfig, PluginSettings, Provisioner, hookimpl
from kennel_scratch.folders import FolderProvisioner


class ScratchConfig(PluginConfig, frozen=True):
    """What `[plugins.scratch]` may say."""

    folder: Path = Path("/var/lib/kennel-scratch")


@hookimpl
def kennel_provisioners(settings: PluginSettings) -> Iterable[Provisioner]:
    if config := settings.read("scratch", ScratchConfig):
        yield FolderProvisioner(config.folder)
