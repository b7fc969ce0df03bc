"""What is done with one ref: `kennel rollback`, `restart`, `stop`, `pin`, `approve`, `purge` …"""

import time
from collections.abc import Callable
from typing import Annotated, TypeAlias

import typer

from kennel.cli import session
from kennel.cli.client import Daemon
from kennel.cli.deploy import arrive, conclude
from kennel.cli.outcome import Exit, Failure
from kennel.cli.screen import Column, Row, word
from kennel.cli.session import AsJson
from kennel.views import ApproveOrder, Build, Done, Removal

Project: TypeAlias = Annotated[str, typer.Argument(help="The project.")]
Ref: TypeAlias = Annotated[str, typer.Argument(help="The branch or pr-N.")]
Follow: TypeAlias = Annotated[
    bool, typer.Option("--follow/--no-follow", help="Watch until it is live or failed.")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")]

COLUMNS = (Column("PROJECT"), Column("REF"), Column("ENVIRONMENT", spare=1), Column("WHY"))


def rollback(
    context: typer.Context,
    project: Project,
    ref: Ref,
    *,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="BUILD", help="The build. Default: the good one before."),
    ] = None,
    follow: Follow = True,
    as_json: AsJson = False,
) -> None:
    """Bring an earlier build back, without building it again.

    It stays until the next push, or until another build is brought back.
    """
    _deploy(context, lambda daemon: daemon.rollback(project, ref, to), follow, as_json)


def restart(
    context: typer.Context,
    project: Project,
    ref: Ref,
    follow: Follow = True,
    as_json: AsJson = False,
) -> None:
    """Start new processes, and then stop the old ones."""
    _deploy(context, lambda daemon: daemon.restart(project, ref), follow, as_json)


def redeploy(
    context: typer.Context,
    project: Project,
    ref: Ref,
    follow: Follow = True,
    as_json: AsJson = False,
) -> None:
    """Deploy what is live once more, without building it.

    Resources are provisioned again, and services whose environment changed are replaced.
    """
    _deploy(context, lambda daemon: daemon.redeploy(project, ref), follow, as_json)


def stop(context: typer.Context, project: Project, ref: Ref, as_json: AsJson = False) -> None:
    """Stop the services of a ref until `kennel start`. Data, sites and URLs stay."""
    _order(context, lambda daemon: daemon.stop(project, ref), as_json)


def start(context: typer.Context, project: Project, ref: Ref, as_json: AsJson = False) -> None:
    """Start what was stopped, or sleeps."""
    _order(context, lambda daemon: daemon.start(project, ref), as_json)


def pin(context: typer.Context, project: Project, ref: Ref, as_json: AsJson = False) -> None:
    """Let a preview neither sleep nor expire."""
    _order(context, lambda daemon: daemon.pin(project, ref), as_json)


def unpin(context: typer.Context, project: Project, ref: Ref, as_json: AsJson = False) -> None:
    """Let a preview sleep and expire again, counted from now."""
    _order(context, lambda daemon: daemon.pin(project, ref, pinned=False), as_json)


def approve(
    context: typer.Context,
    project: Project,
    ref: Ref,
    *,
    commit: Annotated[
        str | None,
        typer.Option("--commit", metavar="SHA", help="Only if this is its head, still."),
    ] = None,
    always: Annotated[
        bool, typer.Option("--always", help="Later commits too, until --withdraw.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Let no new commit be built any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a pull request from a fork be built: its head, and no later commit."""
    if withdraw and (always or commit):
        raise Failure("--withdraw goes with no other option", code=Exit.USAGE)
    order = ApproveOrder(project=project, ref=ref, commit=commit, every=always, withdraw=withdraw)
    _order(context, lambda daemon: daemon.approve(order), as_json)


def purge(
    context: typer.Context, project: Project, ref: Ref, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Remove the data of a branch that is gone: databases, buckets, everything.

    The data of production is kept when its branch goes; this is the only way to remove it.
    """
    if not yes:
        raise Failure(
            f"this removes all data of {project}/{ref}, for ever",
            f"if that is meant: kennel purge {project} {ref} --yes",
            code=Exit.USAGE,
        )
    _order(context, lambda daemon: daemon.purge(project, ref), as_json)


def removals(
    context: typer.Context,
    allow: Annotated[bool, typer.Option("--allow", help="Let all of it be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be removed and is held back, since it is so much at once."""
    here = session.of(context)
    with here.daemon() as daemon:
        found = daemon.allow_removals() if allow else daemon.removals()
    if as_json:
        here.json(found)
        return
    if not found:
        here.screen.note("Nothing is held back.")
        return
    here.screen.table(COLUMNS, [_row(one) for one in found])
    if allow:
        here.screen.note("All of it is removed now.")
    else:
        here.screen.note("It goes with `kennel removals --allow`. What is pushed again stays.")


def _row(removal: Removal) -> Row:
    why = "nobody needed it for long" if removal.expired else "its ref is gone"
    return Row((removal.project, removal.ref, word(removal.environment), why))


def _order(context: typer.Context, order: Callable[[Daemon], Done], as_json: bool) -> None:
    here = session.of(context)
    with here.daemon() as daemon:
        done = order(daemon)
    if as_json:
        here.json(done)
    else:
        here.screen.note(f"{done.message}.")


def _deploy(
    context: typer.Context, order: Callable[[Daemon], Build], follow: bool, as_json: bool
) -> None:
    here = session.of(context)
    begun = time.time()
    with here.daemon() as daemon:
        build = order(daemon)
        if follow:
            build = arrive(daemon, here.screen, build)
    if as_json:
        here.json(build)
    elif not follow:
        here.screen.line(f"build {build.id} of {build.project}/{build.ref} is {build.state}")
    if follow:
        conclude(here.screen, build, quiet=as_json, begun=begun)
