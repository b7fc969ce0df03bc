"""`kennel logs`: what a service wrote, or a build."""

from typing import Annotated

import typer

from kennel.cli import session
from kennel.cli.outcome import Exit, Failure
from kennel.cli.words import MOST


def logs(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="The project.")] = None,
    ref: Annotated[str | None, typer.Argument(help="The branch or pr-N.")] = None,
    name: Annotated[
        str | None, typer.Argument(help="The service, where there is more than one.")
    ] = None,
    *,
    lines: Annotated[
        int,
        typer.Option("-n", "--lines", min=1, max=MOST, help="How many lines of a service."),
    ] = 100,
    build: Annotated[
        int | None, typer.Option("--build", metavar="ID", min=1, help="The log of a build.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the build is over.")
    ] = False,
) -> None:
    """Show what a service wrote, or a build.

    A service: kennel logs PROJECT REF [NAME]. A build: kennel logs --build ID.
    """
    here = session.of(context)
    if build is not None and project is None:
        with here.daemon() as daemon:
            for piece in daemon.build_log(build, follow=follow):
                here.screen.raw(piece)
        return
    if build is not None or project is None or ref is None or follow:
        raise Failure(
            "say whose log: a service's or a build's",
            "`kennel logs PROJECT REF [NAME] [-n LINES]` or `kennel logs --build ID [-f]`",
            code=Exit.USAGE,
        )
    with here.daemon() as daemon:
        here.screen.raw(daemon.service_log(project, ref, name, lines))
