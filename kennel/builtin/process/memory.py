"""Whether a program died for want of memory. There is no cgroup here that would tell."""

import re
import signal
from pathlib import Path

VMSTAT = Path("/proc/vmstat")

WORDS = re.compile(
    rb"\bMemoryError\b|\bbad_alloc\b|\bENOMEM\b|out of memory|cannot allocate memory", re.IGNORECASE
)
"""What run-times say when they are refused more."""


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory, on the whole machine."""
    try:
        found = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def explained(why: str, status: int, *, said: bytes, memory_max: int | None, killed: bool) -> str:
    """Return why a program ended, with its want of memory where that is to be seen.

    `said`: the end of what it wrote. `killed`: whether the kernel killed for want of memory while
    it ran.
    """
    if status == -signal.SIGKILL and killed:
        return f"{why} (the machine ran out of memory)"
    if memory_max is not None and WORDS.search(said):
        return f"it used more memory than it may ({why})"
    return why
