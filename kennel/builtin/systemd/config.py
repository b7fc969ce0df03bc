"""What `[plugins.systemd]` in kennel.toml may say."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from kennel.plugin import PluginConfig

Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=1, le=65535)]

CADDY_ADMIN = 2019
"""Where Caddy takes orders from everybody on the machine, unless it is told another place."""

Protection: TypeAlias = Literal[
    "CapabilityBoundingSet",
    "DevicePolicy",
    "KeyringMode",
    "LimitCORE",
    "LockPersonality",
    "PrivateDevices",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "UMask",
]
"""A part of the sandbox that the operator may leave out; see systemd.exec(5)."""


class SystemdConfig(PluginConfig, frozen=True):
    """How services run as transient units of systemd.

    `bus`: the D-Bus address of the system bus, where it is not the usual one. `journal`: a folder
    with journal files to read instead of the machine's own. `slice`: what limits all services
    together. `relax`: parts of the sandbox to leave out, for all services.

    A service that fails is started again after `restart_delay` seconds, later and later up to
    `restart_max_delay` (from systemd 254 on), until it was started `start_limit` times within
    `start_limit_interval` seconds; then it counts as failed. It has `start_timeout` seconds until
    its program is executed, and `stop_timeout` seconds to end when it is asked to. What runs at
    certain times has `run_timeout` seconds for each run.

    `firewall`: keeps services from ports of this machine that are not their business. "auto" goes
    on with a warning where it cannot be, "required" does not. `local_ports`: "open" lets services
    reach all but each other's ports, Kennel's own and `deny_local_ports`; "closed" none but
    `allow_local_ports` and those of DNS and HTTP. `dynamic_users`: what systemd was built with.
    `own_port_only`: no service can even listen on another's port, which costs each start a tenth
    of a second.
    """

    bus: str | None = None
    journal: Path | None = None
    slice: Annotated[str, Meta(pattern=r"^[a-z0-9_-]+\.slice$")] = "kennel.slice"
    relax: tuple[Protection, ...] = ()
    restart_delay: Seconds = 1.0
    restart_max_delay: Seconds = 30.0
    start_limit: Annotated[int, Meta(ge=1)] = 5
    start_limit_interval: Seconds = 60.0
    start_timeout: Seconds = 30.0
    stop_timeout: Seconds = 10.0
    run_timeout: Seconds = 86400.0
    firewall: Literal["auto", "required", "off"] = "auto"
    local_ports: Literal["open", "closed"] = "open"
    allow_local_ports: tuple[Port, ...] = ()
    deny_local_ports: tuple[Port, ...] = (CADDY_ADMIN,)
    dynamic_users: Annotated[
        str, Meta(pattern="^[0-9]{1,9}-[0-9]{1,9}$", examples=["61184-65519"])
    ] = "61184-65519"
    own_port_only: bool = False

    @property
    def users(self) -> range:
        """Return the users that services run as."""
        first, _, last = self.dynamic_users.partition("-")
        return range(int(first), int(last) + 1)
