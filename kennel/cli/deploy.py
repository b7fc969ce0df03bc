"""`kennel deploy`: build the head of a ref now, and watch.

What happens is told on stderr. On stdout is the result alone: the URLs, or the build as JSON.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer
from rich.text import Text

from kennel.cli import session
from kennel.cli.client import Daemon
from kennel.cli.outcome import Exit, Failure
from kennel.cli.screen import GAP, Screen, harmless, link, word
from kennel.cli.session import AsJson
from kennel.cli.words import duration, short
from kennel.views import Build

FINAL = frozenset({"done", "failed", "cancelled"})
PHASES = {
    "queued": "waiting for its turn",
    "building": "building",
    "built": "starting what was built, waiting until it answers",
}
EVERY = 0.25
"""Seconds between questions about a state."""


def deploy(
    context: typer.Context,
    project: Annotated[str, typer.Argument(help="The project.")],
    ref: Annotated[str, typer.Argument(help="The branch or pr-N.")],
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Watch until it is live or failed.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Build and deploy the head of a branch or pull request."""
    here = session.of(context)
    with here.daemon() as daemon:
        build = daemon.deploy(project, ref)
        if follow:
            build = watch(daemon, here.screen, build)
    if as_json:
        here.json(build)
    elif not follow:
        here.screen.line(f"build {build.id} of {project}/{ref} is {build.state}")
        here.screen.note(f"Its log: kennel logs --build {build.id} -f")
    if follow:
        conclude(here.screen, build, quiet=as_json)


def watch(daemon: Daemon, screen: Screen, build: Build) -> Build:
    """Show the log and the phases of a build until it is over. Return it as it is then."""
    at = f" at {short(build.commit)}" if build.commit.strip("0") else ""
    screen.note(f"build {build.id}: {build.project}/{build.ref}{at}", "bold")
    try:
        return _watched(daemon, screen, build)
    except KeyboardInterrupt:
        screen.note(
            f"\nThe build goes on: `kennel logs --build {build.id} -f` shows it,"
            f" `kennel builds cancel {build.id}` ends it."
        )
        raise


def _watched(daemon: Daemon, screen: Screen, build: Build) -> Build:
    shown = ""
    logged = False
    while True:
        if build.state != "queued" and not logged:
            logged = True
            shown = "building"  # it may be beyond that already: its log comes first all the same
            screen.note(PHASES[shown], "yellow")
            _show_log(daemon, screen, build.id)
        elif build.state != shown and build.state not in FINAL:
            shown = build.state
            screen.note(PHASES.get(shown, shown), "yellow")
            continue
        elif build.state in FINAL:
            return build
        else:
            with _spinner(screen, PHASES.get(build.state, build.state)):
                build = _changed(daemon, screen, build)
            continue
        build = daemon.build(build.id)


def arrive(daemon: Daemon, screen: Screen, build: Build) -> Build:
    """Wait until a build that was built before is live, or is not going to be. Return it then."""
    screen.note(f"build {build.id}: {build.project}/{build.ref} at {short(build.commit)}", "bold")
    while build.state not in FINAL:
        with _spinner(screen, PHASES.get(build.state, build.state)):
            build = _changed(daemon, screen, build)
    return build


def _changed(daemon: Daemon, screen: Screen, build: Build) -> Build:
    """Return the build once its state is another. Say what it waits for, if for a person."""
    now, told = build, ""
    while now.state == build.state:
        time.sleep(EVERY)
        now = daemon.build(build.id)
        if now.state == "built" and (why := _waits_for(daemon, now)) != told:
            told = why
            screen.note(f"it waits: {why}" if why else PHASES["built"], "yellow")
    return now


def _waits_for(daemon: Daemon, build: Build) -> str:
    """Return why what was built is not started yet, "" if it is being started."""
    return next(
        (
            one.why
            for one in daemon.status(build.project)
            if one.ref == build.ref and "waiting" in {one.state, one.next_state}
        ),
        "",
    )


def _spinner(screen: Screen, text: str) -> AbstractContextManager[object]:
    return screen.err.status(text) if screen.err.is_terminal else nullcontext()


def _show_log(daemon: Daemon, screen: Screen, number: int) -> None:
    """Show a log until the build is over. It may break off: whoever asks next finds out why."""
    try:
        for line in _lines(daemon.build_log(number, follow=True)):
            screen.note(GAP + harmless(line), "dim")
    except Failure as failure:
        if failure.code is not Exit.UNREACHABLE:
            raise


def _lines(pieces: Iterator[str]) -> Iterator[str]:
    """Yield whole lines of a text that comes in pieces."""
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        yield from whole
    if rest:
        yield rest


def conclude(
    screen: Screen, build: Build, *, quiet: bool = False, begun: float | None = None
) -> None:
    """Say how it ended. Raises Failure for a build that did not become live.

    `begun`: when; None: when the build was queued.
    """
    if build.state != "done":
        raise Failure(
            f"build {build.id} of {build.project}/{build.ref} {_ended(build)}",
            f"its log: kennel logs --build {build.id}",
            code=Exit.NOT_DEPLOYED,
        )
    took = duration((build.finished_at or time.time()) - (begun or build.created_at))
    screen.note(Text.assemble(word("done"), f": {build.project}/{build.ref} is live after {took}"))
    for url in () if quiet else build.urls:
        screen.line(link(url))


def _ended(build: Build) -> str:
    verb = "was cancelled" if build.state == "cancelled" else "failed"
    return f"{verb}: {build.reason}" if build.reason else verb
