"""Repositories that are pushed to, and whose pushes Kennel is told of as by Forgejo."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kennel.cli.demo import webhook
from kennel.cli.demo.forge import PYTHONS

OWNER = "acme"
FLAKE = """
{
  outputs = { self }:
    let
      folder = name: path: derivation {
        inherit name;
        system = "builtin";
        builder = "builtin:buildenv";
        derivations = [ "true" "5" "1" path ];
        manifest = builtins.toFile "manifest.nix" "[ ]";
      };
    in {
      packages.x86_64-linux = { api = folder "api" "${./api}"; docs = folder "docs" "${./docs}"; };
      packages.aarch64-linux = self.packages.x86_64-linux;
      kennel = builtins.fromJSON (builtins.readFile ./kennel.json);
    };
}
"""

MANIFEST: dict[str, Any] = {
    "services": {"api": {"ready": {"path": "/", "timeout": 20}}},
    "sites": {"docs": {}},
}

PYTHON = next((path for path in PYTHONS if Path(path).exists()), sys.executable)
SERVICE = (
    f"#!{PYTHON} -S\n"
    """\
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def log_message(self, *words): print(*words, flush=True)
    def do_GET(self):
        body = (TEXT + " " + str(os.getpid())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
TEXT = "one"
class Server(ThreadingHTTPServer):
    request_queue_size = 128
Server((os.environ["HOST"], int(os.environ["PORT"])), Answer).serve_forever()
"""
)

ROLES = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
PERSON = {f"GIT_{role}": "x@y.z" for role in ROLES}


@dataclass
class Repository:
    """A repository at the forge, and a clone of it to work in.

    `webhook`: the URL that what is pushed is told to. `secret`: the file to sign with.
    """

    webhook: str
    secret: Path
    name: str
    number: int
    bare: Path
    work: Path
    pulls: dict[str, dict[str, Any]] = field(default_factory=dict)

    def create(self) -> None:
        """Make both, with a service and a site committed, and nothing pushed."""
        for folder in (self.bare, self.work):
            folder.mkdir(parents=True)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", cwd=self.bare)
        hook = self.bare / "hooks/post-receive"
        hook.write_text(f"#!/bin/sh\nexec {sys.executable} -I {webhook.__file__}\n")
        hook.chmod(0o755)
        self.settle_hook()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", str(self.bare))
        self.commit(
            {
                "flake.nix": FLAKE,
                "kennel.json": json.dumps(MANIFEST),
                "api/bin/api": SERVICE,
                "docs/index.html": "<h1>Docs</h1>",
            }
        )

    def git(self, *words: str, cwd: Path | None = None) -> str:
        quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        environment = {"PATH": os.environ["PATH"], **quiet, **PERSON}
        done = subprocess.run(
            ["git", *words],
            cwd=cwd or self.work,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if "/bin/" in name else 0o644)

    def commit(self, files: Mapping[str, str] | None = None) -> str:
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.git("rev-parse", "HEAD")

    def say(self, text: str) -> str:
        """Make the service say a text, and commit."""
        return self.commit({"api/bin/api": SERVICE.replace('"one"', f'"{text}"')})

    def push(self, what: str = "HEAD:refs/heads/main", *more: str) -> None:
        self.git("push", "--quiet", *more, "origin", what)

    def pull_request(self, number: int) -> None:
        """Push what is committed as a pull request of this repository."""
        self.pulls[str(number)] = {"head": "change", "title": "x", "base": self.head("main")}
        self.settle_hook()
        self.push(f"HEAD:refs/pull/{number}/head", "--force")

    def head(self, branch: str) -> str:
        return self.git("rev-parse", f"refs/heads/{branch}", cwd=self.bare)

    def settle_hook(self) -> None:
        """Write what the post-receive hook has to know."""
        owner = {"id": 1, "login": OWNER, "username": OWNER}
        described = {
            "id": self.number,
            "owner": owner,
            "name": self.name,
            "full_name": f"{OWNER}/{self.name}",
            "html_url": f"http://forge.localhost/{OWNER}/{self.name}",
            "clone_url": f"http://forge.localhost/{OWNER}/{self.name}.git",
            "default_branch": "main",
        }
        settings = {
            "url": self.webhook,
            "secret_file": str(self.secret),
            "repository": described,
            "pulls": self.pulls,
        }
        (self.bare / webhook.SETTINGS).write_text(json.dumps(settings))
