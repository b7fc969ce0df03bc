"""What a unit wrote, from the journal."""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

TIMEOUT = 15.0
"""Seconds that reading may take: journals of months are slow to search."""

FORBIDDEN = (
    "Kennel's user may not read the journal: add it to the group systemd-journal"
    " (SupplementaryGroups=systemd-journal in kennel.service)"
)


async def read(unit: str, lines: int, *, folder: Path | None = None) -> Sequence[str]:
    """Return the last lines of a unit (by its name without `.service`), oldest first.

    Where the journal cannot be read the only line says why and what to do. `folder`: of other
    journal files than the machine's.
    """
    try:
        output, errors = await _run(_command(unit, lines, folder))
    except FileNotFoundError:
        return ["journalctl is not in Kennel's PATH: the journal cannot be read"]
    except TimeoutError:
        return [f"journalctl did not answer within {TIMEOUT:.0f} s"]
    found = [line for entry in output.splitlines() for line in _lines(entry)]
    return found[-lines:] if found else list(_complaint(errors))


def _command(unit: str, lines: int, folder: Path | None) -> list[str]:
    where = [f"--directory={folder}"] if folder else []
    return [
        *("journalctl", "--no-pager", "--output=json", "--output-fields=MESSAGE", "--all"),
        *(f"--lines={lines}", f"--unit={unit}.service", *where),
    ]


async def _run(command: Sequence[str]) -> tuple[bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output, errors = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return output, errors.decode(errors="replace")


def _lines(entry: bytes) -> Iterable[str]:
    """Return the lines of one entry of `journalctl --output=json`."""
    try:
        message = json.loads(entry).get("MESSAGE")
    except (ValueError, AttributeError):
        return ()
    text = _text(message)
    return text.split("\n") if text else ()


def _text(message: object) -> str:
    """Return a field's value: text, null when it was too long, else a list.

    A list is the bytes of what is not UTF-8, or the values of a field that was given repeatedly.
    """
    if isinstance(message, str):
        return message
    if not isinstance(message, list):
        return ""
    if all(isinstance(part, int) for part in message):
        return bytes(message).decode(errors="replace")
    return "\n".join(_text(part) for part in message)


def _complaint(errors: str) -> Iterable[str]:
    hints = ("not seeing messages", "insufficient permissions", "Permission denied")
    return (FORBIDDEN,) if any(hint in errors for hint in hints) else ()
