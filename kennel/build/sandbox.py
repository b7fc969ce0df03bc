"""How evaluation and build are kept apart from Kennel: in transient units of systemd.

Only what is named here can be written; Kennel's own folders are out of sight but for what a step
needs; the socket of the Nix daemon and the network stay, because fetching inputs needs them.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SLICE = "kennel-builds.slice"
UNIT = re.compile(r"kennel-build-\d+-\d+\.service")
"""Units of builds; those of services have two dashes in a row in their names."""
SPARE = 60.0
"""Seconds after which systemd ends a unit that Kennel should have ended."""
STOP = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a step may touch besides the system: paths it may write, and paths it may read."""

    writes: tuple[Path, ...] = ()
    reads: tuple[Path, ...] = ()
    cwd: Path = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Wraps commands in transient units. `hidden`: Kennel's folders. `timeout`: seconds."""

    hidden: tuple[Path, ...]
    memory_max: int | None
    timeout: float

    def wrap(
        self, unit: str, command: Sequence[str], *, env: Mapping[str, str], reach: Reach
    ) -> list[str]:
        """Return the command that runs `command` as `unit`, and ends as it does."""
        words = ["systemd-run", "--wait", "--pipe", "--collect", "--quiet", f"--unit={unit}"]
        words += [f"--slice={SLICE}", f"--working-directory={reach.cwd}"]
        words += [f"--property={line}" for line in self._properties(reach)]
        words += [f"--setenv={name}={value}" for name, value in sorted(env.items())]
        return [*words, "--", *(word.replace("$", "$$") for word in command)]  # systemd expands $

    def _properties(self, reach: Reach) -> Iterable[str]:
        yield "Description=Kennel build"
        yield f"RuntimeMaxSec={self.timeout + SPARE:.0f}"
        yield f"TimeoutStopSec={STOP:.0f}"
        if self.memory_max is not None:
            yield f"MemoryMax={self.memory_max}"
            yield "MemorySwapMax=0"
        yield from _user()
        yield from HARDENING
        for folder in self.hidden:
            yield f"TemporaryFileSystem={quoted(folder)}:ro"
        yield f"InaccessiblePaths=-/proc/{os.getpid()}"  # our environment may hold secrets
        for path in reach.reads:
            yield f"BindReadOnlyPaths={quoted(path)}"
        for path in reach.writes:
            yield f"BindPaths={quoted(path)}"
            yield f"ReadWritePaths={quoted(path)}"


HARDENING = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectProc=invisible",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "LockPersonality=yes",
    "KeyringMode=private",
    "UMask=0022",
)


def _user() -> Iterable[str]:
    """Yield who runs a build: Kennel's own user, or nobody in particular where that is root."""
    if os.geteuid() == 0:
        yield "DynamicUser=yes"
        yield "User=kennel-build"  # one name, so that one number owns the caches of all builds
        yield "CapabilityBoundingSet="
    else:
        yield f"User={os.geteuid()}"
        yield f"Group={os.getegid()}"


def quoted(path: Path) -> str:
    """Return a path as the words of a unit have it: systemd.syntax(7), with `:` escaped."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace(":", "\\:")
    return f'"{text}"' if re.search(r'[\s"\\]', text) else text
