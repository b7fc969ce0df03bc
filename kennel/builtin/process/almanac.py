"""When a schedule is due next, as `systemd-analyze` tells. It needs no running systemd."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime

from kennel.domain import Unit
from kennel.errors import Rejected, Unavailable
from kennel.plugin import in_thread
from kennel.plugin.schedule import unreadable

PROGRAM = "systemd-analyze"
TIMEOUT = 30.0
"""Seconds that an answer may take; it takes some milliseconds."""

TIME = re.compile(r"(?:Next elapse|\(in UTC\)): \w+ ([0-9-]{10} [0-9:]{8}) UTC$", re.MULTILINE)
NEVER = re.compile(r"Next elapse: never$", re.MULTILINE)


async def next_time(unit: Unit, *, after: float) -> float | None:
    """Return the unit's first time after `after`, in seconds since the epoch; None: never again.

    Raises Rejected for a schedule that is none, and where nobody can tell; Unavailable where the
    answer does not come.
    """
    if "\0" in (unit.schedule or ""):
        raise unreadable(unit)
    program = await in_thread(shutil.which, PROGRAM)
    if program is None:
        raise Rejected(
            f"{unit.key} has a schedule, and only {PROGRAM} can read it: install systemd's"
            " programs (it need not run), or leave the schedule out"
        )
    words = [program, "calendar", f"--base-time=@{after:.3f}", "--", unit.schedule or ""]
    status, output, errors = await _run(words)
    if status and "Failed to parse calendar" in errors:
        raise unreadable(unit)
    if found := TIME.search(output):
        return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    if NEVER.search(output):
        return None
    said = (errors or output).strip()
    raise Rejected(f"{unit.key}: {PROGRAM} does not tell when {unit.schedule!r} is due: {said}")


async def _run(words: Sequence[str]) -> tuple[int | None, str, str]:
    """Run a program. Its time zone is the machine's, or Kennel's own."""
    env = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**env, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise Unavailable(f"{PROGRAM} did not answer within {TIMEOUT:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")
