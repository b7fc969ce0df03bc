"""Private repositories, submodules, and what git's words mean."""

import base64
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from kennel.build.credentials import access
from kennel.build.git import RefGone, explained, mirror_ref
from kennel.domain import Ref
from kennel.domain.record import Project
from kennel.errors import BuildError, Unavailable
from kennel.testing.missing import missing

TOKEN = "t0ken-that-nobody-may-see"
Flake = Callable[..., str]


@dataclass
class Server:
    """A real git server behind HTTP basic authentication. `asked`: the passwords it was shown."""

    url: str
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
            if shown != TOKEN:
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
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
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


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_private_repository_is_fetched_with_its_token(
    workshop: Any,
    repository: Any,
    simple_flake: str,
    private: Server,
    tmp_path: Path,
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    build = await workshop.build(project, commit)
    assert build.state == "built", build.reason
    assert TOKEN in private.asked
    for folder in ("state", "run"):
        assert TOKEN.encode() not in everything_in(tmp_path / folder)


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


async def test_the_token_is_in_no_argument(
    workshop: Any, repository: Any, simple_flake: str, private: Server, spy: Path
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    build = await workshop.build(project, commit)
    assert build.state == "built", build.reason
    assert "fetch" in (spy / "arguments").read_text()
    assert TOKEN not in (spy / "arguments").read_text()
    assert "VAULT_TOKEN" not in (spy / "environments").read_text()


@pytest.mark.parametrize("token", [None, "a wrong one"])
async def test_without_the_right_token_it_says_what_to_give(
    workshop: Any,
    repository: Any,
    server: Server,
    token: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", str(token))
    commit = repository.commit({})
    url = f"{server.url}/shop/.git"
    project = await workshop.project(url, token="env:SHOP_TOKEN" if token else None)
    build = await workshop.build(project, commit)
    assert build.state == "failed"
    assert build.reason.startswith(f"{url} refuses to let us in. Give the project a token")


async def test_a_token_that_cannot_be_read_names_the_project(
    workshop: Any, repository: Any, server: Server
) -> None:
    commit = repository.commit({})
    project = await workshop.project(f"{server.url}/shop/.git", token="env:NOT_SET_ANYWHERE")
    build = await workshop.build(project, commit)
    assert build.state == "failed"
    assert "the token of project shop" in build.reason


async def test_a_repository_that_is_not_there_fails_at_once(
    workshop: Any, repository: Any, tmp_path: Path
) -> None:
    commit = repository.commit({})
    url = str(tmp_path / "nowhere")
    build = await workshop.build(await workshop.project(url), commit)
    assert build.state == "failed"
    assert build.reason.startswith(f"{url} has no such repository")


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch HERE/hacked'", "--upload-pack=touch HERE/hacked"]
)
async def test_urls_that_would_run_programs_do_not(
    workshop: Any, repository: Any, tmp_path: Path, url: str
) -> None:
    commit = repository.commit({})
    project = await workshop.project(url.replace("HERE", str(tmp_path)))
    build = await workshop.build(project, commit)
    assert build.state == "failed"
    assert not (tmp_path / "hacked").exists()


def with_submodule(repository: Any, library: Any, url: str, flake: Flake) -> str:
    """Commit a flake whose package reads a file of a submodule."""
    repository.git("submodule", "--quiet", "add", "--", str(library.path), "library")
    repository.git("config", "-f", ".gitmodules", "submodule.library.url", url)
    packages = 'site = make "site" "mkdir $out; cp ${./library/word} $out/index.html";'
    commit: str = repository.commit({"flake.nix": flake(packages, "{ sites.site = { }; }")})
    return commit


@pytest.fixture
def library(make_repository: Callable[[str], Any]) -> Any:
    library = make_repository("library")
    library.commit({"word": "of the library\n"})
    return library


async def test_submodules_are_part_of_what_is_built(
    workshop: Any, repository: Any, library: Any, flake: Flake
) -> None:
    commit = with_submodule(repository, library, "../library", flake)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    assert Path(build.outputs.paths["site"], "index.html").read_text() == "of the library\n"
    assert not [*(workshop.places.checkouts / str(build.id)).glob("*")]


async def test_submodules_of_the_same_host_get_the_token(
    workshop: Any,
    repository: Any,
    library: Any,
    flake: Flake,
    private: Server,
) -> None:
    commit = with_submodule(repository, library, f"{private.url}/library/.git", flake)
    project = await workshop.project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    build = await workshop.build(project, commit)
    assert build.state == "built", build.reason


async def test_submodules_of_untrusted_commits_get_neither_token_nor_files(
    workshop: Any,
    repository: Any,
    library: Any,
    flake: Flake,
    private: Server,
) -> None:
    closed = with_submodule(repository, library, f"{private.url}/library/.git", flake)
    project = await workshop.project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    number = await workshop.queue(project, closed, trusted=False)
    async with workshop.working():
        reason = (await workshop.over(number)).reason
    assert "for nobody trusts this commit) refuses to let us in" in reason
    modules = f'[submodule "library"]\n\tpath = library\n\turl = {library.path}\n'
    local = repository.commit({".gitmodules": modules})
    number = await workshop.queue(project, local, trusted=False)
    async with workshop.working():
        assert "needs a protocol that git may not speak" in (await workshop.over(number)).reason


async def test_submodules_of_another_host_get_no_token(
    workshop: Any,
    repository: Any,
    library: Any,
    flake: Flake,
    private: Server,
) -> None:
    other = private.url.replace("127.0.0.1", "localhost")
    commit = with_submodule(repository, library, f"{other}/library/.git", flake)
    project = await workshop.project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    build = await workshop.build(project, commit)
    assert build.state == "failed"
    assert "refuses to let us in" in build.reason


DENIED = """git@h: Permission denied (publickey).
fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists."""


def project(url: str, **more: str) -> Project:
    values: dict[str, Any] = dict.fromkeys(("forge_id", "secret", "token", "ssh_key"))
    values |= {"id": 1, "name": "shop", "forge": "forgejo", "full_name": "acme/shop"}
    values |= {"clone_url": url, "default_branch": "main", "domains": ()}
    return Project(**{**values, "previews": True, "removed": False, **more})


async def test_a_key_is_on_the_tmpfs_for_as_long_as_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("PRIVATE KEY\n")
    shop = project("git@git.example.org:acme/shop.git", ssh_key=f"file:{tmp_path}/id")
    folder, known_hosts = tmp_path / "keys/1", tmp_path / "known_hosts"
    async with access(shop, folder, known_hosts) as way:
        key = folder / "key"
        assert key.read_text() == "PRIVATE KEY\n"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert "PRIVATE" not in str(way)
        if ssh := shutil.which("ssh"):
            mine, other = _ssh(ssh, folder, "git.example.org"), _ssh(ssh, folder, "evil.example")
            assert f"identityfile {key}" in mine
            assert f"userknownhostsfile {known_hosts}" in mine
            assert "batchmode yes" in mine
            assert str(key) not in other
    assert not folder.exists()


def _ssh(program: str, folder: Path, host: str) -> str:
    command = [program, "-F", str(folder / "config"), "-G", host]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_a_password_in_a_url_is_kept_out_of_it(tmp_path: Path) -> None:
    shop = project("https://ada:p%40ss@git.example.org/shop")
    async with access(shop, tmp_path / "keys", tmp_path / "known") as way:
        assert way.url == "https://git.example.org/shop"
        assert way.secrets == ("p@ss",)
        assert "p@ss" not in str(way)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("fatal: couldn't find remote ref refs/heads/x", RefGone, "x is gone from URL"),
        ("fatal: Authentication failed for 'URL'", BuildError, "refuses to let us in"),
        (DENIED, BuildError, "an ssh_key, that may read it: git@h: Permission denied (publickey)."),
        ("fatal: could not read Username: terminal prompts disabled", BuildError, "refuses to let"),
        ("remote: Not found.\nfatal: repository 'URL' not found", BuildError, "no such repository"),
        ("fatal: unable to access 'URL': Could not resolve host: h", Unavailable, "cannot be rea"),
        ("fatal: unable: The requested URL returned error: 503", Unavailable, "503"),
        ("fatal: unable: The requested URL returned error: 403", BuildError, "403"),
        ("fatal: the remote end hung up unexpectedly", Unavailable, "cannot be reached"),
        ("Host key verification failed.", BuildError, "known_hosts"),
        ("fatal: transport 'ext' not allowed", BuildError, "needs a protocol"),
        ("fatal: something new", BuildError, "git failed for x of URL: fatal: something new"),
        ("", BuildError, "it says nothing"),
    ],
)
def test_what_git_says_is_told_to_who_can_act(said: str, kind: type[Exception], words: str) -> None:
    error = explained(Ref.branch("x"), "URL", said)
    assert type(error) is kind
    assert words in str(error)


def test_refs_have_names_of_one_length_in_a_mirror() -> None:
    names = {mirror_ref(Ref.branch(name)) for name in ("a", "a/b", "x" * 300, "pr-1")}
    names.add(mirror_ref(Ref.pull_request(1)))
    assert len(names) == 5
    assert len({len(name) for name in names}) == 1
