"""`kennel resources`: what there is on servers, whose it is, and how large."""

from typing import Annotated

import typer

from kennel.cli import session
from kennel.cli.outcome import Failure
from kennel.cli.screen import Column, Row, Screen, harmless
from kennel.cli.session import AsJson
from kennel.cli.words import amount
from kennel.views import Resource, Resources

COLUMNS = (
    Column("PROJECT"),
    Column("REF"),
    Column("RESOURCE"),
    Column("NAME", spare=1),
    Column("SIZE"),
    Column("DETAIL", spare=2),
)
ORPHAN = "nobody's: Kennel knows of no such ref"


def resources(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="Only this project.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what there is of databases, buckets and the like, whose it is, and how large."""
    here = session.of(context)
    with here.daemon() as daemon:
        found = daemon.resources(project)
    if as_json:
        here.json(found)
    else:
        show(here.screen, found)
    _conclude(here.screen, found)


def show(screen: Screen, found: Resources) -> None:
    """Write what there is."""
    if found.resources:
        screen.table(COLUMNS, [_row(one) for one in found.resources])
    elif not found.unreachable:
        screen.note("No ref has any resource.")


def _row(one: Resource) -> Row:
    size = "-" if one.size is None else amount(one.size)
    detail = "; ".join(filter(None, (one.detail, ORPHAN if one.orphan else "")))
    return Row((one.project, one.ref, one.resource, one.name, size, detail))


def _conclude(screen: Screen, found: Resources) -> None:
    """Tell of those who did not answer. Raises Failure if there are any."""
    for name, why in found.unreachable.items():
        screen.note(harmless(f"warning: {name}: {why}"), "red")
    if found.unreachable:
        raise Failure(f"this is not all there is: {', '.join(found.unreachable)} cannot be asked")
