"""Private repositories, submodules, and what git's words mean."""

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kennel.build.credentials import access
from kennel.build.git import RefGone, explained, mirror_ref
from kennel.domain import Ref
from kennel.domain.record import Project
from kennel.errors import BuildError, Unavailable

Flake = Callable[..., str]


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_private_repository_is_fetched_with_its_token(
    workshop: Any,
    repository: Any,
    simple_flake: str,
    private: Any,
    tmp_path: Path,
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    build = await workshop.build(project, commit)
    assert build.state == "built", build.reason
    assert private.token in private.asked
    for folder in ("state", "run"):
        assert private.token.encode() not in everything_in(tmp_path / folder)


async def test_the_token_is_in_no_argument(
    workshop: Any, repository: Any, simple_flake: str, private: Any, spy: Path
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    build = await workshop.build(project, commit)
    assert build.state == "built", build.reason
    assert "fetch" in (spy / "arguments").read_text()
    assert private.token not in (spy / "arguments").read_text()
    assert "VAULT_TOKEN" not in (spy / "environments").read_text()


@pytest.mark.parametrize("token", [None, "a wrong one"])
async def test_without_the_right_token_it_says_what_to_give(
    workshop: Any,
    repository: Any,
    server: Any,
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
    workshop: Any, repository: Any, server: Any
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
    private: Any,
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
    private: Any,
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
    private: Any,
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


def test_what_a_submodule_lacks_says_nothing_of_the_ref() -> None:
    """Whatever its server says: a ref that is gone is taken down."""
    error = explained("main", "a submodule of URL", "fatal: couldn't find remote ref refs/heads/x")
    assert type(error) is BuildError


def test_refs_have_names_of_one_length_in_a_mirror() -> None:
    names = {mirror_ref(Ref.branch(name)) for name in ("a", "a/b", "x" * 300, "pr-1")}
    names.add(mirror_ref(Ref.pull_request(1)))
    assert len(names) == 5
    assert len({len(name) for name in names}) == 1
