"""Pushes with the `cachix` program, which knows what a cache has already."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from itertools import count
from typing import Self

from kennel.builtin.cachix.config import CachixConfig
from kennel.domain import Secret
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Cache, in_thread
from kennel.plugin.session import Sessions
from kennel.plugin.settings import Host, read_secret

LONGEST = 4000
"""Bytes of its output that an error may quote the end of."""

REFUSED = re.compile(
    "unauthorized|forbidden|not found|does not exist|status ?code(?: =)? (?:401|403|404)"
    "|authentication|auth token|signing key|invalid",
    re.IGNORECASE,
)


class CachixCache(Cache):
    """Runs `cachix push CACHE`, with the paths on its stdin and the token in its environment."""

    name = "cachix"

    def __init__(self, config: CachixConfig, host: Host) -> None:
        self._config = config
        self._sessions = Sessions(host.run_dir / "cachix")
        self._home = host.state_dir / "cachix"
        self._secrets = dict[str, Secret]()
        self._numbers = count(1)

    async def __aenter__(self) -> Self:
        """Read the secrets once. Raises ConfigError naming the one that cannot be read."""
        await in_thread(self._prepare)
        return self

    def _prepare(self) -> None:
        self._sessions.sweep()
        self._home.mkdir(parents=True, exist_ok=True)
        named = {
            "CACHIX_AUTH_TOKEN": (self._config.token, "token"),
            "CACHIX_SIGNING_KEY": (self._config.signing_key, "signing_key"),
        }
        self._secrets = {
            variable: read_secret(reference, where=f"[plugins.cachix] {key}")
            for variable, (reference, key) in named.items()
            if reference is not None
        }

    async def check(self) -> None:
        """Say whether cachix is installed; only a push tells whether the token is any good."""
        if await in_thread(shutil.which, self._config.program) is None:
            raise Rejected(
                f"[plugins.cachix] program: there is no {self._config.program!r} on this machine:"
                " install cachix, or give its path"
            )

    async def push(self, paths: Sequence[str]) -> None:
        """Upload store paths with their closures."""
        if not paths:
            return
        await self.check()
        name = f"push-{next(self._numbers)}"
        command = [self._config.program, "push", "--jobs", str(self._config.jobs)]
        try:
            process = await self._sessions.start(
                name,
                [*command, self._config.cache],
                env=self._environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            raise Rejected(f"cannot run {self._config.program}: {error.strerror}") from error
        said = await self._hear(name, process, "".join(f"{path}\n" for path in paths))
        if process.returncode:
            raise self._explained(said)

    async def _hear(self, name: str, process: asyncio.subprocess.Process, feed: str) -> str:
        """Feed the process and return the end of what it says. It is ended if it takes too long."""
        try:
            async with asyncio.timeout(self._config.timeout):
                said = await _talk(process, feed.encode())
                await process.wait()
        except TimeoutError:
            await self._sessions.end(name, process)
            limit = self._config.timeout
            raise Unavailable(
                f"pushing to {self._config.cache} took longer than {limit:g} s"
                " ([plugins.cachix] timeout)"
            ) from None
        except BaseException:
            await self._sessions.end(name, process)
            raise
        await in_thread(self._sessions.forget, name)
        return said.decode(errors="replace")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            **self._config.environment,
            **{name: secret.value for name, secret in self._secrets.items()},
        }

    def _explained(self, said: str) -> ProviderError:
        for secret in self._secrets.values():
            said = said.replace(secret.value, "[hidden]")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        text = f"cachix push {self._config.cache}: {' / '.join(lines[-3:]) or 'failed'}"
        return Rejected(text) if REFUSED.search(said) else Unavailable(text)


async def _talk(process: asyncio.subprocess.Process, feed: bytes) -> bytes:
    """Feed a process its input and return the end of its output."""
    if process.stdin is not None:
        with contextlib.suppress(ConnectionError):
            process.stdin.write(feed)
            await process.stdin.drain()
        process.stdin.close()
    said = b""
    while process.stdout is not None and (chunk := await process.stdout.read(4096)):
        said = (said + chunk)[-LONGEST:]
    return said
