"""`kennel deliveries`: which webhooks came in, and what became of them."""

import time
from typing import Annotated

import typer

from kennel.cli import session
from kennel.cli.screen import Column, Row
from kennel.cli.session import AsJson
from kennel.cli.words import MOST, age
from kennel.views import Delivery

COLUMNS = (
    Column("ID"),
    Column("RECEIVED"),
    Column("FORGE", spare=2),
    Column("EVENT"),
    Column("REPOSITORY"),
    Column("DELIVERY", spare=3),
    Column("OUTCOME", spare=1),
)


def deliveries(
    context: typer.Context,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=MOST, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the webhooks that came in, newest first."""
    here = session.of(context)
    with here.daemon() as daemon:
        found = daemon.deliveries(limit)
    if as_json:
        here.json(found)
    elif not found:
        here.screen.note("No webhook has come in yet.")
    else:
        here.screen.table(COLUMNS, [_row(delivery, time.time()) for delivery in found])


def _row(delivery: Delivery, now: float) -> Row:
    return Row(
        (
            str(delivery.id),
            age(delivery.received_at, now),
            delivery.forge,
            delivery.event,
            delivery.project,
            delivery.delivery_id,
            delivery.outcome or ("handled" if delivery.handled_at else "not handled yet"),
        )
    )
