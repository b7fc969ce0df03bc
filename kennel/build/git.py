"""Fetches commits into mirrors that are kept, one for each project."""

import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from kennel.build.credentials import Access, access
from kennel.build.job import Job
from kennel.build.mirrors import REFS, Mirrors, unlock
from kennel.build.places import Places
from kennel.build.programs import Programs
from kennel.domain import Ref, names
from kennel.errors import BuildError, Unavailable
from kennel.plugin import in_thread

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
INTERESTING = ("flake.nix", "devenv.nix", ".gitmodules", "secretspec.toml")
"""Files at the top of a commit that decide how it is built, or deployed."""
MOST_SECRETSPEC = 256 * 1024
MOST_ANSWER = 1024 * 1024
READABLE = 0o755
"""Of what builds read as another user. Who may get there at all, the folders above decide."""

NETWORK = "https:http:ssh:git"
"""The protocols git may speak. `file` comes to it where the repository is registered as a path."""

UNTRUSTED = "a submodule of {} (which gets no credentials, for nobody trusts this commit)"

COMMON = {
    "core.hooksPath": "/dev/null",
    "core.sharedRepository": "0644",  # builds read mirrors as another user; nobody else gets here
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
    "safe.directory": "*",
    "advice.detachedHead": "false",
    "init.defaultBranch": "main",
}


class RefGone(BuildError):
    """The ref is not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The head of a ref, now in the mirror. `files`: which of `INTERESTING` it has."""

    head: str
    name: str
    """What the mirror calls the ref."""
    files: frozenset[str]
    secretspec: str | None


class Git:
    """Runs git, with nothing of Kennel's environment, on mirrors in the state folder."""

    def __init__(self, places: Places, programs: Programs) -> None:
        self._places = places
        self._programs = programs
        self.mirrors = Mirrors(places, programs, environment(places, None, allow_file=False))

    async def fetch(self, job: Job) -> Fetched:
        """Fetch a build's ref. Return what its head is.

        Raises `RefGone`, `Unavailable` (worth another try) or BuildError saying what to do.
        """
        ref = job.build.tenant.ref
        name = mirror_ref(ref)
        mirror = self._places.mirror(job.project.name)
        async with self.mirrors.lock(job.project.name), self._access(job) as way:
            for secret in way.secrets:
                job.log.hide(secret)
            if not await in_thread((mirror / ".git").is_dir):
                await self._init(job, mirror)
            await in_thread(unlock, mirror)
            words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"]
            words += ["--no-recurse-submodules", "--", "kennel", f"+{ref.name}:{name}"]
            await self._git(job, ["-C", str(mirror), *words], way)
        return await self._look(job, mirror, name)

    def _access(self, job: Job) -> AbstractAsyncContextManager[Access]:
        key = self._places.keys / str(job.build.id)
        return access(job.project, key, self._places.state / "known_hosts")

    async def _init(self, job: Job, mirror: Path) -> None:
        """Make a mirror. It is not bare: Nix reads those of bare ones through a copy of its own."""
        new = mirror.with_name(f"{mirror.name}.new")
        await in_thread(shutil.rmtree, new, ignore_errors=True)
        await self._git(job, ["init", "--quiet", "--template=", "--", str(new)])
        await in_thread(new.chmod, READABLE)
        await in_thread(os.replace, new, mirror)

    async def _look(self, job: Job, mirror: Path, name: str) -> Fetched:
        """Ask one git for the head, for what is in it, and for its secretspec.toml."""
        asked = [f"info {name}^{{commit}}", *(f"info {name}:{file}" for file in INTERESTING)]
        command = ["-C", str(mirror), "cat-file", "--batch-command"]
        answer = await self._git(job, command, feed="\n".join(asked) + "\n")
        head, *rest = answer.decode(errors="replace").splitlines()
        found = dict(zip(INTERESTING, (line.split() for line in rest), strict=False))
        files = frozenset(file for file, words in found.items() if words[1:2] == ["blob"])
        return Fetched(
            head=head.split()[0],
            name=name,
            files=files,
            secretspec=await self._secretspec(job, mirror, found["secretspec.toml"]),
        )

    async def _secretspec(self, job: Job, mirror: Path, info: Sequence[str]) -> str | None:
        if info[1:2] != ["blob"]:
            return None
        if int(info[2]) > MOST_SECRETSPEC:
            raise BuildError(f"secretspec.toml has {info[2]} bytes; {MOST_SECRETSPEC} are allowed")
        command = ["-C", str(mirror), "cat-file", "blob", info[0]]
        return (await self._git(job, command)).decode(errors="replace")

    async def check_out(self, job: Job, commit: str, target: Path) -> None:
        """Write a commit's files, those of its submodules too, to a new folder without `.git`.

        Submodules get the project's credentials only on its own host, and only in commits that
        are trusted. Raises as `fetch` does.
        """
        git = ["-C", str(target)]
        async with self._access(job) as way:
            mine = way if job.build.trusted else Access(url=way.url)
            await self._git(job, ["init", "--quiet", "--template=", "--", str(target)])
            objects = self._places.mirror(job.project.name) / ".git/objects"
            alternates = target / ".git/objects/info/alternates"
            await in_thread(alternates.parent.mkdir, parents=True, exist_ok=True)
            await in_thread(alternates.write_text, f"{objects}\n")
            await self._git(job, [*git, "checkout", "--quiet", "--detach", commit])
            if await in_thread((target / ".gitmodules").is_file):
                words = ["submodule", "--quiet", "update", "--init", "--recursive", "--jobs=4"]
                await self._git(job, [*git, *words], mine)
        await in_thread(_hand_over, target)

    async def _git(
        self, job: Job, words: Sequence[str], way: Access | None = None, *, feed: str = ""
    ) -> bytes:
        said: list[str] = []

        async def listen(lines: Sequence[str]) -> None:
            said.extend(lines)
            del said[:-50]
            await job.log.say(*lines)

        # Submodules choose their own URLs: only commits that are trusted may name paths.
        local = way is not None and way.is_local and (job.build.trusted or "fetch" in words)
        done = await self._programs.run(
            job.build.id,
            ["git", *words],
            env=environment(self._places, way, allow_file=local),
            listen=listen,
            feed=feed.encode(),
            most_output=MOST_ANSWER,
        )
        if done.status:
            where = way.url if way is not None else "the mirror"
            if "submodule" in words:
                where = f"a submodule of {where}" if job.build.trusted else UNTRUSTED.format(where)
            ref = job.build.tenant.ref
            asked = ref if "fetch" in words else str(ref)
            raise explained(asked, where, job.log.clean("\n".join(said)))
        return done.output


def environment(places: Places, way: Access | None, *, allow_file: bool) -> dict[str, str]:
    """Return git's whole environment. Settings come in it too: arguments can be seen.

    `way`: to the remotes `kennel` and `origin`. `allow_file`: whether a path may be one.
    """
    config = [*COMMON.items()]
    if way is not None:
        config += [("remote.kennel.url", way.url), ("remote.origin.url", way.url), *way.config]
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(places.homes),
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": f"{NETWORK}:file" if allow_file else NETWORK,
        "GIT_SSH_COMMAND": "ssh -F /dev/null -o IdentityFile=none -o BatchMode=yes",
        **_numbered(config),
        **(way.env if way is not None else {}),
    }


def mirror_ref(ref: Ref) -> str:
    """Return what the mirror calls a ref.

    A hash has one length and no slashes: `a` and `a/b`, which cannot both be files, can both be
    here, and so can a name that is too long for a file.
    """
    return f"{REFS}{names.short_hash([ref.name])}"


def _numbered(config: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    env = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def _hand_over(folder: Path) -> None:
    """Leave the commit's files alone, without any `.git`, readable whatever the umask is."""
    for path in [*folder.rglob(".git")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(READABLE if path.is_dir() or mode & stat.S_IXUSR else 0o644)


MEANINGS = (
    (
        re.compile("host key verification failed|identification has changed", re.IGNORECASE),
        BuildError,
        "shows another host key than before. If that is right, take the old one out of known_hosts",
    ),
    (
        re.compile(
            "authentication failed|could not read (?:username|password)|terminal prompts disabled"
            "|permission denied|returned error: 40[13]|access denied",
            re.IGNORECASE,
        ),
        BuildError,
        "refuses to let us in. Give the project a token, or an ssh_key, that may read it",
    ),
    (
        re.compile(
            "repository .*not found|returned error: 404|does not appear to be a git repository"
            "|not a git repository|does not exist|remote: not found",
            re.IGNORECASE,
        ),
        BuildError,
        "has no such repository, or it is private and the project has no token or ssh_key for it",
    ),
    (
        re.compile("transport '[^']*' not allowed", re.IGNORECASE),
        BuildError,
        f"needs a protocol that git may not speak here; it may speak {NETWORK.replace(':', ', ')}",
    ),
    (
        re.compile(
            "could not resolve|connection (?:refused|reset|timed out|closed)|failed to connect"
            "|couldn't connect|no route to host|network is unreachable|timed out|too slow"
            r"|returned error: (?:429|5\d\d)|early eof|empty reply|hung up unexpectedly"
            "|unexpected disconnect|temporary failure|kex_exchange|(?:tls|ssl) (?:conn|handshake)"
            "|could not read from remote",
            re.IGNORECASE,
        ),
        Unavailable,
        "cannot be reached",
    ),
)
"""What git says, what it is, and what to tell people after the URL. The first that fits counts."""


def explained(what: Ref | str, url: str, said: str) -> Exception:
    """Return the error that git's words stand for, for whoever has to act.

    `what`: the ref that git was asked for, or what else of the repository. Only the first can be
    gone: whoever has a submodule may say what they like.
    """
    if isinstance(what, Ref) and "couldn't find remote ref" in said:
        return RefGone(f"{what} is gone from {url}")
    for pattern, kind, advice in MEANINGS:
        if match := pattern.search(said):
            return kind(f"{url} {advice}: {_line_at(said, match.start())}")
    return BuildError(f"git failed for {what} of {url}: {_line_at(said.rstrip(), len(said))}")


def _line_at(text: str, place: int) -> str:
    return text[text.rfind("\n", 0, place) + 1 :].partition("\n")[0].strip() or "it says nothing"
