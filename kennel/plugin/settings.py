"""Typed access to the `[plugins.*]` tables of kennel.toml."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from kennel.domain import Secret
from kennel.errors import ConfigError

SecretReference: TypeAlias = Annotated[str, msgspec.Meta(pattern="^(env:.|file:/.|credential:.)")]
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
    this machine.
    """

    state_dir: Path
    run_dir: Path
    domain: str = "localhost"
    api_url: str = "http://127.0.0.1:3000"


class PluginSettings:
    """What kennel.toml says to plugins."""

    def __init__(self, tables: Mapping[str, object], host: Host) -> None:
        self._tables = tables
        self.host = host

    @property
    def names(self) -> frozenset[str]:
        """Return the plugins that are on."""
        return frozenset(self._tables)

    def read(self, name: str, shape: type[C]) -> C | None:
        """Return `[plugins.name]` as `shape`, or None if the plugin is not on.

        Raises ConfigError naming the table and the key that is unknown or of the wrong type.
        """
        if name not in self._tables:
            return None
        try:
            return msgspec.convert(self._tables[name], shape)
        except msgspec.ValidationError as error:
            known = ", ".join(field.encode_name for field in msgspec.structs.fields(shape))
            raise ConfigError(
                f"kennel.toml: [plugins.{name}]: {error}; its keys are: {known or '(none)'}"
            ) from error


def read_secret(reference: str, *, where: str) -> Secret:
    """Return the secret that a reference points to, without the white space around it.

    `where` names the setting in errors. Raises ConfigError if there is nothing or if it is empty.
    """
    kind, _, place = reference.partition(":")
    try:
        value = _look_up(kind, place)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"{where}: cannot read {kind}:{place}: {reason}") from error
    if not value.strip():
        raise ConfigError(f"{where}: {kind}:{place} is empty or not set")
    return Secret(value.strip())


def _look_up(kind: str, place: str) -> str:
    if kind == "env":
        return os.environ.get(place, "")
    if kind == "credential":
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        return Path(folder, Path(place).name).read_text() if folder else ""
    return Path(place).read_text()
