"""The properties of a service's unit: its program, its limits, its sandbox.

Nothing here comes from a repository but the command, its arguments and numbers.
"""

import errno
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from dbus_fast import Variant

from kennel.builtin.systemd.config import SystemdConfig
from kennel.domain import Limits, Unit

MARK = "Kennel service "
"""How the description of every unit of ours begins: what has it not is somebody else's."""

SANDBOX: Mapping[str, Variant] = {
    "CapabilityBoundingSet": Variant("t", 0),
    "DevicePolicy": Variant("s", "closed"),
    "KeyringMode": Variant("s", "private"),
    "LimitCORE": Variant("t", 0),  # a core dump is a file with every secret in it
    "LockPersonality": Variant("b", True),
    "PrivateDevices": Variant("b", True),
    "ProtectClock": Variant("b", True),
    "ProtectControlGroups": Variant("b", True),
    "ProtectHome": Variant("s", "yes"),
    "ProtectHostname": Variant("b", True),
    "ProtectKernelLogs": Variant("b", True),
    "ProtectKernelModules": Variant("b", True),
    "ProtectKernelTunables": Variant("b", True),
    "ProtectProc": Variant("s", "invisible"),
    "ProtectSystem": Variant("s", "strict"),
    # Netlink tells a program its own addresses: getaddrinfo and most run-times ask.
    "RestrictAddressFamilies": Variant(
        "(bas)", [True, ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"]]
    ),
    "RestrictNamespaces": Variant("t", 0),
    "RestrictRealtime": Variant("b", True),
    "RestrictSUIDSGID": Variant("b", True),
    "SystemCallArchitectures": Variant("as", ["native"]),
    "SystemCallFilter": Variant("(bas)", [True, ["@system-service"]]),
    "UMask": Variant("u", 0o077),
}
"""What a network service of any language can live with.

Left out on purpose: MemoryDenyWriteExecute (every JIT compiler needs such pages), ProcSubset=pid
(run-times read /proc/meminfo and /proc/cpuinfo), PrivateNetwork (it is a network service) and
PrivateUsers (files and sockets it is allowed to use would seem to be nobody's).
"""

NEWER = ("RestartSteps", "RestartMaxDelayUSec")
"""Nice to have, and unknown to systemd before 254."""

OPTIONAL = frozenset(SANDBOX) | {*NEWER, "SystemCallErrorNumber"}
"""What is left out, with a line in the log, where a systemd does not know it."""

FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def properties(
    unit: Unit, env_file: Path, config: SystemdConfig, *, without: Collection[str] = ()
) -> list[list[object]]:
    """Return the unit as StartTransientUnit takes it, less the names in `without`."""
    every = {
        **_program(unit, env_file, config),
        **_restarts(config),
        **_limits(unit.limits),
        **_sandbox(config),
    }
    return [[name, value] for name, value in every.items() if name not in without]


def _program(unit: Unit, env_file: Path, config: SystemdConfig) -> dict[str, Variant]:
    command = [unit.command[0], list(unit.command), ["no-env-expand"]]
    return {
        "Description": Variant("s", f"{MARK}{unit.key}"),
        "Type": Variant("s", "exec"),  # "simple" would count as started without a program
        "Slice": Variant("s", config.slice),
        "CollectMode": Variant("s", "inactive-or-failed"),  # nothing lingers, failed or not
        "ExecStartEx": Variant("a(sasas)", [command]),
        "EnvironmentFiles": Variant("a(sb)", [[str(env_file), False]]),
        "SyslogIdentifier": Variant("s", unit.name),
        "LogExtraFields": Variant("aay", list(_fields(unit))),
        "DynamicUser": Variant("b", True),
        "NoNewPrivileges": Variant("b", True),
        "PrivateTmp": Variant("b", True),
        "WorkingDirectory": Variant("s", "/tmp"),  # noqa: S108  private, see PrivateTmp
        "KillMode": Variant("s", "control-group"),
    }


def _fields(unit: Unit) -> Iterable[bytes]:
    named = {
        **{name: value for name, value in unit.fields.items() if FIELD.fullmatch(name)},
        "KENNEL_PROJECT": unit.key.tenant.project,
        "KENNEL_REF": str(unit.key.tenant.ref),
        "KENNEL_SERVICE": unit.key.name,
    }
    return (f"{name}={value}".encode() for name, value in named.items())


def _restarts(config: SystemdConfig) -> dict[str, Variant]:
    return {
        "Restart": Variant("s", "on-failure"),
        "RestartUSec": _usec(config.restart_delay),
        "RestartSteps": Variant("u", 5),
        "RestartMaxDelayUSec": _usec(max(config.restart_delay, config.restart_max_delay)),
        "StartLimitIntervalUSec": _usec(config.start_limit_interval),
        "StartLimitBurst": Variant("u", config.start_limit),
        "TimeoutStartUSec": _usec(config.start_timeout),
        "TimeoutStopUSec": _usec(config.stop_timeout),
    }


def _limits(limits: Limits) -> dict[str, Variant]:
    wanted = {
        "MemoryMax": limits.memory_max,
        "CPUWeight": limits.cpu_weight,
        "TasksMax": limits.tasks_max,
    }
    return {name: Variant("t", value) for name, value in wanted.items() if value is not None}


def _sandbox(config: SystemdConfig) -> dict[str, Variant]:
    kept = {name: value for name, value in SANDBOX.items() if name not in config.relax}
    if "SystemCallFilter" in kept:  # an error the program can handle, rather than its death
        kept["SystemCallErrorNumber"] = Variant("i", errno.EPERM)
    return kept


def _usec(seconds: float) -> Variant:
    return Variant("t", int(seconds * 1_000_000))
