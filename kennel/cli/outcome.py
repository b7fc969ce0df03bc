"""How a command ends."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit statuses of `kennel`, for scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    NOT_DEPLOYED = 5
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "failed",
    Exit.USAGE: "wrong usage, or a configuration that cannot be used",
    Exit.UNREACHABLE: "the daemon cannot be reached",
    Exit.NOT_FOUND: "no such project, ref, build or command",
    Exit.NOT_DEPLOYED: "a build or deployment failed or was cancelled",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}


class Failure(Exception):
    """A command cannot go on. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "", *, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
