"""A real Nix with a store of its own, real repositories, and a worker that builds them."""

import asyncio
import base64
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from kennel.build import Worker
from kennel.build.evaluation import Check
from kennel.build.places import Places
from kennel.domain import Ref, Tenant
from kennel.domain.record import Build, Project
from kennel.plugin import Cache
from kennel.settings import BuildTable, Settings
from kennel.store import Store, builds, projects, tenants
from kennel.testing.missing import missing

GIT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "protocol.file.allow",
    "GIT_CONFIG_VALUE_0": "always",
}

# A function that makes packages without nixpkgs: the shell and tools of this machine.
MAKE = """
    make = name: script: derivation {
      inherit name;
      system = "SYSTEM";
      builder = "/bin/sh";
      PATH = "/usr/bin:/bin:/run/current-system/sw/bin";
      args = [ "-c" script ];
    };
    program = name: make name ''
      mkdir -p $out/bin
      printf '#!/bin/sh\\necho %s\\n' ${name} > $out/bin/${name}
      chmod +x $out/bin/${name}
    '';
"""
SYSTEM = f"{os.uname().machine}-linux"


def flake(packages: str, kennel: str, inputs: str = "") -> str:
    """Return a flake.nix with these packages and this output `kennel`."""
    return f"""{{
  {inputs}
  outputs = {{ self, ... }}: let {MAKE.replace("SYSTEM", SYSTEM)} in {{
    packages.{SYSTEM} = {{ {packages} }};
    {f"kennel = {kennel};" if kennel else ""}
  }};
}}
"""


SIMPLE = flake('api = program "api";', "{ services.api = { }; }")


@dataclass
class Repository:
    """A repository to push to."""

    path: Path

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.path, env=GIT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str:
        """Commit files to a branch, made if it is new. Return the commit."""
        there = self.git("branch", "--list", "--format=%(refname)", "--", branch)
        self.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        if there:
            self.git("reset", "-q", "--hard")
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[[str], Repository]:
    def make(name: str) -> Repository:
        if shutil.which("git") is None:
            missing("git is not installed")
        path = tmp_path / "repositories" / name
        path.mkdir(parents=True)
        repository = Repository(path)
        repository.git("init", "-q", "-b", "main", "--template=")
        return repository

    return make


@pytest.fixture
def repository(make_repository: Callable[[str], Repository]) -> Repository:
    return make_repository("shop")


@pytest.fixture
def nix_store(tmp_path: Path) -> Mapping[str, str]:
    """Give the variables of a Nix store that nobody else uses."""
    if shutil.which("nix") is None:
        missing("Nix is not installed")
    folder = tmp_path / "nix"
    variables = {
        "NIX_STORE_DIR": str(folder / "store"),
        "NIX_STATE_DIR": str(folder / "var"),
        "NIX_LOG_DIR": str(folder / "log"),
        "NIX_CONF_DIR": str(folder / "conf"),
    }
    for path in variables.values():
        Path(path).mkdir(parents=True)
    (folder / "conf/nix.conf").write_text(
        "build-users-group =\nsandbox = false\nsubstituters =\nflake-registry =\n"
    )
    variables["NIX_REMOTE"] = "local"
    # Two that make a new store at once trip over each other.
    env = {**variables, "PATH": os.environ["PATH"], "HOME": str(folder)}
    subprocess.run(["nix-store", "--init"], env=env, check=True)
    return variables


@pytest.fixture
def make_writable(tmp_path: Path) -> Iterator[None]:
    """Let pytest remove what Nix made read-only."""
    yield
    subprocess.run(["chmod", "-R", "u+w", str(tmp_path)], check=True)


KENNEL = """
import asyncio, sys, pathlib
from kennel import settings
from kennel.build import Worker
from kennel.store import Store

async def main():
    chosen = settings.load(pathlib.Path(sys.argv[1]))
    store = Store(sys.argv[2])
    await store.open()
    await Worker(chosen, store, {}, lambda: None).run()

asyncio.run(main())
"""


@dataclass
class Workshop:
    """A worker with all it needs."""

    settings: Settings
    store: Store
    caches: Mapping[str, Cache] = field(default_factory=dict)
    built: int = 0
    check: Check = field(default=lambda _: None)

    @property
    def places(self) -> Places:
        return Places.of(self.settings)

    def worker(self) -> Worker:
        def on_built() -> None:
            self.built += 1

        return Worker(self.settings, self.store, self.caches, on_built, check=self.check)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """Have a worker run for the length of the block."""
        worker = self.worker()
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def process(self, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker in a process of its own, to be killed."""
        config = folder / "kennel.toml"
        variables = self.settings.build.environment.items()
        config.write_text(
            f'state_dir = "{self.settings.state_dir}"\nrun_dir = "{self.settings.run_dir}"\n'
            '[build]\nisolation = "process"\n[build.environment]\n'
            + "".join(f'{name} = "{value}"\n' for name, value in variables)
        )
        command = [sys.executable, "-c", KENNEL, str(config), f"sqlite:///{folder}/kennel.db"]
        return subprocess.Popen(command, env={**os.environ, **environment})

    async def project(self, url: str, name: str = "shop", *, token: str | None = None) -> Project:
        return await self.store.write(
            lambda db: projects.register(
                db,
                now=1.0,
                forge="forgejo",
                full_name=f"acme/{name}",
                clone_url=url,
                token=token,
            )
        )

    async def queue(
        self,
        project: Project,
        commit: str,
        ref: str = "main",
        *,
        trusted: bool = True,
        approved: str | None = None,
        again: bool = False,
    ) -> int:
        """Queue a build. Of a ref that is not trusted the commit is approved, or `approved` is."""

        def change(db: Any) -> int | None:
            there = Ref.parse(ref)
            tenants.seen(db, project_id=project.id, ref=there, trusted=trusted, now=1.0)
            if not trusted and (known := tenants.find(db, Tenant(project.name, there))):
                tenants.change(db, known.id, approved=commit if approved is None else approved)
            return builds.queue(
                db,
                project_id=project.id,
                ref=there,
                commit=commit,
                trusted=trusted,
                now=time.time(),
                again=again,
            )

        number = await self.store.write(change)
        assert number is not None
        return number

    async def get(self, number: int) -> Build:
        return await self.store.read(partial(builds.get, build_id=number))

    async def reaches(self, number: int, *states: str, seconds: float = 60.0) -> Build:
        """Wait until a build is in one of the states."""
        async with asyncio.timeout(seconds):
            while (build := await self.get(number)).state not in states:
                await asyncio.sleep(0.02)
        return build

    async def over(self, number: int) -> Build:
        return await self.reaches(number, "built", "failed", "cancelled")

    async def build(self, project: Project, commit: str, ref: str = "main") -> Build:
        """Have one commit built by a worker of its own."""
        number = await self.queue(project, commit, ref)
        async with self.working():
            return await self.over(number)

    def log(self, number: int) -> str:
        return self.places.log(number).read_text()


@pytest.fixture
async def workshop(
    tmp_path: Path, nix_store: Mapping[str, str], sqlite_store: Store, make_writable: None
) -> Workshop:
    return Workshop(settings_for(tmp_path, nix_store), sqlite_store)


def settings_for(folder: Path, nix_store: Mapping[str, str], **build: object) -> Settings:
    table = BuildTable(environment=dict(nix_store), isolation="process", **build)  # type: ignore[arg-type]
    return Settings(state_dir=folder / "state", run_dir=folder / "run", build=table)


@pytest.fixture
def simple_flake() -> str:
    return SIMPLE


@pytest.fixture(name="flake")
def flake_fixture() -> Callable[..., str]:
    return flake


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A real git server behind HTTP basic authentication. `asked`: the passwords it was shown."""

    url: str
    token: str = "t0ken-that-nobody-may-see"
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path, unused_tcp_port: int) -> Iterator[Server]:
    """Serve tmp_path/repositories over HTTP with git's own http-backend."""
    backend = Path(
        subprocess.check_output(["git", "--exec-path"], text=True).strip(), "git-http-backend"
    )
    if not backend.exists():
        missing("git has no http-backend here")
    server = Server(f"http://127.0.0.1:{unused_tcp_port}")

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            given = self.headers.get("Authorization", "")
            shown = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")[2]
            server.asked.append(shown)
            if shown != server.token:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            self._answer(_backend(backend, tmp_path / "repositories", self))

        do_GET = do_POST = _serve  # noqa: N815

        def _answer(self, answer: bytes) -> None:
            head, _, body = answer.partition(b"\r\n\r\n")
            lines = [line.partition(": ") for line in head.decode().split("\r\n")]
            status = next((value for name, _, value in lines if name == "Status"), "200")
            self.send_response(int(status.split()[0]))
            for name, _, value in lines:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", unused_tcp_port), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield server
        httpd.shutdown()
        thread.join()


@pytest.fixture
def private(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Give the server, with the token in Kennel's environment as SHOP_TOKEN."""
    monkeypatch.setenv("SHOP_TOKEN", server.token)
    return server


def _backend(program: Path, root: Path, request: BaseHTTPRequestHandler) -> bytes:
    parts = urlsplit(request.path)
    body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "REMOTE_USER": "kennel",
        "PATH_INFO": unquote(parts.path),
        "QUERY_STRING": parts.query,
        "REQUEST_METHOD": request.command,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
    }
    return subprocess.run([str(program)], env=env, input=body, stdout=-1, check=False).stdout


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Note the arguments and the environment of every git that Kennel runs, in this folder."""
    real = shutil.which("git")
    spy = tmp_path / "bin"
    spy.mkdir()
    (spy / "git").write_text(
        f'#!/bin/sh\necho "$@" >> {spy}/arguments\n'
        f'cat /proc/$$/environ >> {spy}/environments\nexec {real} "$@"\n'
    )
    (spy / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy}:{os.environ['PATH']}")
    monkeypatch.setenv("VAULT_TOKEN", "of Kennel itself")
    return spy
