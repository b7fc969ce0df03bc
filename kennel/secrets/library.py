"""Runs the official secretspec library, apart from everything it should not see."""

import asyncio
import base64
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kennel.domain import Env, Secret
from kennel.domain.secretspec import Declaration
from kennel.errors import ManifestError, Rejected, Unavailable
from kennel.plugin import in_thread
from kennel.secrets.inline import inline

CHILD = ("-I", "-m", "kennel.secrets.child")
"""-I: neither the environment nor the present folder decides what is imported."""
TIMEOUT = 30.0
PARALLEL = 4
FAULTS = frozenset({"invalid_spec", "invalid_request", "composition_failed"})
"""Kinds of errors that are the commit's: no value changes them."""
NO_AUDIT = "[audit]\nenabled = false\n"
"""The home of each run is thrown away: to keep a log in it says nothing to anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkedOut:
    """What a profile amounts to. `missing`: what is required and has no value."""

    env: Env = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Library:
    """Works out what secrets are worth. `folder`: on a tmpfs; files that are decoded pass it."""

    def __init__(self, folder: Path, *, timeout: float = TIMEOUT) -> None:
        self._folder = folder
        self._timeout = timeout
        self._places = asyncio.Semaphore(PARALLEL)

    async def check(self, project: str, profile: str, declared: Mapping[str, Declaration]) -> None:
        """Return if the library takes what is declared. Raises ManifestError saying why not."""
        answer = await self._ask(project, profile, declared, {})
        if answer.get("kind") in FAULTS:
            raise ManifestError(f"secretspec.toml: {answer['message']}")

    async def work_out(
        self,
        project: str,
        profile: str,
        declared: Mapping[str, Declaration],
        values: Mapping[str, Secret],
    ) -> WorkedOut:
        """Return what is declared, worked out from the values that were looked up.

        Raises Rejected for what cannot be decoded, composed, or chosen from; Unavailable where
        the library does not answer.
        """
        answer = await self._ask(project, profile, declared, values)
        if "secrets" in answer:
            told = answer["secrets"].items()
            return WorkedOut(env={name: _secret(one, declared[name]) for name, one in told})
        if answer["kind"] == "missing_required":
            return WorkedOut(missing=tuple(answer["missing"]))
        raise Rejected(f"secrets of the profile {profile}: {_clean(answer['message'], values)}")

    async def _ask(
        self,
        project: str,
        profile: str,
        declared: Mapping[str, Declaration],
        values: Mapping[str, Secret],
    ) -> dict[str, Any]:
        if not declared:
            return {"secrets": {}}
        request = {
            "spec": inline(project, profile, declared),
            "profile": profile,
            "values": {name: _text(name, secret) for name, secret in values.items()},
        }
        async with self._places:
            home = await in_thread(self._home)
            try:
                return await self._run(json.dumps(request).encode(), home)
            finally:
                await in_thread(shutil.rmtree, home, ignore_errors=True)

    def _home(self) -> str:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        home = tempfile.mkdtemp(dir=self._folder)
        config = Path(home, ".config/secretspec/config.toml")
        config.parent.mkdir(parents=True)
        config.write_text(NO_AUDIT)
        return home

    async def _run(self, request: bytes, home: str) -> dict[str, Any]:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *CHILD,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"},
            cwd=home,
        )
        try:
            async with asyncio.timeout(self._timeout):
                said, _ = await child.communicate(request)
        except TimeoutError:
            raise Unavailable(
                f"secrets could not be worked out within {self._timeout:g} s: the machine is busy"
            ) from None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if child.returncode != 0:  # what it wrote may hold a value
            raise Unavailable(f"the secretspec library ended with status {child.returncode}")
        answer: dict[str, Any] = json.loads(said)
        return answer


def _text(name: str, secret: Secret) -> str:
    if "\0" in secret.value:
        raise Rejected(
            f"the secret {name} holds a NUL, which no variable can: keep it as base64, and declare"
            ' it with encoding = "base64" and as_path = true'
        )
    return secret.value


def _secret(told: Mapping[str, str], declared: Declaration) -> Secret:
    if "base64" in told:
        content = base64.b64decode(told["base64"])
        return Secret(content.decode(errors="surrogateescape"), as_path=True)
    return Secret(told["text"], as_path=declared.as_path)


def _clean(message: str, values: Mapping[str, Secret]) -> str:
    """Return what the library says without the values it was given."""
    for value in sorted((one.value for one in values.values()), key=len, reverse=True):
        if value:
            message = message.replace(value, "[secret]")
    return message
