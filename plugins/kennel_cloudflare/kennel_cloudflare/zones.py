"""In which zone a host lies. Pure."""

from collections.abc import Iterable


def zone_of(host: str, zones: Iterable[str]) -> str | None:
    """Return the longest zone that a host lies in, None if it lies in none.

    A zone ends where a label does: `notexample.org` is not in `example.org`.
    """
    around = [zone for zone in zones if host == zone or host.endswith(f".{zone}")]
    return max(around, key=len, default=None)
