"""`kennel builds`: what was built, what will be, and what went wrong."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from kennel.cli import session
from kennel.cli.default_group import DefaultGroup
from kennel.cli.screen import Column, Row, Screen, harmless, link, word
from kennel.cli.session import AsJson
from kennel.cli.words import MOST, age, duration, short
from kennel.views import Build

if TYPE_CHECKING:
    from rich.text import Text

app = typer.Typer(
    cls=DefaultGroup, help="List (the default), show and cancel builds.", rich_markup_mode=None
)

COLUMNS = (
    Column("ID"),
    Column("PROJECT"),
    Column("REF"),
    Column("ENVIRONMENT", spare=3),
    Column("COMMIT", spare=1),
    Column("STATE"),
    Column("CREATED", spare=2),
    Column("TOOK", spare=4),
)

Number = Annotated[int, typer.Argument(help="The number of a build.", metavar="ID", min=1)]


@app.command("list")
def list_builds(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="Only of this project.")] = None,
    ref: Annotated[str | None, typer.Argument(help="Only of this branch or pr-N.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=MOST, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List builds, newest first."""
    here = session.of(context)
    with here.daemon() as daemon:
        found = daemon.builds(project, ref, limit)
    if as_json:
        here.json(found)
    elif not found:
        here.screen.note("There are no builds.")
    else:
        here.screen.table(COLUMNS, [_row(build, time.time()) for build in found])


def _row(build: Build, now: float) -> Row:
    return Row(
        (
            str(build.id),
            build.project,
            build.ref,
            word(build.environment),
            short(build.commit),
            word(build.state),
            age(build.created_at, now),
            took(build),
        ),
        _first_line(build.reason),
    )


def _first_line(reason: str) -> str:
    first, *more = harmless(reason).splitlines() or [""]
    return f"{first} …" if more else first


def took(build: Build) -> str:
    """Return how long a build took, `-` where it is not over. What was deployed later, or again,
    does not count.
    """
    ended = build.built_at or build.finished_at
    if build.started_at is None or ended is None:
        return "-"
    return duration(ended - build.started_at)


@app.command()
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show one build."""
    here = session.of(context)
    with here.daemon() as daemon:
        build = daemon.build(number)
    if as_json:
        here.json(build)
    else:
        _describe(here.screen, build, time.time())


def _describe(screen: Screen, build: Build, now: float) -> None:
    trusted = "" if build.trusted else " (from a fork: not trusted)"
    rows: list[tuple[str, str | Text]] = [
        ("build", str(build.id)),
        ("project", build.project),
        ("ref", f"{build.ref}{trusted}"),
        ("environment", word(build.environment)),
        ("commit", build.commit),
        ("state", word(build.state)),
        ("reason", build.reason),
        ("created", age(build.created_at, now)),
        ("took", took(build)),
        *(("url", link(url)) for url in build.urls),
    ]
    width = max(len(title) for title, _ in rows)
    for title, value in rows:
        if value:
            screen.pair(title.ljust(width), value)


@app.command()
def cancel(context: typer.Context, number: Number) -> None:
    """Cancel a build that is queued or running."""
    here = session.of(context)
    with here.daemon() as daemon:
        daemon.cancel(number)
    here.screen.note(f"Build {number} is cancelled.")
