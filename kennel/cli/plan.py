"""`kennel plan`: what the next pass would do."""

import typer

from kennel.cli import session
from kennel.cli.screen import Column, Row
from kennel.cli.session import AsJson

COLUMNS = (Column("REF"), Column("STEP"), Column("WHY"))


def plan(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what Kennel would do now, and why. Changes nothing."""
    here = session.of(context)
    with here.daemon() as daemon:
        steps = daemon.plan()
    if as_json:
        here.json(steps)
    elif not steps:
        here.screen.note("Nothing is to be done: everything is as it should be.")
    else:
        here.screen.table(COLUMNS, [Row((s.tenant, s.step, s.why)) for s in steps])
