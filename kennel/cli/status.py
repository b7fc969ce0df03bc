"""`kennel status`: what is where, and how it is."""

import time
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from kennel.cli import session
from kennel.cli.screen import Column, Row, Screen, harmless, link, word
from kennel.cli.session import AsJson
from kennel.cli.words import age, short
from kennel.views import Deployment, Health

COLUMNS = (
    Column("URL", whole=True),
    Column("REF"),
    Column("NAME", spare=1),
    Column("ENVIRONMENT", spare=3),
    Column("STATE"),
    Column("COMMIT", spare=4),
    Column("SINCE", spare=2),
)
REASON_LINES = 4
"""So many lines of why something failed: the rest is in `kennel builds show`."""
RANKS = ("prod", "staging", "dev", "preview")


def status(
    context: typer.Context,
    project: Annotated[str | None, typer.Argument(help="Only this project.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is deployed: URL, state, and why."""
    here = session.of(context)
    with here.daemon() as daemon:
        found = daemon.status(project)
        troubles = [] if as_json else _troubles(daemon.health(), project)
    for trouble in troubles:
        here.screen.note(harmless(f"warning: {trouble}"), "red")
    if as_json:
        here.json(found)
    elif not found:
        what = f"Nothing of {project} is deployed" if project else "Nothing is deployed"
        here.screen.note(f"{what}: push a branch, or use `kennel deploy PROJECT REF`.")
    else:
        show(here.screen, found, now=time.time())


def _troubles(health: Health, project: str | None) -> list[str]:
    """Return what is wrong with providers, and with the repositories that are asked about."""
    providers = [f"{one.kind} {one.name}: {one.problem}" for one in health.providers if one.problem]
    unswept = [f"{name}: {why}" for name, why in health.unswept.items() if project in {None, name}]
    return providers + unswept


def show(screen: Screen, found: Sequence[Deployment], *, now: float) -> None:
    """Write the deployments, a table for each project."""
    by_project = groupby(sorted(found, key=_order), key=lambda deployment: deployment.project)
    for number, (project, deployments) in enumerate(by_project):
        if number:
            screen.line()
        screen.line(project, "bold")
        screen.table(COLUMNS, [_row(d, now) for d in deployments], indent="  ")


def _order(d: Deployment) -> tuple[str, int, str, bool, str]:
    """Put production first, and services before sites."""
    rank = RANKS.index(d.environment) if d.environment in RANKS else len(RANKS)
    return d.project, rank, d.ref, d.kind == "site", d.name


def _row(d: Deployment, now: float) -> Row:
    more = [url for url in d.urls if url != d.url]
    pinned = ["pinned: it neither sleeps nor expires"] if d.pinned else []
    remark = "\n".join([*_why(d), *pinned, *(f"also at {url}" for url in more)])
    return Row(
        (
            link(d.url),
            d.ref,
            d.name or "-",
            word(d.environment),
            _state(d),
            short(d.commit),
            age(d.since, now),
        ),
        remark,
    )


def _why(d: Deployment) -> list[str]:
    lines = harmless(d.why).splitlines()
    if len(lines) <= REASON_LINES:
        return lines
    more = f"… (`kennel builds show {d.build}`)" if d.build and not d.next_state else "…"
    return [*lines[: REASON_LINES - 1], more]


def _state(d: Deployment) -> Text:
    """Return the state, and that of a newer build on its way: `live, next: building`."""
    if not d.next_state:
        return word(d.state)
    return word(d.state).append(", next: ").append_text(word(d.next_state))
