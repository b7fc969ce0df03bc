"""systemd: services as transient units in a strict sandbox, which go on without Kennel."""

from collections.abc import Iterable

from kennel.builtin.systemd.config import SystemdConfig
from kennel.builtin.systemd.supervisor import SystemdSupervisor
from kennel.plugin import PluginSettings, Supervisor, hookimpl

__all__ = ["SystemdConfig", "SystemdSupervisor", "kennel_supervisors"]


@hookimpl
def kennel_supervisors(settings: PluginSettings) -> Iterable[Supervisor]:
    config = settings.read("systemd", SystemdConfig)
    return [] if config is None else [SystemdSupervisor(config, settings.host)]
