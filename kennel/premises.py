"""What a daemon stands on: its folders, held by one alone, and the machine they are on."""

import contextlib
import fcntl
from collections.abc import Iterator
from functools import partial

import structlog

from kennel.errors import ConfigError
from kennel.prerequisites import missing_programs
from kennel.settings import Settings
from kennel.store import Store, releases

log = structlog.get_logger(__name__)


def warn_of_missing_programs() -> None:
    """What is live can go on without them: no reason not to start."""
    if missing := missing_programs():
        log.warning(
            "not on Kennel's PATH: every build will fail. Install git and Nix, and start Kennel"
            " with a PATH that has them",
            missing=missing,
        )


def make_folders(settings: Settings) -> None:
    for folder, setting in ((settings.state_dir, "state_dir"), (settings.run_dir, "run_dir")):
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(0o755)  # whatever the umask: a Caddy of another user reads in run_dir
        except OSError as error:
            raise ConfigError(
                f"{setting}: cannot make {folder}: {error.strerror}. Choose another folder in"
                " kennel.toml, or run as a user who may write there"
            ) from error


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the state folder for ourselves: two daemons on it would fight over every tenant."""
    try:
        held = (settings.state_dir / "daemon.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"state_dir: cannot write to {settings.state_dir}: {error.strerror}. Run as the user"
            " that it belongs to, or choose another folder in kennel.toml"
        ) from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"another Kennel runs on {settings.state_dir}: stop it, or choose another state_dir"
            ) from error
        yield


async def recognise(store: Store, settings: Settings) -> None:
    """Know this machine again if it is called something else by now.

    What runs on it would not be known otherwise, and nothing be sent to it.
    """
    known = await store.read(releases.machines)
    if not known or settings.host in known:
        return
    if not store.is_local or len(known) > 1:
        raise ConfigError(
            f"host: the database knows what runs on {', '.join(sorted(known))}, and this machine is"
            f' {settings.host}: set host = "{min(known)}" in kennel.toml if it is the same one'
        )
    [old] = known
    log.warning("this machine was called something else", before=old, now=settings.host)
    await store.write(partial(releases.rename_machine, old=old, new=settings.host))
