"""Processes: services as children of Kennel, for machines without a systemd to talk to."""

from collections.abc import Iterable

from kennel.builtin.process.config import ProcessConfig
from kennel.builtin.process.supervisor import ProcessSupervisor
from kennel.plugin import PluginSettings, Supervisor, hookimpl

__all__ = ["ProcessConfig", "ProcessSupervisor", "kennel_supervisors"]


@hookimpl
def kennel_supervisors(settings: PluginSettings) -> Iterable[Supervisor]:
    config = settings.read("process", ProcessConfig)
    return [] if config is None else [ProcessSupervisor(config, settings.host)]
