"""The properties of units: the program, its limits, its sandbox, its times.

Nothing here comes from a repository but the command, its arguments, numbers, and the times.
"""

import errno
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

from dbus_fast import Variant

from kennel.builtin.systemd.command import commanded
from kennel.builtin.systemd.config import SystemdConfig
from kennel.builtin.systemd.ruleset import Users
from kennel.domain import Limits, Unit

CLONE_NEWUTS = 0x04000000

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
    # None of use to anybody without privileges. "None at all" (0) is lost with a daemon-reload:
    # systemd writes an empty value to the unit's file, and reads it as "all of them".
    "RestrictNamespaces": Variant("t", CLONE_NEWUTS),
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

BINDING = ("SocketBindAllow", "SocketBindDeny")
"""Unknown before 249, and of no effect in a systemd that was built without BPF_FRAMEWORK."""

OPTIONAL = frozenset(SANDBOX) | {*NEWER, *BINDING, "SystemCallErrorNumber"}
"""What is left out, with a line in the log, where a systemd does not know it."""

USER = "kennel-"
"""How the user of every unit begins: those of builds too."""

ANY = 0
"""Of address families and protocols: all of them."""

FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


Properties: TypeAlias = Mapping[str, Variant | tuple[Variant, ...]]
"""Names and values; several values are set one after the other."""


@dataclass(frozen=True, slots=True)
class Order:
    """What StartTransientUnit is asked for: the unit to start, and one that goes with it."""

    name: str
    properties: Properties
    others: Mapping[str, Properties] = field(default_factory=dict)

    def arguments(self, *, without: Collection[str] = ()) -> tuple[str, str, object, object]:
        """Return the arguments of the call, less the properties in `without`."""
        others = [[name, _listed(of, without)] for name, of in self.others.items()]
        return self.name, "replace", _listed(self.properties, without), others


def _listed(properties: Properties, without: Collection[str]) -> list[list[object]]:
    return [
        [name, value]
        for name, values in properties.items()
        if name not in without
        for value in (values if isinstance(values, tuple) else (values,))
    ]


class Orders:
    """Makes the order for a unit.

    `env_file`: where its environment is read from. `closed`: ports that nobody listens on but
    the unit they were given to.
    """

    def __init__(
        self,
        config: SystemdConfig,
        env_file: Callable[[str], Path],
        closed: Sequence[range] = (),
    ) -> None:
        self._config = config
        self._env_file = env_file
        self._closed = closed

    def always(self, unit: Unit) -> Order:
        """Return the order for a service that runs, and is started again when it fails."""
        return self._service(unit, _always(self._config))

    def once(self, unit: Unit, within: float) -> Order:
        """Return the order for a run that ends by itself, after `within` seconds at most.

        Its end stays to be read until it is removed, be it good or bad.
        """
        kept = {
            "RemainAfterExit": Variant("b", True),
            "CollectMode": Variant("s", "inactive"),
        }
        return self._service(unit, {**_run(within), **kept})

    def at_times(self, unit: Unit) -> Order:
        """Return the order for a timer, and for the runs that it starts.

        One that is under way when the next is due is not doubled: a timer only starts what is
        not running.
        """
        service = self._service(unit, _run(self._config.run_timeout))
        return Order(f"{unit.name}.timer", _timer(unit), {service.name: service.properties})

    def _service(self, unit: Unit, way: Properties) -> Order:
        every = {
            **_program(unit, self._env_file(unit.name), self._config),
            **_limits(unit.limits),
            **_sandbox(self._config),
            **_identity(unit),
            **(_binding(unit, self._closed) if self._config.own_port_only else {}),
            **way,
        }
        return Order(f"{unit.name}.service", every)


def _timer(unit: Unit) -> Properties:
    return {
        "Description": _description(unit),
        "CollectMode": Variant("s", "inactive-or-failed"),
        "TimersCalendar": Variant("a(ss)", [["OnCalendar", unit.schedule]]),
        "AccuracyUSec": _usec(0.1),
        "Persistent": Variant("b", False),
    }


def _run(timeout: float) -> Properties:
    return {
        "Type": Variant("s", "oneshot"),
        "TimeoutStartUSec": _usec(timeout),
        "StartLimitIntervalUSec": _usec(0),  # whoever chose the times meant them
    }


def _description(unit: Unit) -> Variant:
    return Variant("s", f"{MARK}{unit.key}")


def _program(unit: Unit, env_file: Path, config: SystemdConfig) -> Properties:
    return {
        "Description": _description(unit),
        "Slice": Variant("s", config.slice),
        "CollectMode": Variant("s", "inactive-or-failed"),  # nothing lingers, failed or not
        "TimeoutStopUSec": _usec(config.stop_timeout),
        **commanded(unit.command),
        "EnvironmentFiles": Variant("a(sb)", [[str(env_file), False]]),
        "SyslogIdentifier": Variant("s", unit.name),
        "LogExtraFields": Variant("aay", list(_fields(unit))),
        "DynamicUser": Variant("b", True),
        "NoNewPrivileges": Variant("b", True),
        "PrivateTmp": Variant("b", True),
        "WorkingDirectory": Variant("s", "/tmp"),  # noqa: S108  private, see PrivateTmp
        "KillMode": Variant("s", "control-group"),
    }


def _identity(unit: Unit) -> Properties:
    """Name the user so that it can be told whose it is, and which port was given to it."""
    own = unit.port or f"w{sha256(unit.name.encode()).hexdigest()[:12]}"
    return {"User": Variant("s", f"{USER}{own}")}


def told_apart(users: Iterable[tuple[int, str]]) -> Users:
    """Return which users are whose. `users`: numbers and names of dynamic users."""
    ours = {name.removeprefix(USER): uid for uid, name in users if name.startswith(USER)}
    return Users(
        owners={int(own): uid for own, uid in ours.items() if own.isdecimal()},
        ours=frozenset(ours.values()),
    )


def _binding(unit: Unit, closed: Sequence[range]) -> Properties:
    """Let a unit listen on its own port, and on none of others'."""
    own = [] if unit.port is None else [range(unit.port, unit.port + 1)]
    return {
        name: Variant("a(iiqq)", [[ANY, ANY, len(ports), ports.start] for ports in spans])
        for name, spans in zip(BINDING, (own, closed), strict=True)
    }


def _fields(unit: Unit) -> Iterable[bytes]:
    named = {
        **{name: value for name, value in unit.fields.items() if FIELD.fullmatch(name)},
        "KENNEL_PROJECT": unit.key.tenant.project,
        "KENNEL_REF": str(unit.key.tenant.ref),
        "KENNEL_SERVICE": unit.key.name,
    }
    return (f"{name}={value}".encode() for name, value in named.items())


def _always(config: SystemdConfig) -> Properties:
    return {
        "Type": Variant("s", "exec"),  # "simple" would count as started without a program
        "Restart": Variant("s", "on-failure"),
        "RestartUSec": _usec(config.restart_delay),
        "RestartSteps": Variant("u", 5),
        "RestartMaxDelayUSec": _usec(max(config.restart_delay, config.restart_max_delay)),
        "StartLimitIntervalUSec": _usec(config.start_limit_interval),
        "StartLimitBurst": Variant("u", config.start_limit),
        "TimeoutStartUSec": _usec(config.start_timeout),
    }


def _limits(limits: Limits) -> Properties:
    wanted = {
        "MemoryMax": limits.memory_max,
        "CPUWeight": limits.cpu_weight,
        "TasksMax": limits.tasks_max,
    }
    return {name: Variant("t", value) for name, value in wanted.items() if value is not None}


def _sandbox(config: SystemdConfig) -> Properties:
    kept = {name: value for name, value in SANDBOX.items() if name not in config.relax}
    if "SystemCallFilter" in kept:  # an error the program can handle, rather than its death
        kept["SystemCallErrorNumber"] = Variant("i", errno.EPERM)
    return kept


def _usec(seconds: float) -> Variant:
    return Variant("t", int(seconds * 1_000_000))
