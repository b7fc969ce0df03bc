"""How a command is told to systemd, so that its arguments mean what they are.

systemd reads variables in them, unless it is told not to with ExecStartEx. At every
`daemon-reload`, which any upgrade of a package does, it reads them again from a file that it has
written itself; before 253 it writes ExecStartEx under that name, which it cannot read, and a
backslash too many before every $ and every semicolon.
"""

import re
from collections.abc import Sequence

from dbus_fast import Variant

SPOILT = re.compile(r"[$;]")
"""What does not come back from systemd's own file."""

PLAIN = re.compile(rb"[A-Za-z0-9/_., =+-]")


def commanded(command: Sequence[str]) -> dict[str, Variant | tuple[Variant, ...]]:
    """Return the properties that make a unit run a command, literally.

    Where it holds what is spoilt, an old systemd finds in its file what says the same in other
    words, and a newer one finds what it was told last.
    """
    path, words = command[0], list(command)
    if not any(SPOILT.search(word) for word in words):
        return {"ExecStart": Variant("a(sasb)", [[path, words, False]])}
    told = Variant("a(sasas)", [[path, words, ["no-env-expand"]]])
    forget = Variant("a(sasas)", [])
    return {
        "ExecStart": Variant("a(sasb)", [["/bin/sh", in_other_words(words), False]]),
        "ExecStartEx": (forget, told),
    }


def in_other_words(words: Sequence[str]) -> list[str]:
    """Return a command of the shell that becomes this one, and holds no $ and no semicolon."""
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    text = "".join(
        chr(byte) if PLAIN.fullmatch(bytes([byte])) else f"\\{byte:03o}"
        for byte in f"exec {quoted}".encode()
    )
    return ["/bin/sh", "-c", f"eval \"`printf '{text}'`\""]
