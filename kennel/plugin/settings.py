"""Typed access to the `[plugins.*]` tables of kennel.toml."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from kennel.domain import Secret
from kennel.errors import ConfigError
from kennel.plugin.table import read_table

SecretReference: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(env:[A-Za-z_]\w*|file:/.+|credential:[\w.@-]+)$",
        examples=["env:NAME", "file:/path", "credential:name"],
    ),
]
"""Where a secret is, never what it is: `env:NAME`, `file:/path` or `credential:name`."""


class PluginConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of a plugin's own settings."""


C = TypeVar("C", bound=PluginConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a plugin may know of the daemon it is part of.

    `state_dir`: kept over reboots. `run_dir`: on a tmpfs, gone with a reboot. Both exist, belong
    to Kennel and are shared with other plugins: use a folder in them named like the plugin.
    `domain`: the one previews get their hosts under. `api_url`: where Kennel itself answers, on
    this machine. `ports`: those that services listen on, each on one of its own.
    """

    state_dir: Path
    run_dir: Path
    domain: str = "localhost"
    api_url: str = "http://127.0.0.1:3000"
    ports: range = range(20000, 30000)


class PluginSettings:
    """What kennel.toml says to plugins."""

    def __init__(self, tables: Mapping[str, object], host: Host) -> None:
        self._tables = tables
        self.host = host

    @property
    def names(self) -> frozenset[str]:
        """Return the plugins that are on."""
        return frozenset(self._tables)

    def says_of(self, name: str) -> bool:
        """Return whether there is a key in `[plugins.name]`."""
        return bool(self._tables.get(name))

    def read(self, name: str, shape: type[C]) -> C | None:
        """Return `[plugins.name]` as `shape`, or None if the plugin is not on.

        Raises ConfigError naming the table and the key that is unknown or of the wrong type.
        """
        if name not in self._tables:
            return None
        return read_table(self._tables[name], shape, file="kennel.toml", table=f"plugins.{name}")


_elsewhere: ContextVar[bool] = ContextVar("elsewhere", default=False)


@contextmanager
def secrets_elsewhere() -> Iterator[None]:
    """Look no secret up within this block: the settings are of another machine, which has them."""
    token = _elsewhere.set(True)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def read_secret(reference: str, *, where: str, example: str = "elsewhere") -> Secret:
    """Return the secret that a reference points to, without the white space around it.

    `where` names the setting in errors, such as `[plugins.garage] token`. `example`: what is
    returned where secrets are not looked up (`kennel check-config --elsewhere`), for those of a
    certain form. Raises ConfigError if
    there is nothing, or if it is empty. No error holds the value, nor a reference of the wrong
    form: that may well be the value, in the wrong place.
    """
    kind, _, place = reference.partition(":")
    if kind not in SOURCES or not place:
        raise ConfigError(
            f'{where}: a secret is written as "env:NAME", "file:/path" or "credential:name"'
        )
    if _elsewhere.get():
        return Secret(example)
    try:
        value = SOURCES[kind](place).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it does not hold text"
        raise ConfigError(f"{where}: cannot read {reference}: {reason}") from None
    if not value:
        raise ConfigError(f"{where}: {reference} is {MISSING[kind]}")
    return Secret(value)


def _credential(name: str) -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise FileNotFoundError(2, "Kennel was not started with LoadCredential=")
    return Path(folder, Path(name).name).read_text()


SOURCES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "env": lambda name: os.environ.get(name, ""),
        "file": lambda path: Path(path).read_text(),
        "credential": _credential,
    }
)
MISSING = MappingProxyType(
    {"env": "not set or empty", "file": "an empty file", "credential": "an empty credential"}
)
