"""`kennel serve`: the daemon itself."""

import asyncio
import os
from enum import StrEnum
from typing import Annotated

import typer

from kennel.cli import session


class Level(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Layout(StrEnum):
    """What a log line looks like."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"
    LOGFMT = "logfmt"


def serve(
    context: typer.Context,
    log_level: Annotated[
        Level, typer.Option(envvar="KENNEL_LOG_LEVEL", help="How much is logged.")
    ] = Level.INFO,
    log_format: Annotated[
        Layout,
        typer.Option(
            envvar="KENNEL_LOG_FORMAT",
            help="auto: human on a terminal, logfmt in the journal, else JSON.",
        ),
    ] = Layout.AUTO,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from kennel import logs  # the other commands need none of these
    from kennel.daemon import run

    here = session.of(context)
    settings = here.settings
    logs.configure(level=log_level.value, layout=log_format.value)
    os.umask(0o077)
    asyncio.run(run(settings))
