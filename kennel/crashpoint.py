"""Named places at which a test may kill the daemon, to see what the next start makes of it.

    KENNEL_CRASH_AT=requests-switched kennel serve

ends the process with SIGKILL the first time that place is reached; `unit-started:2` the second
time. Without the variable a place costs one comparison and does nothing.
"""

import os
import signal
from typing import Final, Literal, TypeAlias, get_args

Place: TypeAlias = Literal[
    "delivery-stored",
    "delivery-applied",
    "build-claimed",
    "commit-fetched",
    "manifest-read",
    "packages-built",
    "build-recorded",
    "resources-noted",
    "resources-ensured",
    "resources-doubted",
    "resources-provided",
    "renewal-recorded",
    "generations-recorded",
    "seed-ended",
    "seeded",
    "release-ended",
    "released",
    "unit-started",
    "units-ready",
    "requests-switched",
    "routes-published",
    "live-recorded",
    "requests-to-waker",
    "rest-recorded",
    "unit-stopped",
    "generations-dropped",
    "route-closed",
    "resource-removed",
    "resources-removed",
    "tenant-forgotten",
    "name-noted",
    "name-removed",
]

PLACES: Final[tuple[Place, ...]] = get_args(Place)
_CHOSEN, _, _TIMES = os.environ.get("KENNEL_CRASH_AT", "").partition(":")
_left = iter(range(int(_TIMES or 1) - 1))


def reached(place: Place) -> None:
    """Die here, if this is the place that was chosen."""
    if place == _CHOSEN and next(_left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
