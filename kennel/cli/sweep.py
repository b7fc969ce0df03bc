"""`kennel sweep`: make up for webhooks that never came, now."""

from collections.abc import Sequence
from typing import Annotated

import typer

from kennel.cli import session
from kennel.cli.outcome import Failure
from kennel.cli.screen import Column, Row, Screen, harmless, word
from kennel.cli.session import AsJson
from kennel.cli.words import short
from kennel.views import Repair, Swept

COLUMNS = (
    Column("PROJECT"),
    Column("REF"),
    Column("COMMIT", spare=1),
    Column("WHAT"),
    Column("WHY", spare=2),
)
WORDS = {"changed": "changed", "gone": "gone", "held": "held back"}


def sweep(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="Only this project.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let refs go that are missing, however many.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare repositories with what Kennel knows, and make up for lost webhooks."""
    here = session.of(context)
    with here.daemon() as daemon:
        found = daemon.sweep(project, force=force)
    if as_json:
        here.json(found)
    else:
        show(here.screen, found)
    _conclude(here.screen, [one for one in found if one.problem])


def show(screen: Screen, found: Sequence[Swept]) -> None:
    """Write what was repaired, and what is held back."""
    rows = [_row(one.project, repair) for one in found for repair in one.repairs]
    if rows:
        screen.table(COLUMNS, rows)
    elif not any(one.problem for one in found):
        screen.note("No webhook was lost: everything is as its repository has it.")


def _row(project: str, repair: Repair) -> Row:
    what = word(WORDS.get(repair.kind, repair.kind))
    return Row((project, repair.ref, short(repair.commit), what, repair.why))


def _conclude(screen: Screen, troubled: Sequence[Swept]) -> None:
    """Say what was in the way. Raises Failure if anything was."""
    if len(troubled) == 1:
        raise Failure(f"{troubled[0].project}: {troubled[0].problem}")
    for one in troubled:
        screen.note(harmless(f"warning: {one.project}: {one.problem}"), "red")
    if troubled:
        raise Failure(f"{len(troubled)} projects could not be looked at in full")
