"""A forge made of a bare repository and a hook, and a clone of it to work in."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kennel.cli.demo import webhook
from kennel.cli.demo.place import Place
from kennel.cli.outcome import Failure

OWNER = "demo"
PROJECT = "hello"
EXAMPLE = Path(__file__).parents[3] / "examples/hello"
SERVICE = "hello/bin/hello"
PYTHONS = ("/usr/bin/python3", "/run/current-system/sw/bin/python3")
"""Interpreters that services may use too; else the one that runs Kennel."""


class Forge:
    """The repository `demo/hello`, at the forge and as somebody works on it."""

    def __init__(self, place: Place, tell: Callable[[str], None]) -> None:
        self._place = place
        self._tell = tell
        self.bare = place.forge / OWNER / f"{PROJECT}.git"
        self._work = place.root / "work" / PROJECT
        self._pulls: dict[str, dict[str, Any]] = {}

    def create(self) -> None:
        """Make the repository of examples/hello, with its first commit not yet pushed."""
        if not EXAMPLE.is_dir():
            raise Failure(
                f"the demo needs the project in {EXAMPLE}", "run it from a checkout of Kennel"
            )
        self.bare.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", "--initial-branch=main", cwd=self.bare)
        self._install_hook()
        shutil.copytree(EXAMPLE, self._work)
        self._use_python()
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("remote", "add", "origin", str(self.bare))
        self.commit("Say hello")

    def _use_python(self) -> None:
        """Write the interpreter's path into the service: it may have no PATH to look in."""
        python = next((path for path in PYTHONS if Path(path).exists()), sys.executable)
        script = self._work / SERVICE
        _, _, rest = script.read_text().partition("\n")
        script.write_text(f"#!{python}\n{rest}")

    def _install_hook(self) -> None:
        hook = self.bare / "hooks/post-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\nexec {sys.executable} -I {webhook.__file__}\n")
        hook.chmod(0o755)
        self._write_settings()

    def _write_settings(self) -> None:
        settings = {
            "url": f"http://127.0.0.1:{self._place.web}/webhook",
            "secret_file": str(self._place.secret),
            "repository": self._repository(),
            "pulls": self._pulls,
        }
        (self.bare / webhook.SETTINGS).write_text(json.dumps(settings))

    def _repository(self) -> dict[str, Any]:
        """Describe the repository as Forgejo does: modules/structs/repo.go."""
        owner = {"id": 1, "login": OWNER, "full_name": "", "email": "", "username": OWNER}
        return {
            "id": 7,
            "owner": owner,
            "name": PROJECT,
            "full_name": f"{OWNER}/{PROJECT}",
            "description": "",
            "empty": False,
            "private": False,
            "fork": False,
            "parent": None,
            "mirror": False,
            "html_url": f"https://forge.localhost/{OWNER}/{PROJECT}",
            "ssh_url": f"git@forge.localhost:{OWNER}/{PROJECT}.git",
            "clone_url": f"https://forge.localhost/{OWNER}/{PROJECT}.git",
            "default_branch": "main",
            "archived": False,
            "object_format_name": "sha1",
        }

    def change(self, old: str, new: str, *, message: str) -> None:
        """Change a text in the service's program and commit."""
        script = self._work / SERVICE
        script.write_text(script.read_text().replace(old, new))
        self.commit(message)

    def commit(self, message: str) -> None:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)

    def branch(self, name: str) -> None:
        """Go to a new branch."""
        self._git("switch", "--quiet", "--create", name)

    def open_pull_request(self, number: int, head: str, title: str) -> str:
        """Open a pull request with what is committed. Return its commit."""
        base = self._git("rev-parse", "origin/main")
        self._pulls[str(number)] = {"head": head, "title": title, "base": base}
        self._write_settings()
        return self.push(f"{head}:refs/pull/{number}/head")

    def close_pull_request(self, number: int) -> None:
        self.push(f":refs/pull/{number}/head")

    def push(self, what: str) -> str:
        """Push with the real git, show what it says. Return the commit that was pushed."""
        self._tell(f"$ git push origin {what}")
        said = self._run("push", "--quiet", "origin", what).stderr
        for line in said.splitlines():
            self._tell(f"  {line.strip()}")
        return self._git("rev-parse", "HEAD")

    def _git(self, *words: str, cwd: Path | None = None) -> str:
        return self._run(*words, cwd=cwd).stdout.strip()

    def _run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["git", *words],
            cwd=cwd or self._work,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failure(f"git {' '.join(words)}: {done.stderr.strip()}")
        return done


def _environment() -> dict[str, str]:
    """Return what git needs, and nothing of what is configured for this user."""
    person = {"NAME": "Demo", "EMAIL": "demo@localhost"}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in person.items()},
    }
