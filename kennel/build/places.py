"""Where builds keep what they keep."""

from dataclasses import dataclass
from pathlib import Path

from kennel.settings import Settings

PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of all builds. `state`: kept over reboots. `run`: on a tmpfs.

    `dir`: for what is large and can be had again: mirrors, checkouts, homes. None: in `state`.
    """

    state: Path
    run: Path
    dir: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Places":
        return cls(settings.state_dir.absolute(), settings.run_dir.absolute(), settings.build.dir)

    @property
    def large(self) -> Path:
        return self.dir or self.state

    @property
    def hidden(self) -> tuple[Path, ...]:
        """Return all that is Kennel's alone."""
        return (self.state, self.run, *([] if self.dir is None else [self.dir]))

    @property
    def mirrors(self) -> Path:
        return self.large / "mirrors"

    @property
    def roots(self) -> Path:
        return self.state / "roots"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def checkouts(self) -> Path:
        return self.large / "checkouts"

    @property
    def homes(self) -> Path:
        return self.large / "homes"

    @property
    def sessions(self) -> Path:
        return self.run / "builds"

    @property
    def sweeps(self) -> Path:
        """Return where the sessions are that ask repositories for their refs."""
        return self.run / "sweeps"

    @property
    def keys(self) -> Path:
        """Return where private keys are for as long as a fetch takes."""
        return self.run / "keys"

    def mirror(self, project: str) -> Path:
        return self.mirrors / project

    def log(self, build_id: int) -> Path:
        return self.logs / f"{build_id}.log"

    def home(self, project: str, *, trusted: bool) -> Path:
        """Return the HOME of a project's builds: it keeps their evaluation caches warm.

        Commits that nobody trusts have one of their own, so that they prepare nothing for others.
        """
        return self.homes / (project if trusted else f"{project}.untrusted")

    def prepare(self) -> None:
        """Make every folder; none of them is readable by others."""
        for folder in (
            *(*self.hidden, self.mirrors, self.roots, self.logs),
            *(self.checkouts, self.homes, self.sessions, self.sweeps, self.keys),
        ):
            folder.mkdir(parents=True, exist_ok=True)
        trust_owners(self.homes)
        for folder in (self.mirrors, self.roots, self.logs, self.checkouts, self.homes, self.keys):
            folder.chmod(PRIVATE)


def trust_owners(home: Path) -> None:
    """Let git and Nix read repositories of other users: mirrors are Kennel's, builds are not."""
    file = home / ".gitconfig"
    if not file.exists():
        file.write_text("[safe]\n\tdirectory = *\n")
        file.chmod(0o644)


def shared(folder: Path) -> Path:
    """Make a folder that builds write to. They may run as another user; its parent is private."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    return folder
