"""What `kennel projects add` reads from the address of a repository."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kennel.cli.outcome import Exit, Failure

_SCP = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]+):(?!//|:)(?P<path>[^\\]+)")
"""`git@example.org:acme/shop.git`: what scp takes, and git with it."""
SCHEMES = ("https", "http", "ssh", "git", "file")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository is cloned from. `host` is "" for one on this machine."""

    url: str
    host: str
    full_name: str

    @property
    def forge(self) -> str:
        """Return the forge that is meant where nobody says."""
        return "github" if self.host == "github.com" else "forgejo"


def parse(text: str) -> Address:
    """Read an https, ssh, scp-like or file address, or the path of a repository that is there.

    Raises Failure for anything else, and for an address with a password in it.
    """
    parts = urlsplit(text)
    if "://" in text and parts.scheme in SCHEMES:
        _refuse_password(parts.password, text)
        return Address(text, parts.hostname or "", _full_name(parts.path, text))
    if (scp := _SCP.fullmatch(text)) and not Path(text).exists():
        return Address(text, scp["host"], _full_name(scp["path"], text))
    path = Path(text).expanduser()
    if "://" in text or not path.is_dir():
        raise Failure(
            f"{text!r} is neither the address of a repository nor the path of one",
            "write https://HOST/OWNER/NAME, git@HOST:OWNER/NAME.git or a path that is there",
            code=Exit.USAGE,
        )
    return Address(str(path.resolve()), "", _full_name(str(path.resolve()), text))


def _refuse_password(password: str | None, text: str) -> None:
    """Keep it out of the store, where it would be shown to everybody who asks."""
    if password is not None:
        shown = text.replace(password, "***") if password else text
        raise Failure(
            f"{shown!r} has a password in it, which would be stored and shown",
            "leave it out, and give --token env:NAME, file:/path or credential:name",
            code=Exit.USAGE,
        )


def _full_name(path: str, text: str) -> str:
    """Return OWNER/NAME: the last two parts, without `.git`."""
    parts = [part for part in path.split("/") if part]
    if not parts or parts == [".git"]:
        raise Failure(
            f"{text!r} names no repository", "it should end in OWNER/NAME", code=Exit.USAGE
        )
    if parts[-1] == ".git":  # a work tree, given by the folder that git keeps in it
        parts.pop()
    owner = parts[-2] if len(parts) > 1 else "local"
    return f"{owner}/{parts[-1].removesuffix('.git')}"
