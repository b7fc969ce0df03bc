"""What every command starts from: the configuration, the daemon, the screen."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast

import msgspec
import typer

from kennel import settings
from kennel.cli.client import Daemon
from kennel.cli.screen import Screen
from kennel.settings import Settings

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON for scripts instead of words for people.")
]


@dataclass
class Session:
    """One call of `kennel`. `config` is what --config or KENNEL_CONFIG says, if they do."""

    config: Path | None = None
    screen: Screen = field(default_factory=Screen)

    @cached_property
    def file(self) -> Path | None:
        """Return the kennel.toml in use, None where there is none."""
        return self.config or settings.find()

    @cached_property
    def settings(self) -> Settings:
        return settings.load(self.file)

    def daemon(self) -> Daemon:
        """Return a connection to the daemon that this configuration is of."""
        return Daemon(self.settings.control_socket)

    def json(self, value: object) -> None:
        """Print a view exactly as the daemon gave it."""
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        self.screen.out.file.write(text + "\n")


def of(context: typer.Context) -> Session:
    """Return the session of the command that is running."""
    return cast("Session", cast("Any", context).obj)
