"""What supervisors say of units that run at certain times."""

import re

from kennel.domain import Unit
from kennel.errors import Rejected

VERB = re.compile(r"(?:it|exited|killed|failed|did|was) ")
"""How reasons begin that tell what a run did."""


def unreadable(unit: Unit) -> Rejected:
    """Return what to raise for a schedule that is none."""
    return Rejected(
        f"{unit.key}: the schedule {unit.schedule!r} cannot be read. It is written as systemd's"
        ' OnCalendar, for example "hourly", "Mon..Fri *-*-* 08:30" or "*-*-* 04:00 Europe/Berlin":'
        " see systemd.time(7), and try it with `systemd-analyze calendar`"
    )


def last_run(reason: str) -> str:
    """Say of a unit between its runs how the last one ended; "" if it ended well.

    `reason`: how, such as "exited with status 3" or "it took longer than 60 s".
    """
    if not reason:
        return ""
    if verb := VERB.match(reason):
        was = "was " if verb[0] == "killed " else ""
        return f"its last run {was}{reason.removeprefix('it ')}"
    return f"its last run failed: {reason}"
