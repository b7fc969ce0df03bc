"""Numbers as people say them."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNITS = (("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE))
MOST = 10_000
"""Rows or lines that the daemon hands out at once."""

_EXACT = 10
"""Seconds, or KiB and so on, below which tenths are told."""
_STEP = 1024


def age(then: float, now: float) -> str:
    """Return how long ago a time was: `just now`, `12 seconds ago`, `3 hours ago`."""
    seconds = max(0, int(now - then))
    if seconds <= 1:
        return "just now"
    return f"{approximately(seconds)} ago"


def approximately(seconds: float) -> str:
    """Return a duration in its largest unit: `12 seconds`, `3 hours`, `30 days`."""
    seconds = int(seconds)
    for unit, size in _UNITS:
        if seconds >= size:
            return _counted(seconds // size, unit)
    return _counted(seconds, "second")


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def duration(seconds: float) -> str:
    """Return a duration: `0.4 s`, `12 s`, `3 min 5 s`, `1 h 2 min`."""
    if seconds < _EXACT:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def amount(size: int) -> str:
    """Return an amount of bytes: `0 B`, `512 B`, `1.5 KiB`, `12 MiB`, `3.2 GiB`."""
    if size < _STEP:
        return f"{size} B"
    for unit in ("KiB", "MiB", "GiB"):
        if (scaled := size / _STEP) < _STEP - 0.5:
            return f"{scaled:.1f} {unit}" if scaled < _EXACT else f"{scaled:.0f} {unit}"
        size //= _STEP
    return f"{size / _STEP:.1f} TiB"


def short(commit: str) -> str:
    """Return a commit as git shortens it, `-` while it is not known yet."""
    return commit[:7] if commit.strip("0") else "-"
