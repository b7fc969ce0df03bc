"""How git gets at a private repository without the secret being seen anywhere."""

import os
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from kennel.domain import Secret
from kennel.domain.record import Project
from kennel.plugin import in_thread
from kennel.plugin.settings import read_secret

VARIABLE = "KENNEL_GIT_TOKEN"
"""Set for git alone. Git's helper reads it; nothing else does."""

HELPER = (
    f'!f() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n"'
    f' "$KENNEL_GIT_USER" "${VARIABLE}"; }}; f'
)
"""A credential helper: printf is the shell's own, so that the token is in no argument either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How one repository is reached.

    `config`: for git. `env`: for the git process alone. `secrets`: what no log may show.
    """

    url: str
    config: tuple[tuple[str, str], ...] = ()
    env: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_local(self) -> bool:
        return is_local(self.url)


def is_local(url: str) -> bool:
    """Return whether a clone URL is a path on this machine."""
    return url.startswith(("/", "./", "../", "file://"))


@asynccontextmanager
async def access(project: Project, folder: Path, known_hosts: Path) -> AsyncIterator[Access]:
    """Give access to a project's repository while the block runs.

    `folder`: where a private key is for that long; on a tmpfs. Raises ConfigError naming the
    project if a secret cannot be read.
    """
    url, user, password = _without_password(project.clone_url)
    if project.ssh_key:
        where = f"the ssh_key of project {project.name}"
        key = await in_thread(read_secret, project.ssh_key, where=where)
        try:
            yield await in_thread(_with_key, url, key, folder, known_hosts)
        finally:
            await in_thread(shutil.rmtree, folder, ignore_errors=True)
    elif project.token:
        where = f"the token of project {project.name}"
        token = await in_thread(read_secret, project.token, where=where)
        yield _with_token(url, user or "kennel", token.value)
    elif password:
        yield _with_token(url, user, password)
    else:
        yield Access(url=url)


def _without_password(url: str) -> tuple[str, str, str]:
    """Return a URL without its password, the user's name and the password."""
    parts = urlsplit(url) if "://" in url else SplitResult("", "", url, "", "")
    if parts.scheme not in {"http", "https"} or not parts.username:
        return url, "", ""
    clean = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return clean, unquote(parts.username), unquote(parts.password or "")


def _with_token(url: str, user: str, token: str) -> Access:
    """Answer git's question for a password, but only when the repository's own host asks it."""
    parts = urlsplit(url)
    place = f"credential.{parts.scheme}://{parts.netloc}.helper"
    return Access(
        url=url,
        config=((place, ""), (place, HELPER)),
        env={VARIABLE: token, "KENNEL_GIT_USER": user},
        secrets=(token,),
    )


def _with_key(url: str, key: Secret, folder: Path, known_hosts: Path) -> Access:
    """Offer the key to the repository's own host only. New hosts are learnt, known ones checked."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "key"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(key.value + "\n")
    (folder / "config").write_text(
        f"Host {_ssh_host(url)}\n"
        f'  IdentityFile "{file}"\n'
        "Host *\n"
        "  IdentityFile none\n"
        "  IdentitiesOnly yes\n"
        "  IdentityAgent none\n"
        "  BatchMode yes\n"
        "  ConnectTimeout 20\n"
        "  ServerAliveInterval 15\n"
        "  ServerAliveCountMax 4\n"
        "  StrictHostKeyChecking accept-new\n"
        f'  UserKnownHostsFile "{known_hosts}"\n'
        "  ForwardAgent no\n"
    )
    return Access(url=url, env={"GIT_SSH_COMMAND": f"ssh -F {shlex.quote(str(folder / 'config'))}"})


def _ssh_host(url: str) -> str:
    """Return the host of `ssh://user@host:port/path` or `user@host:path`."""
    if "://" in url:
        return urlsplit(url).hostname or "*"
    return url.partition(":")[0].rpartition("@")[2]
