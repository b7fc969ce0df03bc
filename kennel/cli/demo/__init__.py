"""`kennel demo`: everything once, on this machine, with a forge that is one hook."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from kennel.cli import session
from kennel.cli.outcome import Exit

if TYPE_CHECKING:
    from kennel.cli.screen import Screen


class Supervisor(StrEnum):
    """What runs the services of the demo."""

    PROCESS = "process"
    SYSTEMD = "systemd"


def demo(
    context: typer.Context,
    leave: Annotated[
        bool, typer.Option("--exit", help="End when all is shown instead of waiting for Ctrl-C.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Use this new folder and keep it afterwards."),
    ] = None,
    supervisor: Annotated[
        Supervisor, typer.Option(help="What runs the services.")
    ] = Supervisor.PROCESS,
) -> None:
    """Show Kennel at work: push, build, URL, change, pull request."""
    from kennel.cli.demo import children, place, story  # only this command needs them

    screen = session.of(context).screen
    screen.err = screen.out  # one story: what is done and what it leads to belong together
    children.adopt_orphans()
    with _ended_by_sigterm(), place.made(keep, supervisor.value) as where:
        try:
            story.tell(where, screen, leave=leave)
        except Exception:
            _show_log(where.log, screen)
            where.keep = True
            raise
        finally:
            children.end_all()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does: with everything it started."""

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.exit(Exit.INTERRUPTED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_log(log: Path, screen: "Screen", lines: int = 30) -> None:
    """Tell where the daemon's log is, and its last lines."""
    if not log.is_file():
        return
    screen.note(f"\nThe end of Kennel's log, {log}:", "bold")
    for line in log.read_text(errors="replace").splitlines()[-lines:]:
        screen.note(f"  {line}", "dim")
